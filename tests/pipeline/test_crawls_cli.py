"""`llm-assets crawls`, from adding to removing, and `llm-assets run` for a crawl that the recipe does not read."""

import json
import threading

import dagster as dg
import pytest
from click.testing import CliRunner

from llm_assets.artifacts import materialize
from llm_assets.cli import cli
from llm_assets.graph import GRAPH, open_workspace
from llm_assets.recipes import SampleWeb, WarcFiles, WebCrawl
from llm_assets.recipes.load import load_recipe, split_crawls, with_crawls
from llm_assets.sample_web import SampleWebServer, make_web
from llm_assets.sample_web.pages import Page
from llm_assets.settings import load_settings
from llm_assets.web.crawls import open_registry
from resources import ArtifactStore, ChosenRecipe, Compute, DuckDb, Tracking, make_assets
from resources.recrawls import registered_crawls
from tests.support.building import build, check
from tests.support.commands import command_here
from tests.support.small_recipe import CORPUS, recipe_file, warc_sources
from tests.support.warcs import page, story, write

HOST = "http://small.example"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a recipe of one crawl `own` of WARC files; the environment names the recipe."""
    write(tmp_path / "own" / "0.warc.gz", [page(f"http://own.example/{i}", story(i)) for i in range(4)])
    recipe_file(tmp_path / "recipe.py", warc_sources(tmp_path / "own", "own"))
    monkeypatch.setenv("LLM_ASSETS_RECIPE", f"{tmp_path}/recipe.py:mine")
    return tmp_path


@pytest.fixture
def server():
    """A server of a site with three pages, one of which robots.txt forbids."""
    bodies = {"/": b'<a href="/a">a</a><a href="/shut/b">b</a>', "/a": story(1), "/shut/b": story(2)}
    web = make_web(1, 0.05)
    pages = {
        f"{HOST}{path}": Page(f"{HOST}{path}", "x", body, headers={"Content-Type": "text/html"})
        for path, body in bodies.items()
    }
    robots = {"small.example": "User-agent: *\nDisallow: /shut/\n"}
    server = SampleWebServer(type(web)(web.world, pages, robots, (f"{HOST}/",), [], web.clock))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.shutdown()


def site(server, **fields):
    """The source of a crawl of that site."""
    return WebCrawl(seeds=(f"{HOST}/",), proxy=server.proxy, delay=0.0, retries=0, **fields)


def run_command(*words, fails=False, answer=None):
    """The output of a command in this process; with `fails`, of one that must fail, with its error."""
    done = CliRunner().invoke(cli, list(words), input=answer)
    assert (done.exit_code != 0) == fails, done.output
    return f"{done.output}{done.exception or ''}" if fails else done.output


def register(name, source):
    open_registry(load_settings()).add(name, source)


def partitions():
    """The partitions of crawls in Dagster."""
    with dg.DagsterInstance.get() as instance:
        return set(instance.get_dynamic_partitions("crawl"))


def test_a_source_without_anything_to_crawl_is_refused_at_once(project):
    (project / "html").mkdir()
    (project / "html" / "index.html").write_text("<p>no archive")
    for words, message in [
        (("--warc", str(project / "fictitious")), "fictitious: no such file or folder"),
        (("--warc", str(project / "html")), "no WARC or ARC file in this folder"),
        (("--warc", str(project / "html")), "it holds 1 other files, such as index.html"),
        (("--warc", str(project / "html" / "index.html")), "index.html: is not a WARC or ARC file"),
        (("--seed", "http://127.0.0.1:8000/"), "seed http://127.0.0.1:8000/ is on this machine or in its network"),
        (("--seed", "http://a.example/", "--seed", "http://localhost/"), "seed http://localhost/ is on this machine"),
    ]:
        assert message in run_command("crawls", "add", "mine", *words, fails=True)
    assert open_registry(load_settings()).sources() == {}
    run_command("crawls", "add", "local", "--seed", "http://127.0.0.1:8000/", "--set", "allow_private=true")
    run_command("crawls", "add", "far", "--warc", "https://never.example/a.warc.gz")  # no request is sent
    write(project / "mixed" / "a.warc.gz", [page("http://own.example/")])
    (project / "mixed" / "b.warc.gz").write_bytes(b"\x1f\x8b\x08nothing")
    (project / "mixed" / "c.warc").write_bytes(b"")
    output = run_command("crawls", "add", "mixed", "--warc", str(project / "mixed"))
    assert "b.warc.gz: its first gzip member is damaged" in output and "c.warc: is empty" in output
    assert set(open_registry(load_settings()).sources()) == {"local", "far", "mixed"}


def test_an_unreadable_archive_is_refused(project, monkeypatch):
    """The error is simulated, because tests may run as root, who can open every file."""
    archive = write(project / "own" / "1.warc.gz", [page("http://own.example/")])
    path_open = type(archive).open

    def refusing(path, *words, **options):
        if path.name == "1.warc.gz":
            raise PermissionError(13, "Permission denied")
        return path_open(path, *words, **options)

    monkeypatch.setattr(type(archive), "open", refusing)
    output = run_command("crawls", "add", "mine", "--warc", str(archive), fails=True)
    assert "1.warc.gz: cannot be read (Permission denied)" in output


def test_a_removed_crawl_leaves_the_registry_and_dagster(project):
    run_command("crawls", "add", "mine", "--warc", str(project / "own"))
    artifact = materialize(GRAPH["raw_warc"], "mine", open_workspace()).artifact
    assert "mine" in partitions()
    output = run_command("crawls", "remove", "mine")
    assert "removed crawl and partition in Dagster: mine" in output
    assert "gc --keep-last 0` would collect 1 artifacts of it" in output and artifact.record.short_id in output
    assert open_registry(load_settings()).sources() == {} and "mine" not in partitions()
    with (
        dg.DagsterInstance.get() as instance,
        dg.build_sensor_context(instance=instance, resources={"recipe": ChosenRecipe()}) as context,
    ):
        (request,) = registered_crawls.evaluate_tick(context).dynamic_partitions_requests
    assert list(request.partition_keys) == ["own"]
    assert "no crawl 'mine' is registered" in run_command("crawls", "remove", "mine", fails=True)


def test_a_crawl_that_others_need_is_not_removed(project):
    register("first", WebCrawl(seeds=("http://a.example/",)))
    register("second", WebCrawl(seeds=("http://a.example/",), since="first"))
    assert "crawl 'first' is continued by second" in run_command("crawls", "remove", "first", fails=True)
    assert "is defined by the recipe 'mine' itself" in run_command("crawls", "remove", "own", fails=True)
    run_command("crawls", "remove", "second")
    run_command("crawls", "remove", "first")
    assert open_registry(load_settings()).sources() == {}


def test_a_damaged_file_of_the_registry_is_named_with_the_command_that_removes_it(project):
    folder = load_settings().data / "crawls"
    folder.mkdir(parents=True)
    (folder / "torn.json").write_text("{")
    assert "torn.json: not JSON" in (output := run_command("crawls", "list", fails=True))
    assert "llm-assets crawls remove torn" in output
    run_command("crawls", "remove", "torn")
    assert "own" in run_command("crawls", "list")


def test_a_partition_without_a_crawl_is_explained_and_can_be_removed(project):
    run_command("crawls", "add", "mine", "--warc", str(project / "own"))
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions("crawl", ["nobody"])
        resources = {
            "recipe": ChosenRecipe(),
            "store": ArtifactStore(),
            "compute": Compute(),
            "duckdb": DuckDb(),
            "tracking": Tracking(),
        }
        (asset,) = [asset for asset in make_assets(GRAPH) if asset.key == dg.AssetKey("raw_warc")]
        launched = dg.materialize(
            [asset], partition_key="nobody", instance=instance, resources=resources, raise_on_error=False
        )
        (failed,) = [event for event in launched.all_events if event.is_step_failure]
        message = failed.step_failure_data.error.cause.message
    assert "no crawl 'nobody'; available: mine, own" in message
    assert "If it is a partition that was left in Dagster: llm-assets crawls remove nobody" in message
    assert "removed partition in Dagster: nobody" in run_command("crawls", "remove", "nobody")
    assert partitions() == {"mine"}


def test_a_crawl_is_fetched_again_on_request(project, server):
    register("site", site(server))
    register("later", site(server, since="site"))
    assert "nothing of crawl site was fetched" in run_command("crawls", "retry", "site")
    first = materialize(GRAPH["raw_warc"], "site", open_workspace())
    assert materialize(GRAPH["raw_warc"], "site", open_workspace()).cached
    refused = run_command("crawls", "retry", "site", fails=True, answer="n\n")
    assert "3 captures of" in refused and "later, which continue it" in refused and "Aborted" in refused
    assert materialize(GRAPH["raw_warc"], "site", open_workspace()).cached
    assert "the next run fetches it again" in run_command("crawls", "retry", "site", "--yes")
    server.web.pages[f"{HOST}/a"].body = story(7)
    again = materialize(GRAPH["raw_warc"], "site", open_workspace())
    assert not again.cached and again.artifact.data_version != first.artifact.data_version


def test_a_crawl_that_cannot_be_fetched_again_is_an_error(project):
    register("sample", SampleWeb())
    assert "crawl 'own' reads your WARC files" in run_command("crawls", "retry", "own", fails=True)
    assert "crawl 'sample' reads the sample web" in run_command("crawls", "retry", "sample", fails=True)
    assert "no crawl 'never'; available: own, sample" in run_command("crawls", "retry", "never", fails=True)


def test_a_run_reports_what_a_crawl_did_not_fetch_and_a_later_run_retries_an_empty_crawl(project, server):
    register("site", site(server))
    working_pages = dict(server.web.pages)
    server.web.pages[f"{HOST}/"] = Page("", "x", b"down", 503, {})
    fetch_site = ("run", "--crawl", "site", "--select", "*raw_warc")
    down = command_here(project, *fetch_site)
    assert down.returncode == 1 and "crawl site stored no page: 1 × status 503 (http://small.example/)" in down.stderr
    assert "site: failed at 20" in (listing := run_command("crawls", "list")) and "crawl site stored no page" in listing
    server.web.pages.update(working_pages)
    ran = command_here(project, *fetch_site)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "raw_warc/site: has_captures: 3 captures, 0 corrupt stretches; not fetched: 1 robots" in ran.stdout
    assert "failed at" not in run_command("crawls", "list")
    output = run_command("corpus", "why", f"{HOST}/shut/b")
    assert f"{HOST}/shut/b\n  not fetched by crawl site: robots (forbidden by robots.txt)" in output


def test_why_reports_a_failed_crawl(project):
    register("private", WebCrawl(seeds=("http://127.0.0.1:9/",), retries=0))
    with pytest.raises(Exception, match="1 × private_address"):
        materialize(GRAPH["raw_warc"], "private", open_workspace())
    output = run_command("corpus", "why", "127.0.0.1:9")
    assert "not fetched by crawl private, whose last try failed at 20" in output and "private_address" in output
    assert "none of the crawls own is built" in run_command("corpus", "why", "http://else.example/", fails=True)


def test_registered_crawls_that_are_lost_or_not_built_do_not_block_the_others(project):
    """One has lost its files, one was never built, and one continues a crawl of another recipe."""
    register("lost", WarcFiles(path=str(project / "lost")))
    register("unbuilt", WebCrawl(seeds=("http://never.example/",)))
    register("orphan", WebCrawl(seeds=("http://never.example/",), since="elsewhere"))
    report = build(load_recipe(), CORPUS, crawls=["own"])["corpus_report"]
    assert all(key.endswith("/own") for key in report.record.fields["inputs"] if "/" in key)
    assert "4 pages" in check(load_recipe(), "corpus_report", "corpus_not_empty").summary
    listing = run_command("crawls", "list")
    assert all(name in listing for name in ("lost", "unbuilt"))
    assert "orphan: left out: orphan continues elsewhere, which is not a crawl of recipe 'mine'" in listing
    assert "crawl 'orphan' cannot be built: orphan continues elsewhere" in run_command(
        "run", "--crawl", "orphan", fails=True
    )
    run_command("crawls", "remove", "orphan")


@pytest.mark.parametrize(
    ("reference", "path_and_crawls"),
    [
        ("laptop", ("laptop", ())),
        ("laptop@mine,site", ("laptop", ("mine", "site"))),
        ("/home/me@work/recipe.py:mine", ("/home/me@work/recipe.py:mine", ())),
        ("/home/me@work/recipe.py:mine@a", ("/home/me@work/recipe.py:mine", ("a",))),
    ],
)
def test_a_reference_names_a_recipe_and_the_crawls_that_it_reads(reference, path_and_crawls):
    assert split_crawls(reference) == path_and_crawls
    assert with_crawls(reference, ["x", "y"]) == f"{path_and_crawls[0]}@x,y"


def test_a_recipe_of_other_crawls_trains_on_exactly_these(project):
    register("mine", WarcFiles(path=str(project / "own")))
    register("mine-too", WarcFiles(path=str(project / "own")))
    recipe = open_workspace("laptop@mine").recipe
    assert recipe.corpus() == recipe.trained_crawls() == recipe.tokenizer_crawls() == ["mine"]
    assert {"sample", "mine-too"} <= recipe.sources().keys() and recipe.name == "laptop@mine"
    both = open_workspace("laptop@mine,sample").recipe
    assert both.trained_crawls() == both.tokenizer_crawls() == ["mine", "sample"]
    assert open_workspace(both).recipe == both
    with pytest.raises(ValueError, match="no crawl 'never'; available: mine, mine-too, sample"):
        open_workspace("laptop@never")
    # A crawl adds the crawls that it continues, which hold the unchanged pages.
    register("week-1", SampleWeb(scale=0.05))
    register("week-2", SampleWeb(scale=0.05, day=2, since="week-1"))
    assert open_workspace("laptop@week-2").recipe.corpus() == ["week-1", "week-2"]
    # The default recipe does not change.
    assert open_workspace("laptop").recipe.replace(other_crawls={}) == load_recipe("laptop")


def test_a_run_for_a_crawl_that_the_recipe_does_not_read_trains_a_model_on_that_crawl_alone(project):
    """From a folder of WARC files to a chat model, which the printed reference names; no page of the recipe's crawl.

    The commands of the README, which a test of the documentation runs, do the same up to the export.
    """
    write(project / "warc" / "0.warc.gz", [page(f"http://mine.example/{i}", story(50 + i)) for i in range(24)])
    added = command_here(project, "crawls", "add", "mine", "--warc", str(project / "warc"))
    assert added.returncode == 0, added.stderr
    select = ("--select", "*sft_checkpoint")
    ran = command_here(project, "run", "--crawl", "mine", *select)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    reference = f"{project}/recipe.py:mine@mine"
    assert f"llm-assets chat --recipe {reference}" in ran.stdout
    assert " built, 0 cached" in ran.stdout
    records = {
        path.parts[-4]: json.loads(path.read_text())
        for path in (project / "data" / "artifacts").glob("*/*/*/artifact.json")
    }
    assert records["sft_checkpoint"]["files"]
    per_crawl_inputs = {key for record in records.values() for key in record["fields"]["inputs"] if "/" in key}
    assert {key for key in per_crawl_inputs if not key.endswith("/mine")} == set()
    completed = command_here(project, "complete", "The", "--recipe", reference, "--max-tokens", "4")
    assert completed.returncode == 0, completed.stderr
    again = command_here(project, "run", "--recipe", reference, *select)
    assert "0 built" in again.stdout and "does not read" not in again.stdout
