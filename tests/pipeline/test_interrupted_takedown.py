"""A takedown that is killed at any change of the store is finished by the next one."""

import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from llm_assets.artifacts import ArtifactError, materialize
from llm_assets.cli import cli
from llm_assets.graph import GRAPH, open_workspace
from tests.support.byte_search import places
from tests.support.takedown_corpus import RULE, digests, takedown


class Killed(BaseException):
    """The end of a process, after which it does nothing more, not even cleaning up."""


def kill_after(monkeypatch, folder, changes):
    """Raise Killed in place of every change of a file or folder below `folder` after the first `changes`.

    Returns a list whose only item counts the changes tried so far.
    """
    count = [0]

    def counted(function):
        def change(path, *args, **kwargs):
            if Path(path).is_relative_to(folder):
                count[0] += 1
                if count[0] > changes:
                    raise Killed
            return function(path, *args, **kwargs)

        return change

    for owner, name in ((os, "replace"), (os, "rename"), (shutil, "rmtree"), (Path, "unlink")):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    return count


def artifact_digests(data):
    """The digest of every file of the store, but for its bookkeeping, which differs from run to run."""
    bookkeeping = (".takedowns", ".locks", ".latest")
    return {name: digest for name, digest in digests(data / "artifacts").items() if not name.startswith(bookkeeping)}


def test_a_killed_takedown_is_finished_by_the_next(takedown_corpus, tmp_path, monkeypatch):
    data, texts = takedown_corpus
    shutil.copytree(data, tmp_path / "before")
    with monkeypatch.context() as patch:
        count = kill_after(patch, data / "artifacts", 10**9)
        assert takedown(RULE, "--no-rebuild")[0] == 0
    expected = artifact_digests(data)
    assert count[0] > 20
    for changes in range(2, count[0], max(1, count[0] // 8)):
        shutil.rmtree(data)
        shutil.copytree(tmp_path / "before", data)
        with monkeypatch.context() as patch, pytest.raises(Killed):
            kill_after(patch, data / "artifacts", changes)
            CliRunner().invoke(cli, ["takedown", RULE, "--no-rebuild"], catch_exceptions=False)
        if (data / "artifacts" / ".takedowns").exists() and "clean" not in takedown("--list")[1]:
            # Nothing can be built until the takedown is finished.
            with pytest.raises(ArtifactError, match=f"llm-assets takedown {RULE}"):
                materialize(GRAPH["url_blocklists"], None, open_workspace())
        code, output = takedown(RULE, "--no-rebuild")
        assert code == 0, f"killed after {changes} changes: {output}"
        assert places(data, texts) == {}, f"killed after {changes} changes"
        assert artifact_digests(data) == expected
