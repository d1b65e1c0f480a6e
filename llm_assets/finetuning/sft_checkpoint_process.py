"""The training process of `sft_checkpoint`: ``python -m llm_assets.finetuning.sft_checkpoint_process job.json``.

Needs torch, numpy, safetensors and tiktoken, nothing else of this project's packages.
"""

from __future__ import annotations

from pathlib import Path

from llm_assets.compute.process import Reporter, run_job
from llm_assets.dialogue.packing import Conversations, MixedRows, PackedConversations
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.transformer import Transformer
from llm_assets.training.loader import PackedRows
from llm_assets.training.loop import join_processes, mean_loss, train
from llm_assets.training.shards import TokenStream

from .jobs import SftJob


def main(job: SftJob, folder: Path, report: Reporter) -> None:
    devices = join_processes(job.device)
    model, encoding = load_checkpoint(Path(job.checkpoint))
    plan = job.plan.on(devices.cuda, encoding.bos)
    context, padding = model.shape.context, encoding.special["<|pad|>"]
    packed = PackedConversations(Conversations.load(Path(job.training)), context, plan.seed, padding)
    documents = None
    if job.document_share:
        documents = PackedRows(TokenStream(map(Path, job.shards), "train", job.kept), context, plan.seed)
    data = MixedRows(packed, documents, job.document_share)
    held_out = Conversations.load(Path(job.held_out))

    def validate(model: Transformer) -> dict[str, float]:
        rows = PackedConversations(held_out, context, 0, padding, shuffle=False)
        return mean_loss(model, rows, rows.rows_per_epoch, plan.micro_batch_size, encoding.token_bytes, encoding.bos)

    train(model, data, plan, folder, devices, report, validate if len(held_out) else None)


if __name__ == "__main__":
    run_job(main, SftJob)
