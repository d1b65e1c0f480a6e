"""Crawler processes that are forked from one that has imported Scrapy: the tests start more than a hundred.

To import what a crawler needs takes 2 s of CPU time. A fork is as good as a new process, because the server, which is
this module as a program, has one thread and no reactor. The commands that tests start as processes, and with them the
tests of killed crawls, start their crawlers as users' commands do.
"""

import functools
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import traceback

from llm_assets.settings import PROJECT

CRAWLER = (sys.executable, "-m", "llm_assets.web.crawler")


class ForkedCrawler:
    """A crawler process, with as much of subprocess.Popen as the launcher of crawls uses."""

    def __init__(self, command, stdin, stdout, stderr, text):
        *program, plan = command
        assert (tuple(program), stdin, stdout, text) == (CRAWLER, subprocess.PIPE, subprocess.PIPE, True)
        (read_stdin, write_stdin), (read_stdout, write_stdout) = os.pipe(), os.pipe()
        connection, supervisors_end = socket.socketpair()
        descriptors = [supervisors_end.fileno(), read_stdin, write_stdout, stderr.fileno()]
        socket.send_fds(_server(), [b"."], descriptors)
        supervisors_end.close()
        os.close(read_stdin)
        os.close(write_stdout)
        self.stdin, self.stdout = os.fdopen(write_stdin, "w"), os.fdopen(read_stdout)
        self._answers = connection.makefile("rw")
        connection.close()
        request = {"plan": plan, "folder": os.getcwd(), "environment": dict(os.environ)}
        self._answers.write(json.dumps(request) + "\n")
        self._answers.flush()
        self.pid, self.returncode = int(self._answers.readline()), None

    def poll(self):
        if self.returncode is None and select.select([self._answers], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self):
        if self.returncode is None:
            self.returncode = int(self._answers.readline())
            self._answers.close()
            self.stdout.close()
        return self.returncode

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)


@functools.cache
def _server():
    """A connection to the process that forks crawlers, which ends when it is closed."""
    control, servers_end = socket.socketpair()
    with servers_end:
        words = [sys.executable, "-m", __name__, str(servers_end.fileno())]
        subprocess.Popen(words, cwd=PROJECT, stdin=subprocess.DEVNULL, pass_fds=[servers_end.fileno()])
    return control


def serve(control):
    """Fork for every connection that arrives."""
    import scrapy.core.downloader.handlers.http11
    import scrapy.crawler  # noqa: F401

    import llm_assets.web.crawler.spider  # noqa: F401

    assert "twisted.internet.reactor" not in sys.modules
    gc.collect()
    gc.freeze()  # a collection in a fork would copy every page
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks that have ended leave no zombies
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 4)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            control.close()
            supervise(*descriptors)
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def supervise(connection, *streams):
    """Run the requested crawl in a fork; answer with its process id, and with its exit code once it has ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with socket.socket(fileno=connection) as stream, stream.makefile("rw") as answers:
        request = json.loads(answers.readline())
        process = os.fork()
        if process == 0:
            for number, descriptor in enumerate(streams):
                os.dup2(descriptor, number)
            for descriptor in (connection, *streams):
                os.close(descriptor)
            os._exit(run(request))
        for descriptor in streams:
            os.close(descriptor)
        answers.write(f"{process}\n")
        answers.flush()
        _, status = os.waitpid(process, 0)
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")


def run(request):
    """Crawl as the crawler's module does; returns the exit code."""
    from llm_assets.web.crawler.spider import main

    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    try:
        code = main(request["plan"])
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as _control:
        serve(_control)
