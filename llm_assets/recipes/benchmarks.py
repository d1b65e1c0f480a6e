"""Standard benchmarks, asked through EleutherAI's lm-evaluation-harness."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from llm_assets.artifacts.identity import EXECUTION_ONLY

from .frozen import Frozen

BenchmarkFormat = Literal["arc", "mmlu", "hellaswag", "gsm8k"]
# The checkpoints that can be asked, as in `evaluation.figures.MODELS`.
BenchmarkedModel = Literal["base", "ablation", "sft", "rl", "dpo", "rlhf"]
BENCHMARK_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"
_SHOTS = "examples shown before each question; None is the harness's number for the task"


class BenchmarkFile(Frozen):
    """A benchmark as its authors publish it, in a local file. Prompts, metrics and filters are the harness's."""

    name: str = Field(pattern=BENCHMARK_NAME, description="of the task in tables")
    path: Annotated[str, EXECUTION_ONLY] = Field(
        description="JSONL (also .gz and .zst) or Parquet, in the columns of the dataset on the hub. The file's "
        "content is part of the identity"
    )
    format: BenchmarkFormat = Field(
        description="arc: question, choices (text and label), answerKey (allenai/ai2_arc); mmlu: question, subject, "
        "choices, answer (cais/mmlu); hellaswag: activity_label, ctx_a, ctx_b, endings, label (Rowan/hellaswag); "
        "gsm8k: question, answer (openai/gsm8k)"
    )
    examples: Annotated[str | None, EXECUTION_ONLY] = Field(
        None, description="a file of the same format that examples are drawn from, such as the training split"
    )
    shots: int | None = Field(None, ge=0, description=_SHOTS)


class BenchmarkTask(Frozen):
    """A task, group or tag of the harness by name, whose data the `datasets` library downloads or has cached."""

    name: str = Field(pattern=BENCHMARK_NAME, description="as `lm_eval ls tasks` lists it")
    shots: int | None = Field(None, ge=0, description=_SHOTS)


class Benchmarks(Frozen):
    """Which benchmarks are asked of which models, and how."""

    files: tuple[BenchmarkFile, ...] = Field((), description="benchmarks in local files")
    tasks: tuple[BenchmarkTask, ...] = Field((), description="benchmarks by the harness's names")
    core: Annotated[str | None, EXECUTION_ONLY] = Field(
        None,
        description="folder of DCLM's CORE (arXiv:2406.11794): core.yaml, eval_meta_data.csv and eval_data. The files' "
        "content is part of the identity",
    )
    models: tuple[BenchmarkedModel, ...] = Field(
        (), description="checkpoints to ask; empty is the released one, the last that the recipe trains"
    )
    limit: int | None = Field(None, ge=1, description="questions per task, the first ones; None asks all")
    chat_template: bool = Field(
        False, description="ask as a user's messages, with examples as earlier turns; the base model is never asked so"
    )
    max_tokens: int | None = Field(
        None, ge=1, description="longest response of a generating task, in tokens; None is the task's own limit, or 256"
    )
    overlap_words: int = Field(
        13, ge=5, description="words in a row that make an item contaminated (GPT-3, arXiv:2005.14165, appendix C)"
    )
    device: Annotated[Literal["auto", "cpu", "cuda"], EXECUTION_ONLY] = Field(
        "auto", description="auto is a GPU where there is one"
    )
    seed: int = Field(1234, ge=0, description="draws examples and samples; 1234 is the harness's own")

    @model_validator(mode="after")
    def _named_once(self) -> Benchmarks:
        names = [benchmark.name for benchmark in (*self.files, *self.tasks)]
        if not names and self.core is None:
            raise ValueError("files, tasks or core: name at least one benchmark")
        repeated = next((name for name in names if names.count(name) > 1), None)
        if repeated is not None:
            raise ValueError(f"files and tasks: two benchmarks are named {repeated!r}; give each its own name")
        if len(set(self.models)) < len(self.models):
            raise ValueError("models: a checkpoint is named twice")
        return self
