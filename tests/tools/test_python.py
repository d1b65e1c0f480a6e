"""The Python tool: it returns a program's output and last value; a hostile program gets an error and does no harm."""

import os
import signal
import threading
import time

import pytest

from llm_assets.tools import PythonLimits, PythonTool

SECRET = "a-secret-of-the-host"
LIMITS = PythonLimits(seconds=0.5, memory=32 << 20, characters=300)


@pytest.fixture(scope="module")
def python():
    os.environ["LLM_ASSETS_TEST_SECRET"] = SECRET
    with PythonTool(LIMITS) as tool:
        yield tool
    del os.environ["LLM_ASSETS_TEST_SECRET"]


@pytest.mark.parametrize(
    ("program", "result"),
    [
        ("47 + 38", "85"),
        ('"strawberry".count("r")', "3"),
        ('"-".join("cab")', "c-a-b"),
        ("print(3)\n4", "3\n4"),
        ("x = 2\nx * 21", "42"),
        ("sorted([3, 1, 2])", "[1, 2, 3]"),
        ("def f(n):\n    return 1 if n < 2 else n * f(n - 1)\nf(10)", "3628800"),
        ("x = 1", ""),
        ("sum(i * i for i in range(10))", "285"),
    ],
)
def test_a_program_returns_its_output_and_last_value(python, program, result):
    assert python(program) == result


# Program, and a text that its result must contain: it shows which limit stopped the program. None: any result.
ATTACKS = {
    # programs that never end
    "endless loop": ("while True: pass", "TimeoutError"),
    "endless printing": ("while True: print('x' * 1000)", "x"),
    "endless generator": ("def g():\n    while True: yield 1\nsum(g())", "Error"),
    "large range summed": ("sum(range(10**12))", "TimeoutError"),
    "sleep": ("import time\ntime.sleep(10)", "TimeoutError"),
    "sleep without end": ("import asyncio\nasyncio.run(asyncio.sleep(1000))", "Error"),
    "slow regular expression": ("import re\nre.match('(a+)+$', 'a' * 40 + 'b')", None),
    "primes without end": ("n = 2\nwhile n: n = n + 1 if all(n % d for d in range(2, n)) else n + 1", "TimeoutError"),
    "nested loops": ("for a in range(10**6):\n    for b in range(10**6):\n        pass", "TimeoutError"),
    # memory
    "large text": ("'a' * 10**10", "MemoryError"),
    "list doubled": ("x = [0]\nwhile True: x = x + x", "MemoryError"),
    "large list": ("[0] * 10**10", "MemoryError"),
    "text doubled": ("s = 'x'\nwhile True: s += s", "MemoryError"),
    "dictionary grown": ("d = {}\ni = 0\nwhile True:\n    d[i] = 'x' * 1000\n    i += 1", "Error"),
    "tower of powers": ("10**10**10", "MemoryError"),
    "shift": ("1 << 10**12", "Error"),
    "list of lists": ("[[0] * 10**4 for _ in range(10**5)]", "MemoryError"),
    "bytes": ("bytes(10**11)", "Error"),
    "padded format": ("f'{1:>{10**10}}'", "Error"),
    "replace that grows": ("('a' * 10**6).replace('a', 'b' * 10**6)", "MemoryError"),
    "factorial": ("def f(n):\n    r = 1\n    for i in range(1, n): r *= i\n    return r\nf(10**6)", "Error"),
    "tuple doubled": ("t = (1,)\nfor _ in range(100): t = t + t", "MemoryError"),
    "joined": ("'x'.join(['y' * 10**6] * 10**4)", "MemoryError"),
    "integer of many digits": ("2**100000", "ValueError"),
    # recursion
    "recursion": ("def f(): return f()\nf()", "RecursionError"),
    "two that call each other": ("def f(): return g()\ndef g(): return f()\nf()", "RecursionError"),
    "nested brackets": ("(" * 5000 + ")" * 5000, None),
    "nested lists": ("[" * 5000 + "]" * 5000, None),
    "deep expression": ("1" + "+1" * 20000, None),
    "list in itself": ("x = []\nx.append(x)\nstr(x)", None),
    "deep structure": ("x = []\nfor _ in range(10**5): x = [x]\nx", None),
    # files, network, processes, environment
    "open": ("open('/etc/passwd').read()", "Error"),
    "write": ("open('/tmp/owned', 'w').write('x')", "Error"),
    "pathlib": ("from pathlib import Path\nPath('/etc/passwd').read_text()", "Error"),
    "os.listdir": ("import os\nos.listdir('/')", "Error"),
    "os.system": ("import os\nos.system('id')", "Error"),
    "os.environ": ("import os\nos.environ['LLM_ASSETS_TEST_SECRET']", "Error"),
    "os.getenv": ("import os\nos.getenv('LLM_ASSETS_TEST_SECRET')", None),
    "subprocess": ("import subprocess\nsubprocess.run(['id'])", "Error"),
    "socket": ("import socket\nsocket.create_connection(('127.0.0.1', 80))", "Error"),
    "urllib": ("import urllib.request\nurllib.request.urlopen('http://127.0.0.1')", "Error"),
    "ctypes": ("import ctypes\nctypes.string_at(0)", "Error"),
    "importlib": ("import importlib\nimportlib.import_module('os')", "Error"),
    "pickle": ("import pickle\npickle.loads(b'')", "Error"),
    "sys.exit": ("import sys\nsys.exit(0)", "Error"),
    "signal": ("import signal\nsignal.alarm(1)", "Error"),
    "threading": ("import threading\nthreading.Thread(target=print).start()", "Error"),
    "multiprocessing": ("import multiprocessing\nmultiprocessing.Process().start()", "Error"),
    "shutil": ("import shutil\nshutil.rmtree('/')", "Error"),
    # escapes from an interpreter
    "__import__": ("__import__('os').system('id')", "Error"),
    "eval": ("eval('__import__(\"os\")')", "Error"),
    "exec": ("exec('import os\\nos.listdir(\"/\")')", "Error"),
    "compile": ("compile('1', 'x', 'eval')", "Error"),
    "subclasses": ("().__class__.__bases__[0].__subclasses__()", "Error"),
    "globals of a function": ("def f(): pass\nf.__globals__", "Error"),
    "code of a function": ("def f(): pass\nf.__code__", "Error"),
    "builtins": ("__builtins__", "Error"),
    "globals": ("globals()", None),
    "frames": ("import sys\nsys._getframe()", "Error"),
    "traceback": ("try:\n    1/0\nexcept Exception as e:\n    e.__traceback__.tb_frame", "Error"),
    "mro": ("'x'.__class__.__mro__[1]", "Error"),
    "format string": ("'{0.__class__.__mro__}'.format(1)", "Error"),
    "getattr": ("getattr(getattr((), '__class__'), '__bases__')", "Error"),
    "gc": ("import gc\ngc.get_objects()", "Error"),
    "input": ("input()", "Error"),
    "breakpoint": ("breakpoint()", "Error"),
    # texts that are not programs
    "null bytes": ("1\x00+1", None),
    "lone surrogate": ("'\ud800'", None),
    "not Python": ("SELECT * FROM users;", "SyntaxError"),
    "empty": ("", None),
    "a megabyte": ("x = 1\n" * 200_000, None),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_harms_nothing_and_returns_in_time(python, attack):
    program, expected = ATTACKS[attack]
    start = time.monotonic()
    result = python(program)
    assert time.monotonic() - start < LIMITS.seconds + 2 * PythonTool.GRACE + 3
    assert isinstance(result, str)
    assert len(result) <= LIMITS.characters
    assert SECRET not in result
    assert "root:" not in result
    if expected is not None:
        assert expected in result
    assert python("6 * 7") == "42"  # and the next program runs


def test_there_are_at_least_40_attacks():
    assert len(ATTACKS) >= 40


def test_no_attack_wrote_a_file():
    assert not os.path.exists("/tmp/owned")


def test_long_output_is_cut(python):
    result = python("print('ab' * 10_000)")
    assert len(result) == LIMITS.characters
    assert result.endswith("…")


def test_programs_share_no_state(python):
    assert python("secret = 5") == ""
    assert "NameError" in python("secret")


def test_programs_run_in_parallel(python):
    results = {}

    def run(number):
        results[number] = python(f"{number} * {number}")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: str(number * number) for number in range(16)}


def test_a_worker_that_died_is_replaced(python):
    with python._workers().checkout() as session:
        os.kill(session.worker_pid, signal.SIGKILL)
    assert python("1 + 1") == "2"
