"""The training process of `base_checkpoint`: ``python -m llm_assets.pretraining.base_checkpoint_process job.json``.

Needs only torch, numpy, safetensors and tiktoken of this project's dependencies.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llm_assets.compute.process import Reporter, run_job
from llm_assets.model.checkpoint import CheckpointError, load_checkpoint
from llm_assets.model.encoding import Encoding
from llm_assets.model.published_weights import load_published
from llm_assets.model.sampling import Engine, Sampling
from llm_assets.model.shape import ModelShape
from llm_assets.model.transformer import Transformer
from llm_assets.training.loader import PackedDocuments
from llm_assets.training.loop import Hooks, train
from llm_assets.training.losses import HeldOut, mean_loss
from llm_assets.training.processes import TrainingProcess, join_processes
from llm_assets.training.shards import TokenStream

from .jobs import PretrainingJob


def starting_model(
    shape: ModelShape,
    seed: int,
    earlier: str | None,
    encoding: Encoding,
    induction: bool = False,
    published: str | None = None,
) -> Transformer:
    """The model of the checkpoint `earlier`, else the published model in a folder, else a new one.

    induction: a new model starts with an induction head. Raises CheckpointError if the shape or the tokenizer of the
    earlier checkpoint differs, PublishedModelError if a published model cannot be read.
    """
    if earlier is None and published is not None:
        return load_published(Path(published), encoding, shape.context)
    if earlier is None:
        model = Transformer(shape)
        model.initialise(seed, induction)
        return model
    loaded, loaded_encoding = load_checkpoint(Path(earlier))
    if loaded_encoding != encoding:
        raise CheckpointError(
            f"checkpoint {earlier} has another tokenizer ({loaded_encoding.size:,} ids) than the shards "
            f"({encoding.size:,}); name the crawls of the earlier tokenizer in tokenizer.crawls"
        )
    if loaded.shape != shape:
        raise CheckpointError(f"checkpoint {earlier} has shape {loaded.shape}, but the recipe has {shape}")
    return loaded


def main(job: PretrainingJob, folder: Path, report: Reporter) -> None:
    """Train the base model in `folder`."""
    devices = join_processes(job.device)
    encoding = Encoding.load(Path(job.tokenizer))
    plan = job.plan.on(devices.cuda, encoding.bos)
    context = job.shape.context
    training = None  # a published model that is used as it is needs no corpus
    if plan.steps:
        training = PackedDocuments(TokenStream(map(Path, job.shards), "train", job.kept_documents), context, plan.seed)
    held_out = TokenStream(map(Path, job.shards), "validation", job.kept_documents)
    model = starting_model(job.shape, plan.seed, job.continue_from, encoding, job.induction, job.start)
    sampling = Sampling(
        max_tokens=min(job.sample_tokens, context // 2),
        temperature=0.8,
        top_k=50,
        seed=plan.seed,
        stop=(encoding.bos,),
    )

    def validate(model: Transformer) -> dict[str, float]:
        sequences = PackedDocuments(held_out, context, 0, shuffle=False)
        count = min(job.validation_sequences, int(sequences.sequences_per_epoch))
        measured = HeldOut(sequences, count, plan.micro_batch_size, encoding.token_bytes, encoding.bos)
        return mean_loss(model, measured, devices)

    def sample(model: Transformer) -> list[dict[str, Any]]:
        prompts = [encoding.document(text) for text in job.prompts]
        completions = Engine(model, encoding).complete(prompts, sampling)
        return [
            {"prompt": prompt, "text": encoding.decode(completion.tokens)}
            for prompt, completion in zip(job.prompts, completions, strict=True)
        ]

    hooks = Hooks(validate if len(held_out) > context else None, sample if job.prompts else None)
    train(model, training, plan, TrainingProcess(folder, devices, report), hooks)


if __name__ == "__main__":
    run_job(main, PretrainingJob)
