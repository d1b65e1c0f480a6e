"""The training process of `sft_checkpoint`: ``python -m llm_assets.finetuning.sft_checkpoint_process job.json``.

Needs only torch, numpy, safetensors and tiktoken of this project's dependencies.
"""

from __future__ import annotations

from pathlib import Path

from llm_assets.compute.process import Reporter, run_job
from llm_assets.dialogue.packing import Conversations, MixedSequences, PackedConversations
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.transformer import Transformer
from llm_assets.training.loader import PackedDocuments
from llm_assets.training.loop import Hooks, train
from llm_assets.training.losses import HeldOut, mean_loss
from llm_assets.training.processes import TrainingProcess, join_processes
from llm_assets.training.shards import TokenStream

from .jobs import SftJob


def main(job: SftJob, folder: Path, report: Reporter) -> None:
    """Train the assistant in `folder`, on packed conversations and a share of documents."""
    devices = join_processes(job.device)
    model, encoding = load_checkpoint(Path(job.checkpoint))
    plan = job.plan.on(devices.cuda, encoding.bos)
    context, padding = model.shape.context, encoding.special["<|pad|>"]
    packed = PackedConversations(Conversations.load(Path(job.training)), context, plan.seed, padding)
    documents = None
    if job.document_share:
        documents = PackedDocuments(TokenStream(map(Path, job.shards), "train", job.kept_documents), context, plan.seed)
    data = MixedSequences(packed, documents, job.document_share)
    held_out = Conversations.load(Path(job.held_out))

    def validate(model: Transformer) -> dict[str, float]:
        sequences = PackedConversations(held_out, context, 0, padding, shuffle=False)
        count = sequences.sequences_per_epoch
        measured = HeldOut(sequences, count, plan.micro_batch_size, encoding.token_bytes, encoding.bos)
        return mean_loss(model, measured, devices)

    hooks = Hooks(validate if len(held_out) else None)
    train(model, data, plan, TrainingProcess(folder, devices, report), hooks)


if __name__ == "__main__":
    run_job(main, SftJob)
