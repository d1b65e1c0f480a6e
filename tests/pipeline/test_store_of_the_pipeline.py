"""The store of a built pipeline: what other recipes find in it, lost views, and the lineage of a page."""

from click.testing import CliRunner

from llm_assets.artifacts.lineage import downstream
from llm_assets.artifacts.record import data_version
from llm_assets.cli import cli
from llm_assets.graph import GRAPH, open_workspace
from tests.support.sample_pipeline import FROM_RL, REFERENCE, missing_assets
from tests.support.shared_folders import file_times


def test_a_recipe_with_another_name_finds_every_artifact(pipeline):
    renamed = pipeline.recipe.replace(name="other")
    resolver = open_workspace(renamed).resolver()
    resolutions = [resolver.resolve(*key) for key in GRAPH.keys(renamed)]
    found_artifacts = {resolution.key: resolution.artifact for resolution in resolutions}
    assert found_artifacts.keys() == pipeline.artifacts.keys()
    assert {key.partition("/")[0] for key in found_artifacts} == GRAPH.stages.keys() - GRAPH.left_out(renamed).keys()
    for key, artifact in found_artifacts.items():
        assert artifact is not None and artifact.path == pipeline.artifacts[key].path, key


def test_nothing_is_rebuilt_until_a_field_changes_and_then_only_what_is_downstream(pipeline):
    recipe = pipeline.recipe
    assert missing_assets(recipe) == set()
    changed = recipe.replace(finetuning=recipe.finetuning.replace(seed=2))
    from_sft = {"sft_checkpoint", "ablation_checkpoint", "sft_evaluation", "hallucination_mitigations"}
    assert missing_assets(changed) == from_sft | FROM_RL


def data_file_times(artifacts):
    """When each file of data, but not of views, was written."""
    names = {artifact.path: set(artifact.record.files) for artifact in artifacts}
    return {
        path: time
        for folder, files in names.items()
        for path, time in file_times(folder).items()
        if path.relative_to(folder).as_posix() in files
    }


def test_lost_views_are_rendered_again_without_building_anything(pipeline_copy):
    artifacts = pipeline_copy.artifacts.values()
    views = {artifact.view(name): artifact for artifact in artifacts for name in artifact.record.views}
    contents = {path: path.read_bytes() for path in views}
    assert {artifact.record.asset for artifact in views.values()} >= {
        "corpus_report",
        "tokenizer",
        "base_checkpoint",
        "base_evaluation",
        "sft_checkpoint",
        "sft_evaluation",
        "rl_checkpoint",
        "rl_evaluation",
        "reward_checkpoint",
        "rlhf_checkpoint",
        "rlhf_evaluation",
        "scorecard",
        "model_export",
    }
    times = data_file_times(artifacts)
    for path in views:
        path.unlink()
    rendered = CliRunner().invoke(cli, ["artifacts", "render", "--recipe", REFERENCE])
    assert rendered.exit_code == 0, rendered.output
    assert {line.removeprefix("drew ") for line in rendered.output.splitlines()} == set(map(str, views))
    assert {path: path.read_bytes() for path in views} == contents
    assert data_file_times(artifacts) == times and missing_assets(pipeline_copy.recipe) == set()
    again = CliRunner().invoke(cli, ["artifacts", "render", "--recipe", REFERENCE])
    assert "every view is up to date with its template" in again.output
    resolver = open_workspace(pipeline_copy.recipe).resolver()
    for artifact in artifacts:
        resolved = resolver.artifact(artifact.record.asset, artifact.record.partition)
        assert resolved.data_version == artifact.data_version == data_version(resolved.record.files)


def test_a_page_can_be_followed_to_the_assistant(pipeline):
    store = open_workspace(pipeline.recipe).store
    records = downstream(store, pipeline.artifacts["clean_corpus/sample"])
    readers = {artifact.record.key for artifact in records}
    assert {"training_search_index", "knowledge_boundary", "conversations", "practice_problems", *FROM_RL} <= readers
    assert {"sft_checkpoint", "sft_evaluation"} <= readers
