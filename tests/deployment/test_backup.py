"""The order of a backup and of its restoration: no record in a copy names a file that the copy lacks."""

import os
import shutil
import subprocess
import time

import pytest

from llm_assets.artifacts import RemoteStore, materialize
from llm_assets.artifacts.explain import explain
from llm_assets.artifacts.gc import find_garbage
from llm_assets.settings import PROJECT
from tests.support.toy import GRAPH, LETTERS, ToyRecipe, machine, make_folder

FOLDER = PROJECT / "docs" / "deployment"

# In place of docker: databases and data folder are empty, and rclone is the real one, on folders. Before each of its
# calls it waits for a file that the test writes.
DOCKER = """#!/bin/bash
case " $* " in
  *" rclone "*)
    echo "$*" >>"$STEPS/calls"
    until [ -e "$STEPS/$(wc -l <"$STEPS/calls")" ]; do sleep 0.02; done
    words=()
    for word in "${@:1}"; do words+=("${word/#\\/backup/$BACKUP}"); done
    while [ "${words[0]}" != rclone ]; do words=("${words[@]:1}"); done
    exec "${words[@]}" ;;
esac
"""


class Script:
    """A script of the deployment, which waits before each call of rclone."""

    def __init__(self, name, backup, bucket, folder):
        folder.mkdir()
        (folder / "docker").write_text(DOCKER)
        (folder / "docker").chmod(0o755)
        self.folder = folder
        environment = {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "STEPS": str(folder),
            "BACKUP": str(backup),
            "RCLONE_CONFIG": "/dev/null",
            "RCLONE_CONFIG_BUCKET_TYPE": "alias",
            "RCLONE_CONFIG_BUCKET_REMOTE": str(bucket),
        }
        self.process = subprocess.Popen([FOLDER / name, backup], env=environment, stderr=subprocess.PIPE, text=True)

    def calls(self):
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def wait_for_call(self, number):
        deadline = time.monotonic() + 30
        while len(self.calls()) < number:
            assert self.process.poll() is None and time.monotonic() < deadline, self.calls()
            time.sleep(0.02)

    def allow(self, number):
        (self.folder / str(number)).touch()

    def finish(self):
        for number in range(1, 3):
            self.allow(number)
        _, errors = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, errors


def missing_files(store):
    """Files that records name and that are not there."""
    stored = {item.key for item in store.objects.list("")}
    named = set().union(*(artifact.remote.keys() for artifact in store.artifacts()))
    return sorted(named - stored)


@pytest.fixture
def ws(tmp_path):
    pytest.importorskip("obstore")
    if shutil.which("rclone") is None:
        pytest.skip("rclone is not installed: apt-get install rclone")
    recipe = ToyRecipe(folder=str(make_folder(tmp_path / "in")))
    return machine(f"local://{tmp_path}/bucket/store", tmp_path / "machine", recipe)


def test_what_is_built_during_a_backup_is_in_the_copy_whole_or_not_at_all(ws, tmp_path):
    first = materialize(LETTERS, "a", ws).artifact
    script = Script("backup.sh", tmp_path / "backup", tmp_path / "bucket", tmp_path / "steps")
    script.wait_for_call(1)
    script.allow(1)
    script.wait_for_call(2)  # records are copied, files are not
    built = [materialize(stage, "a" if stage.per_crawl else None, ws).artifact for stage in GRAPH]
    script.finish()
    copy = RemoteStore(f"local://{tmp_path}/backup/bucket/store", tmp_path / "reader")
    assert [artifact.record for artifact in copy.artifacts()] == [first.record]
    assert missing_files(copy) == [] and missing_files(ws.store) == []
    assert len(list(ws.store.artifacts())) == len(built) == 3
    # What has files and no record is found again when it is built, and nothing in the copy looks like a build.
    assert copy.objects.list(".locks") == []


def test_files_before_records_would_lose_files(ws, tmp_path):
    """The order of a restoration, used for a backup: what the test above would find."""
    materialize(LETTERS, "a", ws)
    bucket, copy = str(tmp_path / "bucket" / "store"), str(tmp_path / "copy")
    subprocess.run(["rclone", "sync", bucket, copy, "--exclude", "/.records/**"], check=True)
    for stage in GRAPH:
        materialize(stage, "a" if stage.per_crawl else None, ws)
    subprocess.run(["rclone", "sync", bucket, copy, "--include", "/.records/**"], check=True)
    assert len(missing_files(RemoteStore(f"local://{copy}", tmp_path / "reader"))) == 2


def test_a_restored_store_has_everything_and_shows_an_artifact_when_its_files_are_there(ws, tmp_path):
    for stage in GRAPH:
        materialize(stage, "a" if stage.per_crawl else None, ws)
    Script("backup.sh", tmp_path / "backup", tmp_path / "bucket", tmp_path / "steps").finish()
    (tmp_path / "backup" / "data.tar").touch()
    script = Script("restore.sh", tmp_path / "backup", tmp_path / "new", tmp_path / "restoring")
    restored = machine(f"local://{tmp_path}/new/store", tmp_path / "another", ws.recipe)
    script.allow(1)
    script.wait_for_call(2)  # files are restored, records are not
    assert list(restored.store.artifacts()) == []
    script.finish()
    restored = machine(f"local://{tmp_path}/new/store", tmp_path / "another", ws.recipe)
    assert [item.state for item in explain(restored)] == ["cached"] * 3
    assert missing_files(restored.store) == [] and find_garbage(restored, staging_days=0).uploads == []


def test_a_backup_into_the_same_folder_forgets_what_was_deleted(ws, tmp_path):
    artifacts = [materialize(stage, "a" if stage.per_crawl else None, ws).artifact for stage in GRAPH]
    Script("backup.sh", tmp_path / "backup", tmp_path / "bucket", tmp_path / "first").finish()
    ws.store.delete(artifacts[-1])
    Script("backup.sh", tmp_path / "backup", tmp_path / "bucket", tmp_path / "second").finish()
    copy = RemoteStore(f"local://{tmp_path}/backup/bucket/store", tmp_path / "reader")
    assert [artifact.record.asset for artifact in copy.artifacts()] == ["letters", "words"]
    assert copy.objects.list("total") == []


def test_a_build_in_progress_is_in_the_copy_as_an_announcement_alone(ws, tmp_path):
    """A task's marker names scratch files, which a build that ends during the backup removes."""
    place = ".staging/letters/a/0123"
    for name in ("upload.json", "7/tasks/file0.json", "files/89ab/scratch.parquet"):
        ws.store.objects.put(f"{place}/{name}", b"{}")
    Script("backup.sh", tmp_path / "backup", tmp_path / "bucket", tmp_path / "steps").finish()
    copy = RemoteStore(f"local://{tmp_path}/backup/bucket/store", tmp_path / "reader")
    assert [item.key for item in copy.objects.list(".staging")] == [f"{place}/upload.json"]
