"""A process that is forked from the server is as a new one: what it is given, how it ends, and who ends it."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from llm_assets.compute import forks

pytestmark = pytest.mark.skipif(
    not forks.can_fork_training(), reason="processes are forked on Linux without a GPU only"
)


@pytest.fixture
def run(tmp_path):
    """A function that runs Python source as a module in the test's folder; returns its exit code."""
    names = (f"module{number}" for number in range(10))

    def run(source, *arguments, **environment):
        name = next(names)
        Path(f"{name}.py").write_text(source)
        with open("output.txt", "w") as output:
            return forks.run_module(name, arguments, {**os.environ, **environment}, output.fileno())

    return run


def training_server():
    return forks._servers[os.getpid(), forks.TRAINING]


WHAT_IT_IS_GIVEN = """
import os, sys, threading
print(__name__, sys.argv[1:], os.environ["COLOUR"], os.getcwd() == sys.path[0], threading.active_count())
"""


def test_a_module_has_its_arguments_environment_folder_and_output(run):
    assert run(WHAT_IT_IS_GIVEN, "job.json", COLOUR="red") == 0
    assert Path("output.txt").read_text() == "__main__ ['job.json'] red True 1\n"
    assert run("import os; print(os.environ.get('COLOUR'))") == 0
    assert Path("output.txt").read_text() == "None\n"


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("import sys; sys.exit(3)", 3),
        ("import sys; sys.exit('no')", 1),
        ("raise ValueError", 1),
        ("import os; os.kill(os.getpid(), 9)", forks.KILLED),
    ],
)
def test_the_exit_code_is_that_of_a_process(run, source, code):
    assert run(source) == code


def test_an_error_is_printed_with_its_traceback(run, capfd):
    run("raise ValueError('no such page')")
    errors = capfd.readouterr().err
    assert "Traceback" in errors and "ValueError: no such page" in errors


def test_an_interrupt_of_the_parent_kills_the_process(run):
    def interrupt():
        while not Path("pid").exists():
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # another thread would not wake it

    previous_handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job has none
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run("import os, time; open('new', 'w').write(str(os.getpid())); os.rename('new', 'pid'); time.sleep(60)")
    signal.signal(signal.SIGINT, previous_handler)
    assert not Path(f"/proc/{Path('pid').read_text()}").exists()


def test_after_the_server_is_killed_another_is_started(run):
    assert run("") == 0
    training_server().process.kill()
    training_server().process.wait()
    assert run("") == 0


def test_the_server_imports_torch_alone_and_has_one_thread(run):
    """Threads do not survive a fork, and polars, for one, starts some when it is imported."""
    source = "import sys; sys.exit(any(name in sys.modules for name in ('polars', 'numba', 'dagster', 'pyarrow')))"
    assert run(source) == 0
    server = training_server().process.pid
    assert len(list(Path(f"/proc/{server}/task").iterdir())) == 1


def test_settings_that_are_read_when_torch_is_loaded_need_another_server(run, monkeypatch):
    assert run("") == 0
    server = training_server()
    assert run("", COLOUR="red") == 0 and training_server() is server
    started = []

    def start(imported, environment):
        started.append(environment["OMP_NUM_THREADS"])
        raise InterruptedError

    monkeypatch.setattr(forks, "_Server", start)
    with pytest.raises(InterruptedError):
        run("", OMP_NUM_THREADS="7")
    assert started == ["7"] and server.process.poll() is not None
