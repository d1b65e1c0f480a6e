"""Crawler processes that are forked from one that has imported Scrapy: the tests start more than a hundred.

To import what a crawler needs takes 2 s of CPU time. The commands that tests start as processes, and with them the
tests of killed crawls, start their crawlers as users' commands do.
"""

import os
import subprocess

from llm_assets.compute.forks import Fork

IMPORTED = ("scrapy.core.downloader.handlers.http11", "scrapy.crawler", "llm_assets.web.crawler.spider")


class ForkedCrawler(Fork):
    """A crawler process, with as much of subprocess.Popen as the launcher of crawls uses."""

    def __init__(self, command, stdin, stdout, stderr, text):
        module, plan = command[2:]
        assert (stdin, stdout, text) == (subprocess.PIPE, subprocess.PIPE, True)
        (read_stdin, write_stdin), (read_stdout, write_stdout) = os.pipe(), os.pipe()
        super().__init__(module, [plan], os.environ, (read_stdin, write_stdout, stderr.fileno()), IMPORTED)
        os.close(read_stdin)
        os.close(write_stdout)
        self.stdin, self.stdout = os.fdopen(write_stdin, "w"), os.fdopen(read_stdout)

    def __exit__(self, *error):
        self.stdout.close()
        self.stdin.close()
        super().__exit__(*error)
