"""Config is identity: it depends on every field of every stage's config, except those marked EXECUTION_ONLY."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from llm_assets.artifacts.identity import ExecutionOnly, fingerprint
from llm_assets.graph import GRAPH
from llm_assets.recipes import (
    BenchmarkFile,
    Benchmarks,
    BenchmarkTask,
    CommonCrawl,
    CommonCrawlIndex,
    ConversationFile,
    Dpo,
    Endpoint,
    Lora,
    PublishedEncoding,
    PublishedModel,
    QuestionFile,
    RankingFile,
    RolloutServer,
    SampleWeb,
    SimulatedLabeller,
    WarcFiles,
    WebCrawl,
    laptop,
)

CRAWLS = {
    "sample": SampleWeb(),
    "web": WebCrawl(seeds=("http://a.example/",)),
    "cc": CommonCrawl(snapshot="CC-MAIN-2026-43"),
    "index": CommonCrawlIndex(snapshot="CC-MAIN-2026-43", domains=("example.org",)),
    "files": WarcFiles(path="/missing"),
}


def complete() -> Any:
    """A recipe in which every optional section is set."""
    recipe = laptop()
    published = PublishedEncoding(name="gpt2", ranks="/missing/ranks")
    conversations = ConversationFile(path="/missing/own.jsonl", name="own", max_rows=10)
    questions = ConversationFile(path="/missing/questions.jsonl", name="questions", max_rows=10)
    lora = Lora(targets=("q_proj",))
    faq = QuestionFile(path="/missing/faq.jsonl", name="faq", tools=("search",))
    endpoint = Endpoint(model="m", url="http://endpoint.example")
    server = RolloutServer(folder="/missing/policy")
    return recipe.replace(
        crawls=CRAWLS,
        search_only_hosts=("held-out.example",),
        quality_classifier=recipe.quality_classifier.replace(examples="/missing/examples.jsonl"),
        quality=recipe.quality.replace(min_quality_score=0.5),
        tokenizer=recipe.tokenizer.replace(encoding=published, compare=(published,)),
        pretraining=recipe.pretraining.replace(start=PublishedModel(path="/missing/model", context=64)),
        knowledge_boundary=recipe.knowledge_boundary.replace(endpoint=endpoint),
        conversations=recipe.conversations.replace(files=(conversations,), evaluation_files=(questions,)),
        sft_evaluation=recipe.sft_evaluation.replace(files=(faq,), judge=endpoint),
        practice_problems=recipe.practice_problems.replace(word_problems=conversations),
        response_pairs=recipe.response_pairs.replace(files=(conversations,)),
        human_rankings=recipe.human_rankings.replace(
            files=(RankingFile(path="/missing/rankings.jsonl", name="own"),), simulated=SimulatedLabeller()
        ),
        finetuning=recipe.finetuning.replace(lora=lora, cut_long_conversations=True),
        reinforcement=recipe.reinforcement.replace(lora=lora, server=server),
        rlhf=recipe.rlhf.replace(lora=lora, server=server),
        dpo=Dpo(lora=lora),
        benchmarks=Benchmarks(
            files=(
                BenchmarkFile(name="own", path="/missing/arc.jsonl", format="arc", shots=2, examples="/missing/more"),
            ),
            tasks=(BenchmarkTask(name="hellaswag", shots=3),),
            models=("sft",),
            limit=10,
            max_tokens=16,
        ),
    )


RECIPE = complete()


def changed(value: Any) -> Any:
    """Another value that has stable bytes."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str):
        return f"{value}x"
    if isinstance(value, dict):
        return {**value, "another": 1}
    if isinstance(value, (tuple, list)):
        return (*value, "another")
    return "another"


def variants(config: BaseModel, path: str = "", free: bool = False) -> Iterator[tuple[str, bool, BaseModel]]:
    """(path, whether it is execution-only, copy with that field changed) of every field, also of nested ones."""
    for name, info in type(config).model_fields.items():
        value = getattr(config, name)
        place = f"{path}.{name}".lstrip(".")
        execution_only = free or any(isinstance(mark, ExecutionOnly) for mark in info.metadata)
        yield place, execution_only, config.model_copy(update={name: changed(value)})
        for deeper, exempt, copy in nested(value, place, execution_only):
            yield deeper, exempt, config.model_copy(update={name: copy})


def nested(value: Any, place: str, free: bool) -> Iterator[tuple[str, bool, Any]]:
    """The variants of a value that is a model, or a tuple, list or dict of models."""
    if isinstance(value, BaseModel):
        yield from variants(value, place, free)
    elif isinstance(value, dict):
        for key, item in value.items():
            for deeper, exempt, copy in nested(item, f"{place}[{key}]", free):
                yield deeper, exempt, {**value, key: copy}
    elif isinstance(value, (tuple, list)):
        for i, item in enumerate(value):
            for deeper, exempt, copy in nested(item, f"{place}[{i}]", free):
                yield deeper, exempt, (*value[:i], copy, *value[i + 1 :])


def models_in(annotation: Any) -> set[type[BaseModel]]:
    """The models that a field of this type may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return set().union(*(models_in(part) for part in get_args(annotation)))


def absent(config: BaseModel, path: str) -> Iterator[str]:
    """Fields, also nested ones, that may hold models and hold none."""
    for name, info in type(config).model_fields.items():
        value, place = getattr(config, name), f"{path}.{name}"
        if models_in(info.annotation) and not value:
            yield place
        items = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else (value,)
        for item in items:
            if isinstance(item, BaseModel):
                yield from absent(item, place)


def cases() -> list[tuple[str, str]]:
    return [(stage.name, crawl) for stage in GRAPH for crawl in (CRAWLS if stage.name == "raw_warc" else ["sample"])]


def config_of(name: str, crawl: str, recipe: Any = RECIPE) -> BaseModel:
    stage = GRAPH[name]
    return stage.config(recipe, crawl if stage.per_crawl else None)


@pytest.mark.parametrize(("name", "crawl"), cases())
def test_identity_depends_on_every_field_that_is_not_execution_only(name, crawl):
    config = config_of(name, crawl)
    assert type(config).model_config.get("frozen") and type(config).model_config.get("extra") == "forbid"
    for place, execution_only, copy in variants(config):
        assert (fingerprint(copy) == fingerprint(config)) == execution_only, f"{name}: {place}"


@pytest.mark.parametrize("name", [stage.name for stage in GRAPH])
def test_no_config_depends_on_the_name_of_the_recipe(name):
    assert config_of(name, "sample") == config_of(name, "sample", RECIPE.replace(name="another"))


def test_some_fields_are_execution_only_and_most_are_not():
    """Otherwise the property above would hold trivially."""
    kinds = [execution_only for name, crawl in cases() for _, execution_only, _ in variants(config_of(name, crawl))]
    assert 20 < sum(kinds) < len(kinds) / 2


@pytest.mark.parametrize(("name", "crawl"), cases())
def test_the_recipe_sets_every_optional_section(name, crawl):
    """The fields of a section that is None, or in an empty tuple, would not be tested above."""
    assert list(absent(config_of(name, crawl), name)) == []


def test_fields_of_optional_sections_and_of_tuples_are_tested():
    places = {name: {place for place, _, _ in variants(config_of(name, "sample"))} for name in GRAPH.stages}
    assert {"sources[0].name", "sources[0].path"} <= places["url_blocklists"]
    assert {"rules[0].threshold", "rules[0].source"} <= places["quality_filtered_text"]
    assert {"compare[0].name", "compare[0].ranks", "encoding.name"} <= places["tokenizer"]
    assert {"endpoint.model", "endpoint.key_variable"} <= places["knowledge_boundary"]
    assert {"conversations.evaluation_files[0].max_rows", "question_files.files[0].grading"} <= places["conversations"]
    assert {"files[0].path", "simulated.noise"} <= places["human_rankings"]
