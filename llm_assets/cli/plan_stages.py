"""The second table of ``llm-assets plan``: what each training run after the base model's takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_assets.artifacts import Workspace
from llm_assets.artifacts.tables import read_table
from llm_assets.compute.engine import cores
from llm_assets.dialogue.conversation_files import read_conversations
from llm_assets.dialogue.messages import from_json
from llm_assets.dialogue.splits import TRAIN, TRAIN_SHARE
from llm_assets.model.chat import Message
from llm_assets.model.devices import CPU_FLOPS_PER_CORE, PLANNED_MFU, find_device
from llm_assets.model.shape import ModelShape
from llm_assets.preference.preference_files import read_rankings
from llm_assets.recipes import ConversationFile, Dpo, Pretraining, Recipe
from llm_assets.recipes.reinforcement import PolicyTuning

COLUMNS = ("training", "reads", "tokens", "steps", "FLOPs", "time", "cost")
BYTES_PER_TOKEN = 4.0  # of English text, in the vocabularies of published models; a tokenizer that is built has its own
MESSAGE_TOKENS = 2  # special tokens around a message
GENERATED_TOKENS = 70  # of a generated conversation, mean of the laptop recipe's
# Share of the memory's bandwidth that sampling reaches: 18 to 22 % on an H100 (docs/experiments/gpu.md).
SAMPLING_SHARE = 0.2
HALF_BYTES = 2  # of a weight or a cached number in bf16


@dataclass(frozen=True)
class MachineSpeed:
    """Devices that train together. Rates are per second, of all of them. bandwidth: of the memory; 0 on a CPU."""

    flops: float
    bandwidth: float
    price: float | None

    @classmethod
    def named(cls, device: str, processes: int) -> MachineSpeed:
        """The devices of this name; a name that is not listed is the CPU."""
        known = find_device(device)
        if known is None:
            return cls(CPU_FLOPS_PER_CORE * cores(), 0.0, None)
        return cls(PLANNED_MFU * known.peak * processes, known.bandwidth * processes, known.price * processes)


@dataclass(frozen=True)
class StagePlan:
    """What a training run takes. data: what it reads, in words. parts: seconds, by what they are spent on."""

    stage: str
    data: str
    tokens: float
    steps: int
    flops: float
    parts: dict[str, float]

    @property
    def seconds(self) -> float:
        return sum(self.parts.values())


@dataclass(frozen=True)
class Forecast:
    """Computes the plans of a recipe's training stages. shape: of the model."""

    workspace: Workspace
    shape: ModelShape
    machine: MachineSpeed

    @property
    def recipe(self) -> Recipe:
        return self.workspace.recipe  # type: ignore[no-any-return]

    def plans(self) -> Iterator[StagePlan]:
        """A plan for each training run after the base model's that the recipe's default run builds, upstream first."""
        graph = self.workspace.graph
        absent = graph.left_out(self.recipe).keys() | graph.on_demand(self.recipe)
        forecasts: dict[str, Callable[[], StagePlan]] = {
            "sft_checkpoint": lambda: self.fine_tuning("sft_checkpoint", self.recipe.finetuning.epochs),
            "ablation_checkpoint": lambda: self.fine_tuning(
                "ablation_checkpoint", self.recipe.finetuning.ablation_epochs or self.recipe.finetuning.epochs
            ),
            "rl_checkpoint": lambda: self.policy("rl_checkpoint", self.recipe.reinforcement),
            "reward_checkpoint": lambda: self.pairs("reward_checkpoint"),
            "rlhf_checkpoint": lambda: self.policy("rlhf_checkpoint", self.recipe.rlhf),
            "dpo_checkpoint": lambda: self.pairs("dpo_checkpoint"),
        }
        for name, forecast in forecasts.items():
            if name not in absent:
                yield forecast()

    def flops(self, tokens: float, lora: object | None, forward_passes: float = 0.0) -> float:
        """FLOPs of training on tokens: forward, and backward to activations and weights, a third each.

        Adapters need no gradients of the weights. forward_passes: how often the tokens are read besides, by a model
        that is not trained.
        """
        forward = self.shape.flops_per_token / 3 * tokens
        return forward * ((3 if lora is None else 2) + forward_passes)

    def fine_tuning(self, stage: str, epochs: float) -> StagePlan:
        """SFT: every conversation `epochs` times, packed into whole sequences, and a share of documents."""
        settings = self.recipe.finetuning
        count, conversation_tokens = self.conversations()
        document_share = settings.document_share if self.recipe.reads_crawls() else 0.0
        tokens = epochs * conversation_tokens / (1 - document_share)
        batch_tokens = settings.batch_tokens or self.recipe.pretraining.batch_tokens
        _, sequences = Pretraining(batch_tokens=batch_tokens).budget(self.shape)
        steps = max(1, round(tokens / (sequences * self.shape.context)))
        flops = self.flops(steps * sequences * self.shape.context, settings.lora)
        return StagePlan(
            stage,
            f"{count:,} conversations",
            tokens,
            steps,
            flops,
            {"": flops / self.machine.flops},
        )

    def pairs(self, stage: str) -> StagePlan:
        """The reward model or DPO: both answers of each ranking; for DPO the reference reads them once too."""
        is_dpo = stage == "dpo_checkpoint"
        settings = (self.recipe.dpo or Dpo()) if is_dpo else self.recipe.reward_training
        lora = settings.lora if isinstance(settings, Dpo) else None
        count, pair_tokens = self.rankings()
        tokens = settings.epochs * pair_tokens
        flops = self.flops(tokens, lora, 1 / settings.epochs if is_dpo else 0.0)
        return StagePlan(
            stage,
            f"{count:,} rankings",
            tokens,
            max(1, round(settings.epochs * count / settings.pairs)),
            flops,
            {"": flops / self.machine.flops},
        )

    def policy(self, stage: str, settings: PolicyTuning) -> StagePlan:
        """RL or RLHF, if every answer is as long as it may be: rollouts, and the updates from them.

        In the update, the policy as it was and the reference read the answers too. Rewards of a reward model and
        evaluations are not counted.
        """
        answers = settings.prompts * settings.samples
        tokens = float(settings.steps * answers * settings.max_tokens)
        update = settings.updates * self.flops(tokens, settings.lora) + 2 * self.flops(tokens, None) / 3
        rollout = self.flops(tokens, None) / 3
        seconds = rollout / self.machine.flops
        if self.machine.bandwidth:
            # Each pass reads the weights once for all sequences, and the cache of each, which is half full on average.
            cache = answers * self.shape.cache_bytes(settings.max_tokens) / 2
            passes = settings.steps * settings.max_tokens
            read = passes * (HALF_BYTES * self.shape.parameters + cache)
            seconds = max(seconds, read / (SAMPLING_SHARE * self.machine.bandwidth))
        return StagePlan(
            stage,
            f"{settings.steps * answers:,} answers ({settings.max_tokens} tokens)",
            tokens,
            settings.steps,
            update + rollout,
            {"rollouts": seconds, "updates": update / self.machine.flops},
        )

    def conversations(self) -> tuple[int, float]:
        """The number of conversations and their tokens: those of the artifact, or else an estimate from the files."""
        artifact = self.workspace.resolver().resolve("conversations", None).artifact
        if artifact is not None:
            rows = read_table(artifact.table("conversations"))["messages"]
            return len(rows), sum(self.tokens_of(from_json(messages)) for messages in rows)
        settings = self.recipe.conversations
        count, tokens, shares = settings.count, float(settings.count * GENERATED_TOKENS), 0.0
        for file in settings.files:
            number, of_file = self.file_tokens(file)
            if file.share is not None:  # of what the others amount to
                shares += file.share
                continue
            repeat = file.repeat or 1.0
            count, tokens = count + round(repeat * number), tokens + repeat * of_file
        return round(count / (1 - shares)), tokens / (1 - shares)

    def file_tokens(self, file: ConversationFile) -> tuple[int, float]:
        """The conversations of a file that are used, and their tokens."""
        lengths = [self.tokens_of(row.messages) for row in read_conversations(Path(file.path).expanduser())]
        lengths = [length for length in lengths if length]
        used = min(len(lengths), file.max_rows or len(lengths))
        return used, sum(lengths) * used / max(len(lengths), 1)

    def rankings(self) -> tuple[int, float]:
        """The rankings that are trained on, and the tokens of both answers with their questions."""
        artifact = self.workspace.resolver().resolve("human_rankings", None).artifact
        settings = self.recipe.human_rankings
        if artifact is not None:
            table = read_table(artifact.table("rankings"))
            rows, share = table.filter(split=TRAIN).to_dicts(), 1.0
        else:
            rows = [
                row
                for file in settings.files
                for _, row in read_rankings(Path(file.path).expanduser(), file.name)
                if not isinstance(row, str)
            ]
            share = TRAIN_SHARE * (1 - settings.gold)
        rows = [row for row in rows if row["preferred"] != "tie"]
        texts = sum(len((2 * row["question"] + row["first"] + row["second"]).encode()) for row in rows)
        count = round(share * len(rows))
        if not rows and settings.simulated is not None:
            pairs = self.recipe.response_pairs
            count = round(pairs.prompts * pairs.pairs * settings.simulated.share * share)
            return count, float(2 * count * pairs.max_tokens)
        return count, share * texts / self.bytes_per_token() + count * 4 * MESSAGE_TOKENS

    def tokens_of(self, messages: list[Message] | tuple[Message, ...]) -> float:
        """About how many tokens a conversation has."""
        return sum(len(message.content.encode()) / self.bytes_per_token() + MESSAGE_TOKENS for message in messages)

    def bytes_per_token(self) -> float:
        """That of the tokenizer on the corpus, if it is built."""
        artifact = self.workspace.resolver().resolve("tokenizer", None).artifact
        measured = 0.0 if artifact is None else artifact.record.stats["bytes_per_token"]
        return measured or BYTES_PER_TOKEN


def stage_table(forecast: Forecast) -> Any:
    """The table, for rich; None if the recipe trains nothing after the base model."""
    from rich.table import Table

    plans, price = list(forecast.plans()), forecast.machine.price
    if not plans:
        return None
    table = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in ("training", "reads") else "right")
    for plan in plans:
        parts = [f"{duration(seconds)} {name}" for name, seconds in plan.parts.items() if name]
        cost = "" if price is None else f"${plan.seconds / 3600 * price:,.2f}"
        time = duration(plan.seconds) + (f" ({', '.join(parts)})" if parts else "")
        table.add_row(
            plan.stage, plan.data, f"{plan.tokens / 1e6:,.2f} M", f"{plan.steps:,}", f"{plan.flops:.2g}", time, cost
        )
    return table


def duration(seconds: float) -> str:
    """A time in the largest unit of which it has at least two."""
    for unit, size in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.0f} s"
