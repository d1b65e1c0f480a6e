"""The deployment's files: valid for the programs that read them, and without a secret, a moving version or a gap."""

import os
import re
import runpy
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from llm_assets.settings import PROJECT
from tests.support.native_compose import load_config
from tests.support.object_server import DENIED, object_server

FOLDER = PROJECT / "docs" / "deployment"
COMPOSE = FOLDER / "compose.yaml"
SECRETS = ("POSTGRES_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
VALUES = {name: f"secret-{name}" for name in SECRETS}
END_BY_THEMSELVES = {"bucket", "rclone"}


@pytest.fixture(scope="module")
def services():
    return load_config([COMPOSE], **VALUES)["services"]


def test_the_file_for_gpus_is_valid_too():
    services = load_config([COMPOSE, FOLDER / "compose.gpu.yaml"], **VALUES)["services"]
    (device,) = services["code"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia" and services["code"]["healthcheck"]


def test_the_s3_server_can_be_left_out_for_a_bucket_elsewhere():
    address = "https://s3.example"
    services = load_config([COMPOSE], profile="none", AWS_ENDPOINT_URL=address, **VALUES)["services"]
    assert services.keys() >= {"code", "daemon", "bucket"} and not services.keys() & {"seaweedfs", "rclone"}
    assert services["code"]["environment"]["AWS_ENDPOINT_URL"] == address


def test_every_client_of_the_bucket_gets_its_region():
    services = load_config([COMPOSE], AWS_REGION="eu-central-1", **VALUES)["services"]
    variables = [services[name]["environment"] for name in ("bucket", "mlflow", "code", "own-code")]
    assert {(v["AWS_REGION"], v["AWS_DEFAULT_REGION"]) for v in variables} == {("eu-central-1", "eu-central-1")}
    assert services["rclone"]["environment"]["RCLONE_CONFIG_S3_REGION"] == "eu-central-1"


@pytest.fixture
def bucket_server(monkeypatch):
    """An S3 server, and the environment of the service that creates the bucket, in a region other than the default."""
    server = object_server(monkeypatch)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("BUCKET", f"bucket-{secrets.token_hex(4)}")
    return server


def test_a_bucket_is_created_in_its_region(bucket_server):
    import boto3

    for _ in range(2):  # the second time, it is there
        runpy.run_path(str(FOLDER / "code" / "create_bucket.py"))
    client = boto3.client("s3", region_name="eu-central-1")
    assert client.get_bucket_location(Bucket=os.environ["BUCKET"])["LocationConstraint"] == "eu-central-1"


def test_an_account_that_may_not_create_buckets_can_use_one(bucket_server, monkeypatch):
    monkeypatch.setenv("BUCKET", bucket_server.new_bucket().split("/")[2])
    with bucket_server.fault(*DENIED, applies=lambda method, path, key_id: method == "PUT"):
        runpy.run_path(str(FOLDER / "code" / "create_bucket.py"))


def test_a_bucket_that_the_account_may_not_use_is_named(bucket_server):
    with bucket_server.fault(*DENIED), pytest.raises(SystemExit, match=rf"{os.environ['BUCKET']} in eu-central-1: "):
        runpy.run_path(str(FOLDER / "code" / "create_bucket.py"))


@pytest.mark.parametrize("missing", SECRETS)
def test_a_missing_secret_is_named(missing):
    environment = {name: value for name, value in VALUES.items() if name != missing}
    with pytest.raises(AssertionError, match=rf"{missing}.*set it in \.env"):
        load_config([COMPOSE], **environment)


def test_secrets_are_in_the_environment_alone(services):
    for service in services.values():
        rest = str({key: value for key, value in service.items() if key != "environment"})
        assert not [value for value in VALUES.values() if value in rest]


def test_every_service_restarts_and_tells_whether_it_is_healthy(services):
    for name, service in services.items():
        lasting = name not in END_BY_THEMSELVES
        assert ("healthcheck" in service) == lasting, name
        assert (service["restart"] == "unless-stopped") == lasting, name


def test_a_service_waits_for_what_it_needs(services):
    for name, service in services.items():
        for other, dependency in service.get("depends_on", {}).items():
            ends = other in END_BY_THEMSELVES
            condition = "service_completed_successfully" if ends else "service_healthy"
            assert dependency["condition"] == condition, f"{name} waits for {other}"
    assert {"postgres", "mlflow", "bucket"} == services["code"]["depends_on"].keys()
    assert {"postgres", "code", "own-code"} == services["daemon"]["depends_on"].keys()


def test_data_is_in_named_volumes_and_images_have_versions(services):
    volumes = yaml.safe_load(COMPOSE.read_text())["volumes"].keys()
    mounted = {
        v["source"] for service in services.values() for v in service.get("volumes", []) if v["type"] == "volume"
    }
    assert mounted == volumes
    for name, service in services.items():
        version = service["image"].partition(":")[2]
        assert re.search(r"\d", version) or "build" in service, f"{name}: {service['image']}"


def test_nothing_is_reachable_from_other_machines_by_default(services):
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 3 and {port["host_ip"] for port in ports} == {"127.0.0.1"}


def test_the_example_names_every_variable_with_its_default():
    used = dict(re.findall(r"\$\{(\w+)(?::-([^}]*))?", COMPOSE.read_text()))
    named = dict(re.findall(r"^(?:# )?([A-Z_]+)=(.*)$", (FOLDER / "env.example").read_text(), re.MULTILINE))
    assert named.pop("COMPOSE_PROFILES") == "objects"
    assert named == used


def test_the_instance_is_that_of_a_laptop_but_for_its_storage():
    deployed = yaml.safe_load((FOLDER / "dagster.yaml").read_text())
    laptop = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    for name in ("storage", "compute_logs", "local_artifact_storage"):
        deployed.pop(name)
    assert deployed == laptop


def test_the_image_holds_what_its_dockerfile_copies():
    copied = re.findall(r"^COPY (.+) \S+$", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    sent = {line[1:] for line in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"}
    assert names == sent and all((PROJECT / name).exists() for name in names)
    assert {"pyproject.toml", "constraints.txt", "llm_assets", "resources", "sql"} <= names


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("hadolint", ["--ignore", "DL3008", str(FOLDER / "Dockerfile")]),  # versions of Debian's packages
        ("compose-lint", [str(COMPOSE)]),
    ],
)
def test_linters_find_nothing(program, words):
    path = Path(sys.executable).with_name(program)
    if not path.exists() and shutil.which(program) is None:
        pytest.skip(f"{program} is not installed: pip install 'llm-assets[test]'")
    done = subprocess.run([path if path.exists() else program, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
