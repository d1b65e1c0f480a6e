"""``crawls add --common-crawl`` with conditions on captures: none is dropped, whatever its value."""

import pytest
from click.testing import CliRunner

from llm_assets.cli import cli

INDEX = ("--common-crawl", "CC-MAIN-2026-43")
DOMAIN = (*INDEX, "--domain", "example.org")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ((*DOMAIN, "--limit", "0"), "limit: Input should be greater than or equal to 1"),
        ((*DOMAIN, "--sample", "0"), "sample: Input should be greater than 0"),
        ((*INDEX, "--limit", "0"), "limit: Input should be greater than or equal to 1"),
        ((*DOMAIN, "--status", "404"), "status 404: the index lists errors and redirects in subset=crawldiagnostics"),
        (("--warc", "x", "--limit", "10"), "--limit: only with --common-crawl"),
        (("--sample-web", "--domain", "a.org", "--sample", "0"), "--domain, --sample: only with --common-crawl"),
        (("--since", "x", "--language", "en"), "--language: only with --common-crawl"),
    ],
)
def test_conditions_that_cannot_hold_are_refused(words, problem):
    done = CliRunner().invoke(cli, ["crawls", "add", "x", *words])
    assert done.exit_code != 0 and problem in f"{done.output}{done.exception}"
