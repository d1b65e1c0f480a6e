"""`response_pairs`: several answers of the policy to each open prompt, and pairs of them to rank."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import polars as pl

from llm_assets.artifacts import Artifact, Stage, Step
from llm_assets.artifacts.external import files_version
from llm_assets.artifacts.tables import scan_table
from llm_assets.corpus_pages import TRAINING_PAGES
from llm_assets.evaluation.evaluation_run import measure
from llm_assets.recipes.preference import ResponsePairs
from llm_assets.settings import load_settings

from .jobs import SamplingJob
from .open_prompts import FICTITIOUS, PreferenceError, PromptSelection, ResponsePairsConfig, select_prompts
from .policy import POLICY, SUBSTITUTES, policy_of
from .schemas import Pairs, PromptRejects, Prompts, Responses

MODULE = "llm_assets.preference.response_pairs_process"


def pair_digest(question: str, first: str, second: str) -> str:
    """The identifier of a pair: 16 hexadecimal digits that depend only on its texts."""
    return hashlib.sha256(json.dumps([question, first, second], ensure_ascii=False).encode()).hexdigest()[:16]


def to_prompt_rows(selection: PromptSelection) -> list[dict[str, Any]]:
    """Rows of the table Prompts."""
    prompts = [(prompt, split) for split, of_split in selection.by_split.items() for prompt in of_split]
    return [
        {
            "prompt": number,
            "split": split,
            "question": prompt.question,
            "subject": prompt.subject,
            "subject_exists": prompt.source != FICTITIOUS,
            "source": prompt.source,
        }
        for number, (prompt, split) in enumerate(prompts)
    ]


def sample_responses(
    step: Step, settings: ResponsePairs, prompts: Sequence[Mapping[str, Any]]
) -> list[list[dict[str, Any]]]:
    """The policy's answers to each prompt, sampled in a separate process."""
    job = SamplingJob(
        checkpoint=str(policy_of(step.inputs).path),
        questions=tuple(prompt["question"] for prompt in prompts),
        samples=settings.samples,
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        device=settings.device,
        seed=settings.seed,
    )
    return list(measure(step, MODULE, job, step.staging / "sampling")["answers"])


def pairs_of(prompt: Mapping[str, Any], texts: Sequence[str], limit: int, rng: random.Random) -> list[dict[str, Any]]:
    """At most `limit` pairs of different answers to a prompt (schema Pairs), each pair in random order."""
    pairs = []
    candidates = list(combinations(dict.fromkeys(text for text in texts if text.strip()), 2))
    for first, second in rng.sample(candidates, min(limit, len(candidates))):
        if rng.random() >= 0.5:
            first, second = second, first
        pairs.append(
            {
                "pair": pair_digest(prompt["question"], first, second),
                "prompt": prompt["prompt"],
                **{name: prompt[name] for name in ("question", "subject", "subject_exists")},
                "first": first,
                "second": second,
            }
        )
    return pairs


def build_response_pairs(step: Step, config: ResponsePairsConfig) -> None:
    """One task; a separate process samples the answers. Raises PreferenceError if no pair can be formed.

    Answers to the prompts of every split are compared: reward models learn from those of one, and are measured on those
    of the others.
    """
    settings = config.pairs
    selection = select_prompts(step.inputs, config, random.Random(f"open prompts-{settings.seed}"))
    prompts = to_prompt_rows(selection)
    responses: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    for prompt, answers in zip(prompts, sample_responses(step, settings, prompts), strict=True):
        responses += [
            {"prompt": prompt["prompt"], "response": number, **answer} for number, answer in enumerate(answers)
        ]
        rng = random.Random(f"pairs-{settings.seed}-{prompt['question']}")
        pairs += pairs_of(prompt, [answer["text"] for answer in answers], settings.pairs, rng)
    if not pairs:
        raise PreferenceError(
            "response_pairs: for every prompt all sampled answers are the same; raise temperature, samples or prompts"
        )
    with step.task("pairs") as task:
        task.table("prompts", Prompts).frame(pl.DataFrame(prompts))
        task.table("responses", Responses).frame(pl.DataFrame(responses))
        task.table("pairs", Pairs).frame(pl.DataFrame(pairs))
        if selection.rejects:
            task.table("rejects", PromptRejects).frame(pl.DataFrame(selection.rejects))
        task.stats.update(
            prompts=dict(sorted(Counter(prompt["split"] for prompt in prompts).items())),
            fictitious=sum(not prompt["subject_exists"] for prompt in prompts),
            responses=len(responses),
            pairs=len(pairs),
            unfinished=sum(not response["finished"] for response in responses),
            rejects=len(selection.rejects),
        )


def show(artifact: Artifact, shown: int = 5) -> dict[str, str]:
    """A few pairs in Markdown."""
    frame = scan_table(artifact.table("pairs")).head(shown).collect()
    texts = [f"**{row['question']}**\n\n1. {row['first']}\n2. {row['second']}" for row in frame.iter_rows(named=True)]
    return {"summary": "\n\n".join(texts)}


def _external_inputs(config: ResponsePairsConfig) -> Mapping[str, str]:
    paths = {file.name: Path(file.path).expanduser() for file in config.pairs.files}
    return files_version(paths, load_settings().digest_cache, PreferenceError, "response_pairs.files")


def only_to_be_ranked(recipe: Any) -> bool:
    """Whether no training of the recipe reads the pairs: DPO on the rankings of files needs no answers but theirs."""
    return recipe.preference_tuning == "dpo" and recipe.human_rankings.simulated is None


RESPONSE_PAIRS = Stage(
    name="response_pairs",
    group="preference",
    description="Several answers of the policy to each open prompt, and pairs of them to rank (llm-assets rank).",
    kinds=("pytorch", "parquet"),
    build=build_response_pairs,
    config=lambda recipe, crawl: ResponsePairsConfig(pairs=recipe.response_pairs, pages=recipe.training_pages()),
    code_version="5",
    inputs=(POLICY, "knowledge_boundary", "clean_corpus", TRAINING_PAGES),
    optional_inputs=("clean_corpus", TRAINING_PAGES),
    substitutes=SUBSTITUTES,
    external_inputs=_external_inputs,
    crawls=lambda recipe: recipe.trained_crawls(),
    tables={"prompts": Prompts, "responses": Responses, "pairs": Pairs},
    optional_tables={"rejects": PromptRejects},
    main_table="pairs",
    show=show,
    libraries=("torch", "numpy", "polars"),
    pool="gpu",
    on_demand=only_to_be_ranked,
)
