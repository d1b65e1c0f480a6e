"""A changed recipe in Dagster's UI: stale assets, and a check on every asset that the change reaches."""

import pytest

from tests.support.commands import command_here, dagster_dev
from tests.support.small_recipe import recipe_file, warc_sources
from tests.support.warcs import page, story, write

PARTITION = """query($assets: [AssetKeyInput!]!) { assetNodes(assetKeys: $assets) {
  assetKey { path } staleStatus(partition: "c") staleCauses(partition: "c") { reason key { path } } } }"""
CHECKS = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  assetChecksOrError { ... on AssetChecks { checks { name executionForLatestMaterialization {
    runId status evaluation { success severity description } } } } } } } }"""


@pytest.fixture
def project(tmp_path):
    write(tmp_path / "warc" / "a.warc.gz", [page(f"http://host.example/{n}", story(n)) for n in range(4)])
    write_recipe(tmp_path)
    assert command_here(tmp_path, "setup").returncode == 0
    ran = command_here(tmp_path, "run", "--select", "*text_statistics")
    assert ran.returncode == 0, ran.stderr
    return tmp_path


def write_recipe(folder, further=""):
    recipe_file(folder / "recipe.py", warc_sources(folder / "warc"), further)


def state(server, asset):
    """The evaluation of the check that compares an asset with the recipe."""
    node = server.ask(CHECKS, key={"path": [asset]})["assetNodeOrError"]
    (check,) = [check for check in node["assetChecksOrError"]["checks"] if check["name"] == "up_to_date"]
    return check["executionForLatestMaterialization"]["evaluation"]


def test_the_ui_shows_a_changed_recipe(project):
    assets = ["filtered_urls", "extracted_text", "language_filtered_text", "text_statistics"]
    write_recipe(project, "extraction=recipes.Extraction(min_characters=7),")
    with dagster_dev(project) as server:
        nodes = server.ask(PARTITION, assets=[{"path": [name]} for name in assets])["assetNodes"]
        stale = {node["assetKey"]["path"][0]: (node["staleStatus"], node["staleCauses"]) for node in nodes}
        assert stale["extracted_text"][0] == "STALE"
        assert [cause["reason"] for cause in stale["extracted_text"][1]] == ["has a new code version"]
        assert stale["filtered_urls"][0] == "FRESH"
        # Dagster marks only the changed asset as stale. The check reports the change downstream as well.

        def failed_check(asset):
            evaluation = state(server, asset)
            return None if evaluation["success"] else evaluation

        changed = server.wait(lambda: failed_check("extracted_text"), 120)
        assert changed["severity"] == "WARN"
        assert "extracted_text/c: would build: config.min_characters: 1 → 7" in changed["description"]
        downstream = server.wait(lambda: failed_check("text_statistics"), 120)
        assert "may build: only if the bytes of language_filtered_text/c change" in downstream["description"]
        assert state(server, "filtered_urls")["success"]
        # Once the changed recipe is built, status and check are good again.
        assert server.end(server.launch(assets, "c")) == "SUCCESS", server.log.read_text()[-5000:]
        nodes = server.ask(PARTITION, assets=[{"path": [name]} for name in assets])["assetNodes"]
        assert {node["staleStatus"] for node in nodes} == {"FRESH"}
        assert all(state(server, name)["success"] for name in assets)
