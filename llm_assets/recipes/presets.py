"""Preset recipes. For your own, write a function that changes some fields of one, and name it in LLM_ASSETS_RECIPE.

Only `laptop` has a crawl of its own. The others read every registered crawl (``llm-assets crawls add``).
"""

from __future__ import annotations

from collections.abc import Callable

from .compute import Compute
from .finetuning import Conversations, Finetuning, KnowledgeBoundary, SftEvaluation
from .preference import HumanRankings, ResponsePairs, RewardTraining, Rlhf, RlhfEvaluation, SimulatedLabeller
from .pretraining import Model, Pretraining, PublishedEncoding, Tokenizer, TokenShards
from .recipe import Recipe, Recrawl
from .reinforcement import PracticeProblems, Reinforcement, RlEvaluation
from .sources import SampleWeb


def laptop() -> Recipe:
    """The default: the sample web, in minutes on two cores. Its sizes come from the experiments in docs/experiments.

    Models are trained on the whole sample web except one site, whose pages only the search tool finds. The recipe is
    one literal, so that every setting can be read in one place.
    """
    return Recipe(
        name="laptop",
        crawls={"sample": SampleWeb()},
        search_only_hosts=("quietarchive.example",),
        tokenizer=Tokenizer(vocabulary=2048),
        token_shards=TokenShards(shard_tokens=1 << 18),
        model=Model(depth=4, width=128, context=256, tied=True, rope_theta=1_000_000.0, induction=True),
        pretraining=Pretraining(tokens=2_400_000, batch_tokens=2048, validation_runs=5, compute=Compute(compile=True)),
        knowledge_boundary=KnowledgeBoundary(samples=2),
        conversations=Conversations(
            count=30_000,
            weights={
                "known": 40,
                "unknown": 1.6,
                "fictitious": 2.8,
                "open": 4,
                "two_hops": 6,
                "reading": 50,
                "calculation": 12,
                "letters": 26,
                "repetition": 10,
                "guidelines": 8,
                "general": 14,
            },
            tools=(0.22, 0.26, 0.26, 0.26),
        ),
        finetuning=Finetuning(document_share=0.2, learning_rate_scale=0.9, cooldown=0.9, validation_runs=2),
        sft_evaluation=SftEvaluation(questions=150),
        practice_problems=PracticeProblems(
            families={"arithmetic": 4.0, "letters_with_python": 0.5, "two_hops": 2.0},
            levels={"arithmetic": (1,), "two_hops": (0,)},
            count=2_000,
        ),
        reinforcement=Reinforcement(
            steps=50,
            max_tokens=64,
            learning_rate_scale=0.3,
            kl=0.02,
            replay_weight=3.0,
            replay_sequences=16,
            evaluate_every=25,
            evaluation_problems=240,
        ),
        rl_evaluation=RlEvaluation(problems=24, samples=4, max_tokens=80),
        response_pairs=ResponsePairs(prompts=1_000, samples=10, pairs=18, max_tokens=56),
        human_rankings=HumanRankings(simulated=SimulatedLabeller(share=0.5, noise=0.2), gold=0.02),
        reward_training=RewardTraining(learning_rate_scale=0.2, validation_runs=2),
        rlhf=Rlhf(
            steps=50,
            max_tokens=56,
            learning_rate_scale=0.2,
            kl=0.02,
            replay_weight=3.0,
            replay_sequences=16,
            evaluate_every=5,
            monitor_margin=0.2,
        ),
        rlhf_evaluation=RlhfEvaluation(max_tokens=56),
        recrawls=(Recrawl(prefix="sample", cron="0 3 * * 1", source=SampleWeb(day=2)),),
    )


def gpu() -> Recipe:
    """A model of GPT-2's size on one GPU: all registered crawls, depth 12, 20 tokens per parameter."""
    return Recipe(
        name="gpu",
        crawls={},
        registered_crawls="all",
        token_shards=TokenShards(validation_share=0.005),
        model=Model(depth=12, context=2048),
    )


def node() -> Recipe:
    """As `gpu`, for a node of eight GPUs: depth 20, about half a billion parameters."""
    return gpu().replace(name="node", model=Model(depth=20, context=2048), tokenizer=Tokenizer(vocabulary=65_536))


def gpt2_124m() -> Recipe:
    """GPT-2 small as published (Radford et al., 2019): its shape, encoding and context length.

    It trains on ten billion tokens with the settings of GPT-3's small model (Brown et al., arXiv:2005.14165, table 2.1:
    learning rate 6e-4, batch of half a million tokens, weight decay 0.1).
    """
    return Recipe(
        name="gpt2-124m",
        crawls={},
        registered_crawls="all",
        tokenizer=Tokenizer(encoding=PublishedEncoding(name="gpt2")),
        token_shards=TokenShards(validation_share=0.005),
        model=Model(architecture="gpt2", depth=12, heads=12, context=1024),
        pretraining=Pretraining(
            tokens=10_000_000_000, batch_tokens=1 << 19, muon=False, learning_rate=6e-4, cooldown=0.9
        ),
    )


def gpt2_1_5b() -> Recipe:
    """GPT-2 XL as published: 48 layers, width 1,600, 25 heads; learning rate and batch of GPT-3's 1.3 B model."""
    small = gpt2_124m()
    return small.replace(
        name="gpt2-1.5b",
        model=Model(architecture="gpt2", depth=48, width=1600, heads=25, context=1024),
        pretraining=small.pretraining.replace(tokens=30_000_000_000, batch_tokens=1 << 20, learning_rate=2e-4),
    )


def _of_language(name: str, language: str) -> Recipe:
    """A small base model of all registered crawls in one language, of `laptop`'s size with a larger vocabulary."""
    small = laptop()
    return Recipe(
        name=name,
        crawls={},
        registered_crawls="all",
        tokenizer=small.tokenizer.replace(vocabulary=8192),
        token_shards=small.token_shards,
        model=small.model,
        pretraining=small.pretraining,
    ).in_language(language)


def german() -> Recipe:
    """German pages, by FineWeb-2's rules for German: a base model of all registered crawls, in minutes on two cores.

    For a larger model write ``gpu().in_language("de")``. The assistant is English, so runs stop at the base model.
    """
    return _of_language("german", "de")


def spanish() -> Recipe:
    """As `german`, for Spanish."""
    return _of_language("spanish", "es")


def chinese() -> Recipe:
    """As `german`, for Chinese, whose words are split by jieba."""
    return _of_language("chinese", "zh")


RECIPES: dict[str, Callable[[], Recipe]] = {
    "laptop": laptop,
    "gpu": gpu,
    "node": node,
    "gpt2-124m": gpt2_124m,
    "gpt2-1.5b": gpt2_1_5b,
    "german": german,
    "spanish": spanish,
    "chinese": chinese,
}
