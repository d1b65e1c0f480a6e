"""The curation benchmark ends with the peer's message if datatrove does not run."""

import contextlib
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.curation import DATATROVE, PeerError, run_datatrove
from llm_assets.settings import PROJECT
from tests.support.warcs import page, story, write


def program(tmp_path, *lines):
    """A program to be named as the interpreter that has datatrove."""
    path = tmp_path / "python"
    path.write_text("\n".join(["#!/bin/sh", *lines]))
    path.chmod(0o755)
    return str(path)


def is_running(process):
    """Whether a process exists and has not ended; one that nobody waits for stays as a zombie."""
    with contextlib.suppress(FileNotFoundError):
        return Path("/proc", process, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_peer_whose_child_keeps_its_pipes_open_is_not_waited_for(tmp_path):
    python = program(tmp_path, "sleep 600 &", "echo 'spaCy is missing' >&2", "exit 1")
    with pytest.raises(PeerError, match="spaCy is missing"):
        run_datatrove(python, tmp_path)


def test_the_peer_ends_with_a_benchmark_that_is_killed(tmp_path):
    python = program(tmp_path, f"echo $$ > {tmp_path}/pid", f"mv {tmp_path}/pid {tmp_path}/started", "exec sleep 600")
    code = f"from benchmarks.curation import run_datatrove; run_datatrove({python!r}, {str(tmp_path)!r})"
    benchmark = subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT)
    while not (tmp_path / "started").exists():
        assert benchmark.poll() is None
        time.sleep(0.02)
    benchmark.kill()
    benchmark.wait()
    while is_running((tmp_path / "started").read_text().strip()):
        time.sleep(0.02)


def test_a_peer_that_says_nothing_is_an_error(tmp_path):
    with pytest.raises(PeerError, match="exit status 0, and no message"):
        run_datatrove(program(tmp_path, "exit 0"), tmp_path)


def test_an_interpreter_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(PeerError, match="No such file"):
        run_datatrove(str(tmp_path / "absent"), tmp_path)


def test_the_benchmark_writes_its_own_figures_and_fails(tmp_path):
    write(tmp_path / "warc" / "a.warc.gz", [page(f"http://host.example/{i}", story(i)) for i in range(2)])
    result = tmp_path / "result.json"
    python = program(tmp_path, "echo 'fasttext is missing' >&2", "exit 1")
    options = ["--warc", str(tmp_path / "warc"), "--json", str(result), "--workers", "1", "--datatrove", python]
    command = [sys.executable, str(PROJECT / "benchmarks" / "curation.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip().endswith(f"datatrove did not run with {python}: fasttext is missing")
    figures = json.loads(result.read_text())
    assert figures["pages"] == 2 and "ratio" not in figures


@pytest.mark.skipif(importlib.util.find_spec("datatrove") is None, reason="datatrove is not installed")
def test_datatrove_counts_the_pages(tmp_path):
    write(tmp_path / "a.warc.gz", [page(f"http://host.example/{i}", story(i)) for i in range(2)])
    assert run_datatrove(sys.executable, tmp_path)["counts"]["captures"] == 2


def test_the_peer_needs_the_packages_that_it_names():
    """Without datatrove, its program ends at the first import, and names the package."""
    command = [sys.executable, "-S", str(DATATROVE), "folder", "model"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.strip().endswith("No module named 'fasttext'")
