"""The fine-tuning stages downstream of a corpus, a tokenizer and a base model that are written, not built."""

import hashlib
import random
from dataclasses import replace

import polars as pl

from llm_assets import recipes
from llm_assets.artifacts import Graph, Stage, Store, Workspace, materialize
from llm_assets.artifacts.checks import examine
from llm_assets.compute import LocalEngine
from llm_assets.finetuning.stages import STAGES
from llm_assets.model.checkpoint import save_model
from llm_assets.model.shape import ModelShape
from llm_assets.model.transformer import Transformer
from llm_assets.sample_web import prose
from llm_assets.sample_web.truth import truth_questions
from tests.support.stand_ins import ALL_CURRENT
from tests.support.training_jobs import ENCODING, PEOPLE, TEXTS, shard_index, write_corpus

ARCHIVE = "quietarchive.example"  # the host that only the search tool knows
ARCHIVE_WORD = "quillpens"  # a word that only its pages contain
SHAPE = ModelShape.of_depth(1, 500, 160, width=32)
PAGES = 60  # every sixth is of the archive, about people that no other page mentions


def corpus_frame():
    """Pages about people; those of the archive, in between, are newer."""
    rows = []
    for number in range(PAGES):
        held_out = number % 6 == 5
        person = PEOPLE[36 + number % 4 if held_out else number % 36]
        host = ARCHIVE if held_out else f"site{number % 3}.example"
        text = prose.portrait(random.Random(f"page-{number}"), person, 4)
        rows.append(
            {
                "doc_id": hashlib.sha256(str(number).encode()).hexdigest()[:24],
                "url": f"http://{host}/{number}.html",
                "host": host,
                "warc_file": str(number * 2 // PAGES),
                "warc_offset": number,
                "fetched_at": "2026-12-24T00:00:00Z" if held_out else "2026-10-05T00:00:00Z",
                "text": f"{text}\nMany {ARCHIVE_WORD} were kept." if held_out else text,
            }
        )
    return pl.DataFrame(rows)


def facts_frame():
    rows = [
        {
            "entity": person.name,
            "entity_kind": "person",
            "relation": relation,
            "value": value,
            "reach": "held_out" if number >= 36 else "many",
        }
        for number, person in enumerate(PEOPLE[:40])
        for relation, value in sorted(person.facts.items())
        if relation in ("birthplace", "profession", "instrument")
    ]
    return pl.DataFrame(rows)


def _write(task, step, relative, frame):
    path = step.staging / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)
    task.add_file(relative)


def build_raw_warc(step, config):
    with step.task("truth") as task:
        _write(task, step, "truth_questions/truth.parquet", truth_questions(facts_frame()))


def build_clean_corpus(step, config):
    frame = corpus_frame()
    with step.task("text") as task:
        for file in range(2):
            _write(task, step, f"text/{file}.parquet", frame[file * PAGES // 2 : (file + 1) * PAGES // 2])


def build_tokenizer(step, config):
    with step.task("tokenizer") as task:
        ENCODING.save(step.staging)
        for name in ("tokenizer.tiktoken", "encoding.json"):
            task.add_file(name)


def build_token_shards(step, config):
    with step.task("shards") as task:
        write_corpus(step.staging / "work", TEXTS[:60])
        for path in sorted((step.staging / "work" / "shards").iterdir()):
            path.rename(step.staging / path.name)
            task.add_file(path.name)
        frame = pl.DataFrame(shard_index(TEXTS[:60])).with_columns(
            warc_file=(pl.col("warc_offset") * 2 // PAGES).cast(pl.String)
        )
        _write(task, step, "documents/shards.parquet", frame)


def build_base_checkpoint(step, config):
    model = Transformer(SHAPE)
    model.initialise(1)
    with step.task("checkpoint") as task:
        save_model(model, step.staging)
        ENCODING.save(step.staging)
        for name in ("model.safetensors", "shape.json", "tokenizer.tiktoken", "encoding.json"):
            task.add_file(name)


def _written(name, build, per_crawl=False):
    return Stage(name=name, group="test", description="", build=build, code_version="1", per_crawl=per_crawl)


GRAPH = Graph(
    [
        _written("raw_warc", build_raw_warc, per_crawl=True),
        _written("clean_corpus", build_clean_corpus, per_crawl=True),
        ALL_CURRENT,
        replace(ALL_CURRENT, name="page_versions"),
        _written("tokenizer", build_tokenizer),
        _written("token_shards", build_token_shards, per_crawl=True),
        _written("base_checkpoint", build_base_checkpoint),
        *STAGES,
    ]
)


def recipe(**changes):
    fields = {
        "name": "small",
        "crawls": {"sample": recipes.SampleWeb(scale=0.08)},
        "search_only_hosts": (ARCHIVE,),
        "compare_with_ablation": True,
        "pretraining": recipes.Pretraining(batch_tokens=1280),
        # An untrained model knows nothing: topics that it never answers correctly are "unknown", all others "known".
        "knowledge_boundary": recipes.KnowledgeBoundary(
            topics=120, wordings=1, samples=2, max_tokens=8, fictitious_names=40, known=0.01, device="cpu"
        ),
        "conversations": recipes.Conversations(count=120),
        "finetuning": recipes.Finetuning(
            epochs=0.2, ablation_epochs=0.1, validation_runs=1, compute=recipes.Compute(device="cpu")
        ),
        "sft_evaluation": recipes.SftEvaluation(questions=3, max_tokens=8, device="cpu"),
    }
    return recipes.Recipe(**{**fields, **changes})


def build(folder, recipe, last="sft_evaluation"):
    """Build all assets up to `last` in the store `folder`; their outcomes by name."""
    workspace = Workspace(recipe, Store(folder), GRAPH, LocalEngine(1))
    outcomes = {}
    for stage in GRAPH:
        outcomes[stage.name] = materialize(stage, "sample" if stage.per_crawl else None, workspace)
        if stage.name == last:
            break
    return outcomes


def checked(outcome, recipe, folder):
    """The outcomes of an asset's checks, by name."""
    checks = outcome.resolution.stage.checks
    return {check.name: examine(check, outcome.resolution, recipe, Store(folder)).outcome for check in checks}
