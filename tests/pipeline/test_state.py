"""A changed recipe in Dagster's UI: stale assets, and a check on every asset that the change reaches."""

from tests.support.commands import dagster_dev

PARTITION = """query($assets: [AssetKeyInput!]!) { assetNodes(assetKeys: $assets) {
  assetKey { path } staleStatus(partition: "c") staleCauses(partition: "c") { reason key { path } } } }"""
CHECKS = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  assetChecksOrError { ... on AssetChecks { checks { name executionForLatestMaterialization {
    runId status evaluation { success severity description } } } } } } } }"""


def state(server, asset):
    """The evaluation of the check that compares an asset with the recipe."""
    node = server.ask(CHECKS, key={"path": [asset]})["assetNodeOrError"]
    (check,) = [check for check in node["assetChecksOrError"]["checks"] if check["name"] == "up_to_date"]
    return check["executionForLatestMaterialization"]["evaluation"]


def test_the_ui_shows_a_changed_recipe(run_project):
    assets = ["filtered_urls", "extracted_text", "language_filtered_text", "text_statistics"]
    recipe = run_project / "recipe.py"
    changed = "Recipe(extraction=recipes.Extraction(min_characters=7), name"
    recipe.write_text(recipe.read_text().replace("Recipe(name", changed))
    with dagster_dev(run_project) as server:
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
