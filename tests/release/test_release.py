"""The export and the scorecard as stages: which files are data, which are views, and that identities name no recipe."""

import json
import re
from html.parser import HTMLParser

import pandera.polars as pa
import polars as pl
import pytest

from llm_assets.artifacts import Graph, Stage, Store, Workspace
from llm_assets.artifacts.checks import examine
from llm_assets.compute import LocalEngine
from llm_assets.evaluation.figures import MODELS, figures_table, once, row
from llm_assets.evaluation.intervals import Estimate
from llm_assets.evaluation.schemas import EvaluationRows
from llm_assets.model.checkpoint import save_model
from llm_assets.model.transformer import Transformer
from llm_assets.recipes import Conversations, ModelExport
from llm_assets.release import scorecard as page
from llm_assets.release.model_export import CARD, FOLDER, GGUF, MODEL_EXPORT, card_of, origin
from llm_assets.release.scorecard import SCORECARD
from llm_assets.tools.search import INDEX
from tests.support.training_jobs import ENCODING, SHAPE
from tests.support.written_corpus import PAGES, WRITTEN, build, small_recipe, texts

NAME = "a-recipe-with-a-name"
OF_DPO = ("dpo_checkpoint", "dpo_evaluation")  # which a recipe with RLHF builds on demand only
# Stats of other stages that the pages read.
STATS = {
    "tokenizer": {"vocabulary": 500, "bytes_per_token": 3.5},
    "token_shards": {"train_tokens": 1000, "validation_tokens": 10},
    "base_checkpoint": {"parameters": 1234, "actual": {"seconds": 10.0, "cpu_seconds": 20.0}, "flops": 1e9},
    "rlhf_checkpoint": {"monitor": {"0": {"proxy": 0.0, "gold": 0.0, "kl": 0.0}}, "stopped": ""},
}


def figure(model, suite, group, metric, value):
    return row(model, suite, group, metric, Estimate(value, value - 0.05, value + 0.05, 40))


def answers(model):
    """A model's answers to two questions, one of them with Python."""
    return [
        {
            "model": model,
            "number": number,
            "group": group,
            "tools": tools,
            "question": question,
            "expected": expected,
            "transcript": "assistant: It is Ann.",
        }
        for number, (group, tools, question, expected) in enumerate(
            [("known", "", "Who is it?", "Ann"), ("sums", "python", "2 + 2?", "4")]
        )
    ]


def evaluation(*rows):
    return figures_table(rows)


CURVE = pl.DataFrame({"step": [0, 1], "loss": [2.0, 1.0], "reward": [0.1, 0.2], "length": [5.0, 6.0]})
TABLES = {
    ("conversations", "evaluation"): pl.DataFrame({"question": ["Who is it?", "2 + 2?"]}),
    ("base_evaluation", "evaluation"): evaluation(
        figure("base", "text", "validation pages", "bits_per_byte", 1.0),
        row("xz after the training text", "text", "validation pages", "bits_per_byte", once(2.0, 9)),
    ),
    ("sft_evaluation", "evaluation"): evaluation(
        figure("base", "questions", "known", "right", 0.4),
        figure("sft", "questions", "known", "right", 0.9),
        figure("sft", "questions", "fictitious", "refused", 0.8),
        figure("majority by relation", "questions", "known", "right", 0.125),
    ),
    ("rl_evaluation", "evaluation"): evaluation(
        figure("rl", "questions", "known", "right", 0.88),
        figure("rl", "questions", "known", "change from sft", -0.02),
        figure("sft", "problems", "sums", "pass@1", 0.25),
        figure("rl", "problems", "sums", "pass@1", 0.5),
        figure("best constant answer", "problems", "sums", "pass@1", 0.3),
    ),
    ("rlhf_evaluation", "evaluation"): evaluation(
        figure("rlhf", "questions", "known", "right", 0.87),
        figure("rlhf", "questions", "known", "change from sft", -0.03),
        figure("rlhf", "questions", "known", "change from rl", -0.01),
        figure("rlhf", "problems", "sums", "pass@1", 0.45),
        figure("rlhf", "open_answers", "open prompts", "precision", 0.62),
        figure("reward model", "preference", "test pairs", "ordered alike", 0.7),
    ),
    **{
        (name, "answers"): pl.DataFrame([answer for model in models for answer in answers(model)])
        for name, models in (
            ("sft_evaluation", ("base", "ablation", "sft")),
            ("rl_evaluation", ("rl",)),
            ("rlhf_evaluation", ("rlhf",)),
        )
    },
    ("rlhf_evaluation", "open_answers"): pl.DataFrame(
        [
            {"model": model, "prompt": 7, "question": "Tell me.", "text": f"{model} answers {sample}."}
            for model in MODELS
            if model != "dpo"
            for sample in (1, 2)
        ]
    ),
    **{(f"{name}_checkpoint", "curve"): CURVE for name in ("base", "sft", "rl", "rlhf")},
}


def schema_of(frame: pl.DataFrame) -> type:
    """A schema that the frame satisfies."""
    types = {pl.String: str, pl.Int64: int, pl.Float64: float, pl.Boolean: bool}
    columns = {name: types[type(kind)] for name, kind in frame.schema.items()}
    return type("FrameSchema", (pa.DataFrameModel,), {"__annotations__": columns})


def stub(name: str, left_out: bool = False) -> Stage:
    """A stage of this name that writes the stats, tables and files that the pages read from it."""

    def build_stub(step, config):
        with step.task("stub") as task:
            task.stats.update(STATS.get(name, {}))
            for (stage, table), frame in TABLES.items():
                if stage == name:
                    schema = EvaluationRows if stage in page.EVALUATIONS and table == "evaluation" else schema_of(frame)
                    task.table(table, schema).frame(frame)
            if name in ("rl_checkpoint", "rlhf_checkpoint"):
                model = Transformer(SHAPE)
                model.initialise(1 if name == "rlhf_checkpoint" else 2)
                save_model(model, step.staging)
                ENCODING.save(step.staging)
                for file in ("model.safetensors", "shape.json", "tokenizer.tiktoken", "encoding.json"):
                    task.add_file(file)
            if name == "training_search_index":
                (step.staging / INDEX).write_bytes(b"")
                task.add_file(INDEX)

    per_crawl = name in page.FUNNEL or name in ("token_shards", "text_statistics", "text_signatures", "reject_ledger")
    reason = (lambda recipe: "no rankings") if left_out else None
    return Stage(name, "stub", "A stub.", build_stub, "1", per_crawl=per_crawl, left_out=reason)


@pytest.fixture
def space(tmp_path):
    """A workspace with the two stages, and stubs upstream of them."""
    return open_space(tmp_path, left_out=OF_DPO)


@pytest.fixture
def unranked_space(tmp_path):
    """The same workspace without what a recipe without rankings leaves out."""
    return open_space(tmp_path, left_out=page.OF_RANKINGS)


def open_space(root, left_out=()):
    PAGES.clear()
    PAGES["sample"] = [("news.example", text) for text in texts(5)]

    names = dict.fromkeys([*MODEL_EXPORT.inputs, *SCORECARD.inputs])
    stages = [WRITTEN if name == "clean_corpus" else stub(name, name in left_out) for name in names]
    recipe = small_recipe(name=NAME, conversations=Conversations(name="Bea", maker="a maker"))
    space = Workspace(recipe, Store(root), Graph([*stages, MODEL_EXPORT, SCORECARD]), LocalEngine(1))
    build(space, *(name for name in names if name not in left_out))
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
        and "It was made by a maker: pretrained on the crawl sample," in text
    )
    assert "simulated" not in text and NAME not in text and "| clean_corpus/sample |" in text
    assert f"{SHAPE.layers} layers" in text and "| sums | 25.0 % (20.0 to 30.0) | 50.0 % (" in text
    card.unlink()
    assert build(space, "model_export").cached and card.read_text() == text
    assert MODEL_EXPORT.show(export)["card"] == text


@pytest.mark.parametrize(
    ("crawls", "is_published", "steps", "text"),
    [
        (["sample"], False, 10, "pretrained on the crawl sample"),
        (["a", "b"], True, 10, "a published base model, trained further on the crawls a, b"),
        (["sample"], True, 0, "a published base model as it is"),
    ],
)
def test_the_card_says_where_the_base_model_comes_from(crawls, is_published, steps, text):
    assert origin(crawls, is_published, steps) == text


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
    assert transcripts.group_by("model", maintain_order=True).len().rows() == [
        (model, 3) for model in ("base", "sft", "rl", "rlhf")
    ]
    assert transcripts.filter(pl.col("kind") == "open")["text"].to_list()[-1] == "rlhf answers 1."
    assert transcripts.filter(pl.col("kind") == "known")["expected"].unique().to_list() == ["Ann"]
    costs = {row["key"]: row for row in pl.read_parquet(artifact.table("costs")).to_dicts()}
    assert costs["base_checkpoint"]["cpu_seconds"] >= 20 and "clean_corpus/sample" in costs
    figures = pl.read_parquet(artifact.table("evaluation"))
    written = [frame for (stage, table), frame in TABLES.items() if stage in page.EVALUATIONS and table == "evaluation"]
    assert len(figures) == sum(map(len, written))
    path.unlink()
    assert build(space, "scorecard").cached and path.read_text() == text
    assert "| stage | seconds |" in SCORECARD.show(artifact)["summary"]


def test_without_rankings_the_last_trained_model_is_exported(unranked_space):
    outcome = build(unranked_space, "model_export")
    checked = examine(MODEL_EXPORT.checks[1], outcome.resolution, unranked_space.recipe, unranked_space.store)
    assert checked.outcome.passed, checked.outcome.summary
    text = outcome.artifact.view(CARD).read_text()
    assert "this one is `rl`" in text and "RLHF" not in text and "Open prompts" not in text
    checkpoint = unranked_space.resolver().artifact("rl_checkpoint", None)
    assert card_of(checkpoint.path, unranked_space.store) == outcome.artifact.view(CARD)
    assert "rlhf_checkpoint" not in outcome.artifact.record.fields["inputs"]


def test_without_rankings_the_scorecard_shows_the_models_that_there_are(unranked_space):
    artifact = build(unranked_space, "scorecard").artifact
    text = artifact.view(page.REPORT).read_text()
    assert 'class="n released">rl<' in text and 'id="rlhf"' not in text and 'href="#rlhf"' not in text
    assert pl.read_parquet(artifact.table("transcripts"))["model"].unique().sort().to_list() == ["base", "rl", "sft"]


class Tables(HTMLParser):
    """The tables of a page: whether each is in a box that scrolls by itself; and the cells of matrices."""

    def __init__(self, text):
        super().__init__()
        self.open, self.in_boxes, self.cells = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "table":
            self.in_boxes.append(any("scroll" in classes for _, classes in self.open))
        if tag == "td" and ("table", "matrix") in self.open:
            self.cells.append(values.get("data-label"))
        if tag in ("div", "table"):
            self.open.append((tag, values.get("class") or ""))

    def handle_endtag(self, tag):
        if tag in ("div", "table"):
            self.open.pop()


def test_on_a_phone_the_tables_scroll_by_themselves_or_become_cards(space):
    text = build(space, "scorecard").artifact.view(page.REPORT).read_text()
    tables = Tables(text)
    assert tables.in_boxes and all(tables.in_boxes), "a table without a box of its own makes the page scroll sideways"
    assert {"sft", "rl", "rlhf", "best baseline", "n"} <= set(tables.cells) and None not in tables.cells
    [cards] = re.findall(r"@media \(max-width: \w+\) \{(.*?)\n\}", text, re.DOTALL)
    assert ".matrix td { display: block; }" in cards and "content: attr(data-label)" in cards
    assert "width=device-width" in text and "prefers-color-scheme: dark" in text


def test_the_released_model_and_the_best_baselines_stand_out(space):
    text = build(space, "scorecard").artifact.view(page.REPORT).read_text()
    assert 'class="n released">rlhf' in text and 'class="n released">sft' not in text
    assert "majority by relation" in text and "best constant answer" in text
    assert text.count("above the best baseline") >= 3  # known facts by three models; not sums, whose interval overlaps


def test_no_recipe_name_is_in_an_identity(space):
    other = Workspace(space.recipe.replace(name="another"), space.store, space.graph, space.engine)
    for name in ("model_export", "scorecard"):
        build(space, name)
        resolution = other.resolver().resolve(name, None)
        assert resolution.artifact is not None and NAME not in json.dumps(resolution.identity.fields())
    changed = space.recipe.replace(model_export=ModelExport(gguf=None))
    resolver = Workspace(changed, space.store, space.graph, space.engine).resolver()
    assert resolver.resolve("model_export", None).artifact is None
