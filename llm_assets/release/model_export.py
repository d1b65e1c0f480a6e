"""`model_export`: the assistant as others read it: a Hugging Face folder and a GGUF file. Its card is a view."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import polars as pl

from llm_assets.artifacts.checks import Check, CheckOutcome
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact, Store
from llm_assets.artifacts.views import View
from llm_assets.model.shape import ModelShape
from llm_assets.recipes.frozen import Frozen
from llm_assets.report import render

FOLDER = "huggingface"
GGUF = "model.gguf"
CARD = f"{FOLDER}/README.md"
TEMPLATE = "model_card.md.j2"
TOLERANCE = 1e-4  # of logits, against the largest of them: both sides compute in fp32, in another order
TEXTS = 64  # pages and questions that the check reads
# What the model was made of, from the corpus on.
LINEAGE = (
    "clean_corpus",
    "tokenizer",
    "training_pages",
    "token_shards",
    "base_checkpoint",
    "knowledge_boundary",
    "conversations",
    "sft_checkpoint",
    "practice_problems",
    "rl_checkpoint",
    "human_rankings",
    "reward_checkpoint",
    "rlhf_checkpoint",
)
EVALUATIONS = ("base_evaluation", "sft_evaluation", "rl_evaluation", "rlhf_evaluation")


class ModelExportConfig(Frozen):
    """Precision of the GGUF file; the assistant's name and maker, and whether its rankings are simulated."""

    gguf: Literal["f32", "f16"] | None
    assistant: str
    maker: str
    simulated: bool


def build_model_export(step: Step, config: ModelExportConfig) -> None:
    """One part."""
    from llm_assets.model.checkpoint import load_checkpoint
    from llm_assets.model.gguf_file import write_gguf
    from llm_assets.model.huggingface import export

    step.progress.start(2, "formats")
    model, encoding = load_checkpoint(step.input("rlhf_checkpoint").path)
    names = [f"{FOLDER}/{name}" for name in export(model, encoding, step.staging / FOLDER, chat=True)]
    step.progress.advance(1, message="GGUF")
    with step.task("export") as task:
        if config.gguf is not None:
            written = write_gguf(model, encoding, step.staging / GGUF, config.assistant, config.gguf)
            names.append(GGUF)
            task.stats["gguf"] = {name: int(value) for name, value in written.items()}
        for name in names:
            task.add_file(name)
        task.stats.update(parameters=model.shape.parameters, files=len(names))


def draw_card(export: Artifact, inputs: Inputs, config: ModelExportConfig) -> str:
    """The model card, as Markdown."""
    checkpoint = inputs.artifact("rlhf_checkpoint")
    return render(
        __package__,
        TEMPLATE,
        assistant=config.assistant,
        maker=config.maker,
        simulated=config.simulated,
        crawls=list(inputs.by_crawl("token_shards")),
        shape=ModelShape.load(checkpoint.file("shape.json").read_text(), "shape.json"),
        lineage=lineage(inputs),
        numbers={name: inputs.artifact(name).record.stats for name in EVALUATIONS},
        gguf=export.record.stats.get("gguf"),
    )


def card_of(checkpoint: Path, store: Store) -> Path | None:
    """The model card of the latest export that was made of the checkpoint in this folder; None where there is none."""
    known = next((artifact for artifact in store.artifacts("rlhf_checkpoint") if artifact.path == checkpoint), None)
    if known is None:
        return None
    for export in reversed(list(store.artifacts("model_export"))):
        if export.record.fields["inputs"].get("rlhf_checkpoint") == known.data_version and export.view(CARD).is_file():
            return export.view(CARD)
    return None


def lineage(inputs: Mapping[str, Artifact]) -> list[dict[str, Any]]:
    """What the model was made of: artifacts with identity and version."""
    return [
        {
            "key": key,
            "identity": artifact.record.short_id,
            "data_version": artifact.data_version,
            "rows": sum(artifact.record.rows.values()),
        }
        for name in LINEAGE
        for key, artifact in sorted(inputs.items())
        if key == name or key.startswith(f"{name}/")
    ]


def examine_transformers(export: Artifact, inputs: Inputs, config: ModelExportConfig) -> CheckOutcome:
    """The check: questions and pages of the inputs through both."""
    questions, pages = texts_for(inputs.artifact("conversations"), inputs.by_crawl("clean_corpus").values())
    return equals_transformers(export, inputs.artifact("rlhf_checkpoint"), questions, pages)


def examine_gguf(export: Artifact, inputs: Inputs, config: ModelExportConfig) -> CheckOutcome:
    """The check: the file against the checkpoint that it was written from."""
    return equals_gguf(export, inputs.artifact("rlhf_checkpoint"))


def equals_transformers(export: Artifact, checkpoint: Artifact, questions: list[str], pages: list[str]) -> CheckOutcome:
    """Whether transformers gives the same tokens of texts and conversations, the same logits, and the same greedy
    answers, from the folder.
    """
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
            failures.append(
                {"what": "tokens of a page", "text": text[:100], "first_difference": _differs(ours, theirs)}
            )
    asked = []
    for question in questions:
        ours = prompt(encoding, [Message("user", question)])
        theirs = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, tokenize=True, return_dict=False
        )
        if ours != list(theirs):
            failures.append(
                {"what": "tokens of a conversation", "text": question, "first_difference": _differs(ours, list(theirs))}
            )
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
    texts = f"{len(pages)} pages and {len(questions)} conversations"
    summary = f"{texts}: the same tokens in transformers, logits within {worst:.1e} of the largest"
    numbers = {"pages": len(pages), "conversations": len(questions), "largest_difference": worst}
    return CheckOutcome(not failures, summary, failures[:10], numbers)


def equals_gguf(export: Artifact, checkpoint: Artifact) -> CheckOutcome:
    """Whether the GGUF file, read by the `gguf` package, holds the checkpoint's weights and vocabulary."""
    import gguf
    import numpy as np

    from llm_assets.model.checkpoint import load_checkpoint

    if "gguf" not in export.record.stats:
        return CheckOutcome(True, "the recipe wants no GGUF file")
    model, encoding = load_checkpoint(checkpoint.path)
    reader = gguf.GGUFReader(export.file(GGUF))
    names = gguf.get_tensor_name_map(
        {"qwen3": gguf.MODEL_ARCH.QWEN3, "gpt2": gguf.MODEL_ARCH.GPT2}[model.shape.architecture], model.shape.layers
    )
    found = {tensor.name: tensor for tensor in reader.tensors}
    failures: list[dict[str, Any]] = []
    for own, tensor in model.state_dict().items():
        theirs = found.get(names.get_name(own, try_suffixes=(".weight", ".bias")))
        values = tensor.float().numpy()
        if own.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
            values = values.T
        if theirs is None:
            failures.append({"tensor": own, "what": "missing"})
        elif not np.array_equal(
            np.asarray(theirs.data, np.float32).reshape(values.shape),
            values.astype(theirs.data.dtype).astype(np.float32),
        ):
            failures.append({"tensor": own, "what": "other values"})
    tokens = reader.fields["tokenizer.ggml.tokens"]
    if len(tokens.data) < encoding.size:
        failures.append(
            {"tensor": "vocabulary", "what": f"{len(tokens.data)} tokens, the tokenizer has {encoding.size}"}
        )
    summary = f"{len(found)} tensors and {len(tokens.data):,} tokens read back as they were"
    return CheckOutcome(not failures, summary, failures[:10], {"tensors": len(found), "tokens": len(tokens.data)})


def texts_for(conversations: Artifact, corpus: Iterable[Artifact]) -> tuple[list[str], list[str]]:
    """Questions and pages that the check reads: the first of each."""
    questions = (
        pl.concat([pl.read_parquet(path, columns=["question"]) for path in conversations.table("evaluation")])[
            "question"
        ]
        .unique(maintain_order=True)
        .head(TEXTS)
        .to_list()
    )
    pages = (
        pl.concat(
            [pl.scan_parquet(path).select("text") for artifact in corpus for path in sorted(artifact.table("text"))]
        )
        .head(TEXTS)
        .collect()["text"]
        .to_list()
    )
    return questions, pages


def _differs(ours: list[int], theirs: list[int]) -> int:
    """The first place where two lists differ."""
    return next(
        (place for place, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs))
    )


def show(export: Artifact) -> dict[str, str]:
    """The model card, and how to use the files."""
    folder: Path = export.path
    card = export.view(CARD)
    use = (
        "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n"
        f'model = AutoModelForCausalLM.from_pretrained("{folder / FOLDER}")\n```\n\n'
        f"```\nllama-cli -m {folder / GGUF} -cnv\n```"
    )
    return {**({"card": card.read_text()} if card.is_file() else {}), "use": use}


MODEL_EXPORT = Stage(
    name="model_export",
    group="release",
    description="The assistant as a Hugging Face folder and a GGUF file, with a card that tells its lineage.",
    kinds=("huggingface", "safetensors"),
    build=build_model_export,
    config=lambda recipe, crawl: ModelExportConfig(
        gguf=recipe.model_export.gguf,
        assistant=recipe.conversations.name,
        maker=recipe.conversations.maker,
        simulated=recipe.human_rankings.simulated is not None,
    ),
    code_version="1",
    inputs=(*LINEAGE, *EVALUATIONS),
    crawls=lambda recipe: recipe.trained_crawls(),
    checks=(
        Check(
            "same_in_transformers",
            "transformers gives the same tokens and the same logits from the exported folder.",
            examine_transformers,
            blocking=True,
        ),
        Check(
            "same_in_gguf",
            "The GGUF file holds the checkpoint's weights and vocabulary.",
            examine_gguf,
            blocking=True,
        ),
    ),
    views=(View(CARD, draw_card, (TEMPLATE,)),),
    show=show,
    libraries=("torch", "safetensors", "gguf"),
)
