"""`chat`: the recipe of an assistant that starts from a published model and is tuned on the user's own files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from .finetuning import (
    ConversationFile,
    Conversations,
    Finetuning,
    KnowledgeBoundary,
    QuestionFile,
    SftEvaluation,
    file_name,
)
from .lora import Lora
from .preference import Dpo, HumanRankings, RankingFile, RewardTraining, Rlhf
from .pretraining import Pretraining, PublishedModel
from .recipe import Recipe
from .reinforcement import Reinforcement
from .sources import Source

CONTEXT = 2048  # tokens of a sequence; published models allow far more than fits into a training step
# Tokens of a step. In fine-tuning they are about 40 conversations (those of Alpaca with GPT-4's answers have 200 tokens
# on average), so that a file of some hundred is more than a few steps.
BATCH_TOKENS, PRETRAINING_BATCH_TOKENS = 1 << 13, 1 << 15
# Plateau learning rate, and what SFT and DPO take of it, with all weights and with adapters.
RATE, ADAPTER_FACTOR, DPO_SHARE = 2e-5, 10.0, 1 / 40
POLICY_SHARE = 1 / 20  # what RL and RLHF take of it: 1e-6, the default of TRL's GRPOTrainer
GENERATED = 500  # conversations besides those of files
WEIGHTS: dict[Any, float] = {
    "known": 30,
    "unknown": 5,
    "fictitious": 15,
    "open": 6,
    "two_hops": 2,
    "reading": 25,
    "calculation": 6,
    "guidelines": 6,
    "general": 6,
}

File = TypeVar("File", ConversationFile, RankingFile, QuestionFile)


def chat(
    model: str | PublishedModel,
    conversations: Sequence[str | ConversationFile] = (),
    preferences: Sequence[str | RankingFile] = (),
    crawls: Mapping[str, Source] | None = None,
    questions: Sequence[str | QuestionFile] = (),
    lora: Lora | None = None,
) -> Recipe:
    """An assistant from a published model: fine-tuned on conversations (SFT), tuned to preferences (DPO), exported.

    model: its folder, or a PublishedModel with another context than 2,048 tokens. conversations, preferences,
    questions: files, by path or with settings, in the layouts that docs/how-to describes; the questions are asked
    before and after. crawls: sources by name, of which the assistant is also taught what it knows and does not know,
    and which it can search; the model is trained on them only if `pretraining.tokens` says so. lora: adapters that SFT
    and DPO train in place of all weights, for a model that fits into the memory, but not its gradients.

    Nothing waits for a person. Without preferences there is no DPO, without crawls nothing that reads them. RL on sums
    and letters is left out; `leave_out=()` brings it back, `with_word_problems` RL on problems of a file, and
    `preference_tuning="rlhf"` takes a reward model in place of DPO.

    The rates are those of Zephyr in the alignment handbook (recipes/zephyr-7b-beta): AdamW with 2e-5 in SFT and 5e-7 in
    DPO, with LoRA of rank 16 ten times as much (2e-4 and 5e-6), a tenth of the steps to warm up, then down to zero.
    Three epochs are Stanford Alpaca's, for small files.
    """
    start = model if isinstance(model, PublishedModel) else PublishedModel(path=str(model), context=CONTEXT)
    factor = ADAPTER_FACTOR if lora is not None else 1.0
    schedule: dict[str, Any] = {"warmup": 0.1, "cooldown": 0.9}
    policy = {"learning_rate_scale": POLICY_SHARE * factor, "lora": lora}
    return Recipe(
        name="chat",
        crawls=dict(crawls or {}),
        pretraining=Pretraining(
            start=start, muon=False, learning_rate=RATE, batch_tokens=PRETRAINING_BATCH_TOKENS, **schedule
        ),
        knowledge_boundary=KnowledgeBoundary(topics=1_000),
        conversations=Conversations(
            count=GENERATED,
            weights=dict(WEIGHTS),
            files=_files(ConversationFile, conversations),
        ),
        finetuning=Finetuning(
            epochs=3,
            cut_long_conversations=True,
            batch_tokens=BATCH_TOKENS,
            document_share=0.1,
            learning_rate_scale=factor,
            lora=lora,
            **schedule,
        ),
        sft_evaluation=SftEvaluation(questions=100, max_tokens=128, files=_files(QuestionFile, questions) or None),
        reinforcement=Reinforcement(**policy),
        human_rankings=HumanRankings(files=_files(RankingFile, preferences), gold=0.01),
        reward_training=RewardTraining(learning_rate_scale=0.5),
        rlhf=Rlhf(**policy),
        dpo=Dpo(learning_rate_scale=DPO_SHARE * factor, lora=lora, **schedule),
        preference_tuning="dpo",
        leave_out=("practice_problems",),
    )


def _files(kind: type[File], files: Sequence[str | File]) -> tuple[File, ...]:
    """Files with their settings; one that is given by its path is named as the file is, without its endings."""
    return tuple(
        kind(path=str(file), name=file_name(file)) if isinstance(file, (str, Path)) else file for file in files
    )
