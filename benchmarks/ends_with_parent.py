"""Runs a program in a process group of its own, which ends when the process that started this one does.

    python benchmarks/ends_with_parent.py PROGRAM [ARGUMENT ...]

The caller passes a pipe as standard input and never writes to it. Its end closes when the caller ends, however that is:
a killed benchmark would otherwise leave its peer running. The exit status is the program's.
"""

import os
import signal
import subprocess
import sys
import threading


def kill_group_at_end_of_input() -> None:
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    os.setsid()
    threading.Thread(target=kill_group_at_end_of_input, daemon=True).start()
    sys.exit(subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL).returncode)
