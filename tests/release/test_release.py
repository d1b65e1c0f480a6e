"""The export and the scorecard as stages: which files are data, which are views, and that identities name no recipe."""

import json

import pandera.polars as pa
import polars as pl
import pytest

from llm_assets.artifacts import Graph, Stage, Store, Workspace
from llm_assets.artifacts.checks import examine
from llm_assets.compute import LocalEngine
from llm_assets.model.checkpoint import save_model
from llm_assets.model.transformer import Transformer
from llm_assets.recipes import Conversations, ModelExport
from llm_assets.release import scorecard as page
from llm_assets.release.model_export import CARD, FOLDER, GGUF, MODEL_EXPORT, card_of
from llm_assets.release.scorecard import SCORECARD
from llm_assets.tools.search import INDEX
from tests.support.training_jobs import ENCODING, SHAPE
from tests.support.written_corpus import PAGES, WRITTEN, build, small_recipe, texts

NAME = "a-recipe-with-a-name"
GRADES = {"known": {"right": 0.9, "refused": 0.05, "wrong": 0.05}}
# Stats of other stages that the pages read.
STATS = {
    "tokenizer": {"vocabulary": 500, "bytes_per_token": 3.5},
    "token_shards": {"train_tokens": 1000, "validation_tokens": 10},
    "base_checkpoint": {"parameters": 1234, "actual": {"seconds": 10.0, "cpu_seconds": 20.0}, "flops": 1e9},
    "base_evaluation": {"bits_per_byte": {"base model": 1.0, "gzip": 2.0}},
    "sft_evaluation": {"grades": {"sft": GRADES, "base": GRADES}},
    "rl_evaluation": {
        "families": {"rl": {"sums": 0.5}, "sft": {"sums": 0.25}},
        "intervals": {"rl": {"sums": {"low": 0.4, "high": 0.6}}, "sft": {"sums": {"low": 0.2, "high": 0.3}}},
        "baselines": {"sums": 0.1},
        "changes": {"known": -0.01},
    },
    "reward_checkpoint": {"orders": {"reward model": {"value": 0.7, "low": 0.6, "high": 0.8, "n": 40}}},
    "rlhf_checkpoint": {"monitor": {"0": {"proxy": 0.0, "gold": 0.0, "kl": 0.0}}, "stopped": ""},
    "rlhf_evaluation": {
        "comparisons": {"rlhf against sft": {"better": 0.5, "equal": 0.3, "worse": 0.2, "preferred": 0.71}},
        "facts": {"rlhf": {"precision": 0.62}},
        "changes": {"known": 0.02},
    },
}
CURVE = pl.DataFrame({"step": [0, 1], "loss": [2.0, 1.0], "reward": [0.1, 0.2], "length": [5.0, 6.0]})
TABLES = {
    ("conversations", "evaluation"): pl.DataFrame(
        {
            "split": ["test", "test"],
            "group": ["known", "sums"],
            "question": ["Who is it?", "2 + 2?"],
            "answers": ['["Ann"]', '["4"]'],
            "tools": ["", "python"],
        }
    ),
    ("response_pairs", "prompts"): pl.DataFrame({"question": ["Tell me."], "split": ["test"]}),
    ("knowledge_boundary", "topics"): pl.DataFrame(
        {
            "verdict": ["known"],
            "split": ["train"],
            "relation": ["born"],
            "questions": ['["When?"]'],
            "sentence": ["In 1900."],
        }
    ),
    **{(f"{name}_checkpoint", "curve"): CURVE for name in ("base", "sft", "rl", "rlhf")},
}


def schema_of(frame: pl.DataFrame) -> type:
    """A schema that the frame satisfies."""
    types = {pl.String: str, pl.Int64: int, pl.Float64: float, pl.Boolean: bool}
    columns = {name: types[type(kind)] for name, kind in frame.schema.items()}
    return type("FrameSchema", (pa.DataFrameModel,), {"__annotations__": columns})


def stub(name: str) -> Stage:
    """A stage of this name that writes the stats, tables and files that the pages read from it."""

    def build_stub(step, config):
        with step.task("stub") as task:
            task.stats.update(STATS.get(name, {}))
            for (stage, table), frame in TABLES.items():
                if stage == name:
                    task.table(table, schema_of(frame)).frame(frame)
            if name == "rlhf_checkpoint":
                model = Transformer(SHAPE)
                model.initialise(1)
                save_model(model, step.staging)
                ENCODING.save(step.staging)
                for file in ("model.safetensors", "shape.json", "tokenizer.tiktoken", "encoding.json"):
                    task.add_file(file)
            if name == "training_search_index":
                (step.staging / INDEX).write_bytes(b"")
                task.add_file(INDEX)

    per_crawl = name in page.FUNNEL or name in ("token_shards", "text_statistics", "text_signatures", "reject_ledger")
    return Stage(name, "stub", "A stub.", build_stub, "1", per_crawl=per_crawl)


@pytest.fixture
def space(tmp_path, monkeypatch):
    """A workspace with the two stages, stubs upstream of them, and models whose answers are fixed."""
    PAGES.clear()
    PAGES["sample"] = [("news.example", text) for text in texts(5)]

    def measure(step, module, job, folder):
        answer = {"messages": [{"role": "assistant", "content": "It is Ann."}]}
        return {model: [{"number": prompt.number, **answer} for prompt in job.prompts] for model in job.models}

    monkeypatch.setattr(page, "measure", measure)
    names = dict.fromkeys([*MODEL_EXPORT.inputs, *SCORECARD.inputs])
    stages = [WRITTEN if name == "clean_corpus" else stub(name) for name in names]
    recipe = small_recipe(name=NAME, conversations=Conversations(name="Bea", maker="a maker"))
    space = Workspace(recipe, Store(tmp_path), Graph([*stages, MODEL_EXPORT, SCORECARD]), LocalEngine(1))
    build(space, *names)
    return space


def test_the_model_card_is_a_view_that_is_drawn_from_the_store(space):
    outcome = build(space, "model_export")
    export, card = outcome.artifact, outcome.artifact.view(CARD)
    text = card.read_text()
    assert (
        CARD not in export.record.files
        and GGUF in export.record.files
        and f"{FOLDER}/config.json" in export.record.files
    )
    assert (
        text.startswith("---\n")
        and "# Bea" in text
        and "made by a maker.\nIt was pretrained on the crawl sample," in text
    )
    assert "simulated" not in text and NAME not in text and "| clean_corpus/sample |" in text
    assert f"{SHAPE.layers} layers" in text and "50.0 % (25.0 %)" in text
    card.unlink()
    assert build(space, "model_export").cached and card.read_text() == text
    assert MODEL_EXPORT.show(export)["card"] == text


def test_the_checks_of_the_export_pass_and_report_numbers(space):
    outcome = build(space, "model_export")
    outcomes = {
        check.name: examine(check, outcome.resolution, space.recipe, space.store).outcome
        for check in MODEL_EXPORT.checks
    }
    assert all(checked.passed for checked in outcomes.values()), outcomes
    assert outcomes["same_in_transformers"].numbers["pages"] == 5 and outcomes["same_in_gguf"].numbers["tensors"] > 5


def test_the_card_is_found_by_the_checkpoint_folder(space):
    checkpoint = space.resolver().artifact("rlhf_checkpoint", None)
    assert card_of(checkpoint.path, space.store) is None
    export = build(space, "model_export").artifact
    assert card_of(checkpoint.path, space.store) == export.view(CARD)
    assert card_of(space.resolver().artifact("sft_checkpoint", None).path, space.store) is None


def test_the_scorecard_page_is_a_view_that_is_drawn_from_the_store(space):
    outcome = build(space, "scorecard")
    artifact, path = outcome.artifact, outcome.artifact.view(page.REPORT)
    text = path.read_text()
    assert page.REPORT not in artifact.record.files and NAME not in text
    assert "an assistant named Bea" in text and "It is Ann." in text and "imulated" not in text
    transcripts = pl.read_parquet(artifact.table("transcripts"))
    assert transcripts.group_by("model").len()["len"].to_list() == [3] * 4
    assert transcripts.filter(pl.col("kind") == "known")["expected"].unique().to_list() == ["Ann"]
    costs = {row["key"]: row for row in pl.read_parquet(artifact.table("costs")).to_dicts()}
    assert costs["base_checkpoint"]["cpu_seconds"] >= 20 and "clean_corpus/sample" in costs
    path.unlink()
    assert build(space, "scorecard").cached and path.read_text() == text
    assert "| stage | seconds |" in SCORECARD.show(artifact)["summary"]


def test_no_recipe_name_is_in_an_identity(space):
    other = Workspace(space.recipe.replace(name="another"), space.store, space.graph, space.engine)
    for name in ("model_export", "scorecard"):
        build(space, name)
        resolution = other.resolver().resolve(name, None)
        assert resolution.artifact is not None and NAME not in json.dumps(resolution.identity.fields())
    changed = space.recipe.replace(model_export=ModelExport(gguf=None))
    resolver = Workspace(changed, space.store, space.graph, space.engine).resolver()
    assert resolver.resolve("model_export", None).artifact is None
