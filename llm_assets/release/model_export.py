"""`model_export`: the assistant as others read it: a Hugging Face folder, a GGUF file, and a card that tells what it was made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from llm_assets.artifacts.checks import CheckOutcome
from llm_assets.artifacts.record import write_atomic
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.recipes import Recipe
from llm_assets.recipes.crawls import crawls_of
from llm_assets.report import render

FOLDER = "huggingface"
GGUF = "model.gguf"
CARD = f"{FOLDER}/README.md"
TOLERANCE = 1e-4  # of logits, against the largest of them: both sides compute in fp32, in another order
TEXTS = 64  # pages and questions that the check reads
LINEAGE = ("clean_corpus", "tokenizer", "token_shards", "base_checkpoint", "knowledge_boundary", "conversations", "sft_checkpoint", "practice_problems", "rl_checkpoint", "human_rankings", "reward_checkpoint", "rlhf_checkpoint")
EVALUATIONS = ("base_evaluation", "sft_evaluation", "rl_evaluation", "rlhf_evaluation")


def build_model_export(step: Step, recipe: Recipe) -> None:
    """One part."""
    from llm_assets.model.checkpoint import load_checkpoint
    from llm_assets.model.gguf_file import write_gguf
    from llm_assets.model.huggingface import export

    settings = recipe.model_export
    checkpoint = step.input("rlhf_checkpoint")
    step.progress.start(2, "formats")
    model, encoding = load_checkpoint(checkpoint.path)
    names = [f"{FOLDER}/{name}" for name in export(model, encoding, step.staging / FOLDER, chat=True)]
    step.progress.advance(1, message="GGUF")
    with step.part("export") as part:
        if settings.gguf is not None:
            told = write_gguf(model, encoding, step.staging / GGUF, recipe.conversations.name, settings.gguf)
            names.append(GGUF)
            part.stats["gguf"] = told
        card = render(__package__, "model_card.md.j2", recipe=recipe, shape=model.shape, lineage=list(lineage(step.inputs, recipe)), numbers={name: step.input(name).record.stats for name in EVALUATIONS}, gguf=part.stats.get("gguf"), simulated=recipe.human_rankings.simulated is not None)
        write_atomic(step.staging / CARD, card.encode())
        for name in [*names, CARD]:
            part.add_file(name)
        part.stats.update(parameters=model.shape.parameters, files=len(names) + 1)


def lineage(inputs: Mapping[str, Artifact], recipe: Recipe) -> Iterable[dict[str, Any]]:
    """What the model was made of: artifacts with identity and version."""
    for name in LINEAGE:
        keys = [key for key in sorted(inputs) if key == name or key.startswith(f"{name}/")]
        for key in keys:
            artifact = inputs[key]
            yield {"key": key, "identity": artifact.record.short, "data_version": artifact.data_version, "rows": sum(artifact.record.rows.values())}


def equals_transformers(export: Artifact, checkpoint: Artifact, questions: list[str], pages: list[str]) -> CheckOutcome:
    """Whether transformers gives the same tokens of texts and conversations, the same logits, and the same greedy answers, from the folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from llm_assets.model.chat import Message, prompt
    from llm_assets.model.checkpoint import load_checkpoint

    folder = export.path / FOLDER
    model, encoding = load_checkpoint(checkpoint.path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    failures: list[dict[str, Any]] = []
    for text in pages:
        ours, theirs = encoding.encode(text), tokenizer(text, add_special_tokens=False)["input_ids"]
        if ours != theirs:
            failures.append({"what": "tokens of a page", "text": text[:100], "first_difference": _differs(ours, theirs)})
    asked = []
    for question in questions:
        ours = prompt(encoding, [Message("user", question)])
        theirs = tokenizer.apply_chat_template([{"role": "user", "content": question}], add_generation_prompt=True, tokenize=True, return_dict=False)
        if ours != list(theirs):
            failures.append({"what": "tokens of a conversation", "text": question, "first_difference": _differs(ours, list(theirs))})
        asked.append(ours)
    other = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    worst = 0.0
    rows = [ids[: model.shape.context] for ids in [*asked, *(encoding.document(text) for text in pages)]]
    with torch.no_grad():
        for ids in rows:
            ours, theirs = model(torch.tensor([ids])), other(torch.tensor([ids])).logits
            apart = float((ours - theirs).abs().max() / ours.abs().max().clamp(min=1e-6))
            worst = max(worst, apart)
            if apart > TOLERANCE:
                failures.append({"what": "logits", "tokens": len(ids), "difference": apart})
            if not torch.equal(ours.argmax(-1), theirs.argmax(-1)):
                # Where two logits are alike, rounding decides; that is no difference.
                at = (ours.argmax(-1) != theirs.argmax(-1)).nonzero()[0].tolist()
                top = ours[tuple(at)].topk(2).values
                if float(top[0] - top[1]) > TOLERANCE * float(ours.abs().max()):
                    failures.append({"what": "most probable token", "place": at[-1]})
    return CheckOutcome(not failures, f"{len(pages)} pages and {len(questions)} conversations: the same tokens in transformers, logits within {worst:.1e} of the largest", failures[:10])


def equals_gguf(export: Artifact, checkpoint: Artifact) -> CheckOutcome:
    """Whether the GGUF file, read by the `gguf` package, holds the checkpoint's weights and vocabulary."""
    import gguf
    import numpy as np

    from llm_assets.model.checkpoint import load_checkpoint

    if "gguf" not in export.record.stats:
        return CheckOutcome(True, "the recipe wants no GGUF file")
    model, encoding = load_checkpoint(checkpoint.path)
    reader = gguf.GGUFReader(export.file(GGUF))
    names = gguf.get_tensor_name_map({"qwen3": gguf.MODEL_ARCH.QWEN3, "gpt2": gguf.MODEL_ARCH.GPT2}[model.shape.architecture], model.shape.layers)
    found = {tensor.name: tensor for tensor in reader.tensors}
    failures: list[dict[str, Any]] = []
    for own, tensor in model.state_dict().items():
        theirs = found.get(names.get_name(own, try_suffixes=(".weight", ".bias")))
        values = tensor.float().numpy()
        if own.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
            values = values.T
        if theirs is None:
            failures.append({"tensor": own, "what": "missing"})
        elif not np.array_equal(np.asarray(theirs.data, np.float32).reshape(values.shape), values.astype(theirs.data.dtype).astype(np.float32)):
            failures.append({"tensor": own, "what": "other values"})
    tokens = reader.fields["tokenizer.ggml.tokens"]
    if len(tokens.data) < encoding.size:
        failures.append({"tensor": "vocabulary", "what": f"{len(tokens.data)} tokens, the tokenizer has {encoding.size}"})
    return CheckOutcome(not failures, f"{len(found)} tensors and {len(tokens.data):,} tokens read back as they were", failures[:10])


def texts_for(conversations: Artifact, corpus: Iterable[Artifact]) -> tuple[list[str], list[str]]:
    """Questions and pages that the check reads: the first of each."""
    questions = pl.concat([pl.read_parquet(path, columns=["question"]) for path in conversations.table("evaluation")])["question"].unique(maintain_order=True).head(TEXTS).to_list()
    pages = pl.concat([pl.scan_parquet(path).select("text") for artifact in corpus for path in sorted(artifact.table("text"))]).head(TEXTS).collect()["text"].to_list()
    return questions, pages


def _differs(ours: list[int], theirs: list[int]) -> int:
    """The first place where two lists differ."""
    return next((place for place, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))


def show(export: Artifact) -> dict[str, str]:
    """The model card, and how to use the files."""
    folder: Path = export.path
    return {"card": export.file(CARD).read_text(), "use": f'```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\nmodel = AutoModelForCausalLM.from_pretrained("{folder / FOLDER}")\n```\n\n```\nllama-cli -m {folder / GGUF} -cnv\n```'}


MODEL_EXPORT = Stage(
    name="model_export",
    build=build_model_export,
    code_version="1",
    rooms=("llm_assets.release.model_export", "llm_assets.model.huggingface", "llm_assets.model.gguf_file", "llm_assets.model.chat", "llm_assets.model.tokenizer_files"),
    inputs=(*LINEAGE, *EVALUATIONS),
    literals=lambda recipe, _: {"model_export": recipe.model_export, "name": recipe.conversations.name, "maker": recipe.conversations.maker, "crawls": crawls_of(recipe), "simulated": recipe.human_rankings.simulated is not None},
    crawls=crawls_of,
    libraries=("torch", "safetensors", "gguf", "jinja2"),
)

