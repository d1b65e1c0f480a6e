"""The deployment's services, started from the compose file as processes: a run through them, a backup, a restoration.

Postgres, Dagster's webservers, daemon and code servers and MLflow are the real ones; the S3 server is moto.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from llm_assets.artifacts import RemoteStore
from llm_assets.settings import PROJECT
from tests.support.commands import Dagster
from tests.support.native_compose import NativeCompose, load_config
from tests.support.object_server import serve_objects

FOLDER = PROJECT / "docs" / "deployment"
SERVICES = ("bucket", "mlflow", "code", "own-code", "webserver", "webserver-read-only", "daemon")
SETTINGS = {"POSTGRES_PASSWORD": "0123abc", "AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "secret"}

LAUNCH = """mutation($selector: JobOrPipelineSelector!) {
  launchRun(executionParams: {selector: $selector, runConfigData: {}}) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""


@dataclass
class Deployment:
    compose: NativeCompose
    webserver: Dagster
    read_only: Dagster
    processes: dict[str, subprocess.Popen[bytes]]

    def launch(self, location: str, asset: str) -> dict:
        selector = {
            "repositoryLocationName": location,
            "repositoryName": "__repository__",
            "jobName": "__ASSET_JOB",
            "assetSelection": [{"path": [asset]}],
        }
        return self.webserver.ask(LAUNCH, selector=selector)["launchRun"]

    def select(self, query: str, database: str) -> list[str]:
        """Rows of a query of one of the databases."""
        words = ["psql", "-U", "llm_assets", "-d", database, "--tuples-only", "--no-align", "-c", query]
        return self.compose.execute("postgres", words, check=True, capture_output=True, text=True).stdout.splitlines()

    def run_script(self, name: str, backup: Path) -> None:
        path = f"{self.compose.docker_program()}:{os.environ['PATH']}"
        done = subprocess.run([FOLDER / name, backup], env={**os.environ, "PATH": path}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]


def webserver(compose: NativeCompose, name: str) -> Dagster:
    return Dagster(3000, compose.log(name), compose.address(name))


@pytest.fixture(scope="module")
def network():
    """A part of the loopback network, unlike that of other workers."""
    return f"127.{random.SystemRandom().randrange(16, 250)}.{random.SystemRandom().randrange(250)}"


@pytest.fixture(scope="module")
def deployment(tmp_path_factory, network):
    pytest.importorskip("dagster_postgres", reason="the deployment needs: pip install 'llm-assets[deploy]'")
    compose = NativeCompose.create(
        load_config([FOLDER / "compose.yaml"], **SETTINGS), tmp_path_factory.mktemp("deployment"), f"{network}"
    )
    with (
        serve_objects(compose.address("seaweedfs"), 8333),
        compose.postgres(),
        compose.running(SERVICES) as processes,
    ):
        yield Deployment(compose, webserver(compose, "webserver"), webserver(compose, "webserver-read-only"), processes)


@pytest.fixture(scope="module")
def built(deployment):
    """Ids of the runs that have built an asset of each code location, through the queue and the daemon."""
    runs = {}
    for location, asset in (("llm_assets", "url_blocklists"), ("own_assets", "blocked_domains")):
        answer = deployment.launch(location, asset)
        assert answer["__typename"] == "LaunchRunSuccess", answer
        runs[asset] = answer["run"]["runId"]
        assert deployment.webserver.end(runs[asset]) == "SUCCESS", deployment.compose.log("code").read_text()[-3000:]
    return runs


def test_runs_of_both_locations_are_recorded_in_postgres(deployment, built):
    rows = deployment.select("SELECT run_id, status FROM runs ORDER BY id", "dagster")
    assert rows == [f"{run}|SUCCESS" for run in built.values()]
    (event,) = deployment.webserver.materialisations("blocked_domains")
    assert event["metadata"]["adult"]["intValue"] > 0


def test_the_artifact_is_in_the_object_store_and_its_build_in_mlflow(deployment, built, tmp_path, monkeypatch):
    variables = deployment.compose.environment("code")
    for name in (name for name in variables if name.startswith("AWS_")):
        monkeypatch.setenv(name, variables[name])
    (artifact,) = RemoteStore(variables["LLM_ASSETS_STORE"], tmp_path).artifacts()
    record = artifact.record
    assert (record.key, record.dagster_run_id) == ("url_blocklists", built["url_blocklists"])
    assert deployment.select("SELECT status FROM runs WHERE name = 'url_blocklists'", "mlflow") == ["FINISHED"]
    address = deployment.compose.address("mlflow")
    with urllib.request.urlopen(
        f"http://{address}:5000/api/2.0/mlflow/runs/get?run_id={record.mlflow_run_id}"
    ) as answer:
        uri = json.loads(answer.read())["run"]["info"]["artifact_uri"]
    assert uri.startswith("mlflow-artifacts:")  # which the server keeps in the bucket


def test_the_replica_shows_the_same_and_starts_nothing(deployment, built):
    assert {run["runId"] for run in deployment.read_only.runs()} >= set(built.values())
    answer = replace(deployment, webserver=deployment.read_only).launch("llm_assets", "url_blocklists")
    assert answer["__typename"] == "UnauthorizedError"


def test_a_restored_deployment_finds_everything_cached_and_has_the_history(
    deployment, built, tmp_path_factory, network, tmp_path
):
    if shutil.which("rclone") is None:
        pytest.skip("rclone is not installed: apt-get install rclone")
    backup = tmp_path / "backup"
    deployment.run_script("backup.sh", backup)
    (second, third) = network.split(".")[1:]
    config = load_config([FOLDER / "compose.yaml"], **SETTINGS, BUCKET="another")
    fresh = NativeCompose.create(config, tmp_path_factory.mktemp("fresh"), f"127.{second}.{int(third) + 1}")
    with serve_objects(fresh.address("seaweedfs"), 8333), fresh.postgres():
        restored = Deployment(fresh, webserver(fresh, "webserver"), webserver(fresh, "webserver-read-only"), {})
        restored.run_script("restore.sh", backup)
        run = fresh.execute(
            "code", ["llm-assets", "run", "--select", "url_blocklists", "--plain"], capture_output=True, text=True
        )
        assert run.returncode == 0 and "cached" in run.stdout, run.stdout + run.stderr
        rows = restored.select("SELECT run_id, status FROM runs ORDER BY id", "dagster")
        assert rows == [f"{run}|SUCCESS" for run in built.values()]
        query = "SELECT asset_key FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION' ORDER BY id"
        assert restored.select(query, "dagster")[:2] == ['["url_blocklists"]', '["blocked_domains"]']
        assert restored.select("SELECT status FROM runs", "mlflow") == ["FINISHED"]
        with fresh.running(("mlflow", "webserver")):  # each refuses a database of another version
            assert {run["runId"] for run in restored.webserver.runs()} >= set(built.values())


def test_the_commands_of_an_upgrade_start_no_service_on_an_old_database(deployment):
    upgrade = (PROJECT / "docs" / "how-to" / "deployment.md").read_text().partition("## Upgrade")[2]
    commands = re.findall(r"^docker compose run .*", upgrade, re.MULTILINE)
    assert len(commands) == 2 and all(" --no-deps " in command for command in commands)
    path = f"{deployment.compose.docker_program()}:{os.environ['PATH']}"
    for command in commands:
        done = subprocess.run(command, shell=True, env={**os.environ, "PATH": path}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]


def test_the_check_of_a_killed_service_fails(deployment):
    """The last test of the deployment, because it ends services."""
    names = ("mlflow", "webserver", "daemon", "code")
    assert all(deployment.compose.is_healthy(name) for name in names)
    for name in names:
        os.killpg(deployment.processes[name].pid, signal.SIGKILL)
    # As if 400 seconds had passed since: the daemon's check looks for its heartbeats in the database.
    deployment.select(
        """UPDATE daemon_heartbeats SET body = regexp_replace(body, '("timestamp": )[0-9.]+',
           '\\1' || (extract(epoch FROM now()) - 400)::text)""",
        "dagster",
    )
    assert [name for name in names if deployment.compose.is_healthy(name)] == []
