"""`model_export`: the assistant as a Hugging Face folder and a GGUF file. The model card is a view."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from llm_assets.artifacts.checks import Check, CheckOutcome
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact, Store
from llm_assets.artifacts.tables import read_table, scan_table
from llm_assets.artifacts.views import View
from llm_assets.evaluation.figures import MODELS, read_figures, released_model
from llm_assets.model.shape import ADAPTER_FILES, ModelShape
from llm_assets.recipes.frozen import Frozen
from llm_assets.recipes.language_tags import languages_of

from . import exported_files, model_card
from .exported_files import ADAPTERS, ExportOptions, copy_adapters, write_files
from .scorecard import BENCHMARKS, EVALUATIONS, OPTIONAL, evaluations, matrices

if TYPE_CHECKING:
    from llm_assets.model.chat import Message
    from llm_assets.model.encoding import Encoding

FOLDER = "huggingface"
GGUF = f"{FOLDER}/{exported_files.GGUF}"
CARD = f"{FOLDER}/README.md"
# Largest difference of logits, relative to the largest logit. Both sides compute in fp32, but in another order.
TOLERANCE = 1e-4
TEXTS = 64  # pages, and questions, that the check compares
# Assets that the model is made from, from the corpus on.
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
    "dpo_checkpoint",
)


class ModelExportConfig(Frozen):
    """Precision of the GGUF file (None for no file), and what the model card says.

    assistant, maker: its name and who made it. simulated: whether rankings are. languages: ISO 639 codes. license: as
    Hugging Face names it, or None.
    """

    gguf: Literal["f32", "f16"] | None
    assistant: str
    maker: str
    simulated: bool
    languages: tuple[str, ...]
    license: str | None


def build_model_export(step: Step, config: ModelExportConfig) -> None:
    """Write all formats, as one task."""
    from llm_assets.model.checkpoint import load_checkpoint

    released = released_model(step.inputs)
    model, encoding = load_checkpoint(step.input(MODELS[released]).path)
    with step.task("export") as task:
        names, gguf = write_files(model, encoding, step.staging / FOLDER, options_of(config))
        task.stats.update(gguf)
        names += copy_adapters(adapted(step.inputs), step.staging / FOLDER)
        for name in names:
            task.add_file(f"{FOLDER}/{name}")
        task.stats.update(parameters=model.shape.parameters, files=len(names))


def adapted(inputs: Mapping[str, Artifact]) -> dict[str, Path]:
    """The checkpoints that were trained by low-rank adapters (LoRA), by model, in the order of training."""
    folders = {name: inputs[asset].path for name, asset in MODELS.items() if asset in inputs}
    return {name: folder for name, folder in folders.items() if all((folder / f).is_file() for f in ADAPTER_FILES)}


def options_of(config: ModelExportConfig) -> ExportOptions:
    """How the assistant is exported."""
    return ExportOptions(config.assistant, True, config.gguf, languages=config.languages, license=config.license)


def draw_card(export: Artifact, inputs: Inputs, config: ModelExportConfig) -> str:
    """Draw the model card, in Markdown."""
    from llm_assets.model.encoding import Encoding

    released = released_model(inputs)
    checkpoint = inputs.artifact(MODELS[released])
    options, evaluation = options_of(config), read_figures(*evaluations(inputs))
    return model_card.card(
        options,
        ModelShape.load(checkpoint.file("shape.json").read_text(), "shape.json"),
        Encoding.load(checkpoint.path),
        header=model_card.header(options, evaluation, released),
        introduction=introduction(config, inputs),
        matrices=matrices(evaluation, released),
        released=released,
        simulated=config.simulated,
        lineage=lineage(inputs),
    )


def base_model(inputs: Inputs) -> str:
    """Where the base model comes from: pretraining, a published model, or one that was trained further."""
    crawls, base = list(inputs.by_crawl("token_shards")), inputs.artifact("base_checkpoint")
    training = base.record.fields["config"].get("training", {})
    return origin(crawls, training.get("start") is not None, base.record.stats.get("steps", 0))


def origin(crawls: Sequence[str], is_published: bool, steps: int) -> str:
    """The origin of a base model in words. is_published: whether training started from a published model."""
    if is_published and not steps:
        return "a published base model as it is"
    read = f"on the crawl{'s' * (len(crawls) > 1)} {', '.join(crawls)}"
    return f"a published base model, trained further {read}" if is_published else f"pretrained {read}"


def introduction(config: ModelExportConfig, inputs: Inputs) -> str:
    """What the assistant was made from, in sentences."""
    phrases = {
        "sft": "fine-tuned on conversations (SFT)",
        "rl": "trained with reinforcement learning on problems with checkable answers (GRPO)",
        "dpo": "tuned to preference rankings (DPO)",
        "rlhf": "tuned to preference rankings (RLHF)",
    }
    steps = [base_model(inputs), *(text for model, text in phrases.items() if MODELS[model] in inputs)]
    text = f"It was made by {config.maker}: {', '.join(steps[:-1])}, and {steps[-1]}."
    if models := adapted(inputs):
        text += (
            f"\n\nLow-rank adapters were trained in place of weights ({', '.join(models)}). They are merged; "
            f"`{ADAPTERS}/` holds them by themselves in peft's format, each for the model before that training."
        )
    if config.simulated:
        text += (
            "\n\nThe rankings are **simulated**: a written labelling rule with noise took the place of human labellers."
        )
    return text


def card_of(checkpoint: Path, store: Store) -> Path | None:
    """The model card of the latest export of the checkpoint in this folder, or None."""
    models = (model for asset in MODELS.values() for model in store.artifacts(asset))
    artifact = next((model for model in models if model.folder == checkpoint), None)
    if artifact is None:
        return None
    for export in reversed(list(store.artifacts("model_export"))):
        versions = export.record.fields["inputs"]
        released = MODELS[released_model(versions)]
        is_of_checkpoint = (released, versions[released]) == (artifact.record.asset, artifact.data_version)
        if is_of_checkpoint and export.view(CARD).is_file():
            return export.view(CARD)
    return None


def lineage(inputs: Mapping[str, Artifact]) -> list[dict[str, Any]]:
    """Rows of the card's lineage table: the artifacts that the model is made from."""
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
    """The check `same_in_transformers`, with questions and pages of the inputs."""
    questions, pages = texts_to_compare(inputs.artifact("conversations"), inputs.by_crawl("clean_corpus").values())
    return compare_with_transformers(export, _released_checkpoint(inputs), questions, pages)


def examine_gguf(export: Artifact, inputs: Inputs, config: ModelExportConfig) -> CheckOutcome:
    """The check `same_in_gguf`, with the checkpoint that the file was written from."""
    return compare_with_gguf(export, _released_checkpoint(inputs))


def examine_llama_cpp_tokens(export: Artifact, inputs: Inputs, config: ModelExportConfig) -> CheckOutcome:
    """The check `same_tokens_in_llama_cpp`, with pages of the inputs."""
    _, pages = texts_to_compare(inputs.artifact("conversations"), inputs.by_crawl("clean_corpus").values())
    return compare_with_llama_cpp(export, _released_checkpoint(inputs), pages)


def _released_checkpoint(inputs: Inputs) -> Artifact:
    return inputs.artifact(MODELS[released_model(inputs)])


def compare_with_transformers(
    export: Artifact, checkpoint: Artifact, questions: list[str], pages: list[str]
) -> CheckOutcome:
    """Check that transformers reads the exported folder as this project reads the checkpoint.

    For pages, for conversations of one question and for `written_conversations`, both must give the same tokens, logits
    within `TOLERANCE`, and the same most probable next tokens.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from llm_assets.model.chat import Message, prompt
    from llm_assets.model.checkpoint import load_checkpoint

    folder = export.path / FOLDER
    model, encoding = load_checkpoint(checkpoint.path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    conversations = [*([Message("user", question)] for question in questions), *written_conversations()]
    prompts = [prompt(encoding, conversation) for conversation in conversations]
    failures = [
        *_different_page_tokens(encoding, tokenizer, pages),
        *_different_prompt_tokens(prompts, tokenizer, conversations),
    ]
    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    sequences = [ids[: model.shape.context] for ids in [*prompts, *(encoding.document(text) for text in pages)]]
    largest, different_logits = _different_logits(model, reference, sequences)
    failures += different_logits
    texts = f"{len(pages)} pages and {len(conversations)} conversations"
    summary = f"{texts}: the same tokens in transformers, logits within {largest:.1e} of the largest"
    numbers = {"pages": len(pages), "conversations": len(conversations), "largest_difference": largest}
    return CheckOutcome(not failures, summary, failures[:10], numbers)


def _different_page_tokens(encoding: Encoding, tokenizer: Any, pages: list[str]) -> Iterator[dict[str, Any]]:
    """Pages that transformers tokenizes differently."""
    for text in pages:
        our_tokens, their_tokens = encoding.encode(text), tokenizer(text, add_special_tokens=False)["input_ids"]
        if our_tokens != their_tokens:
            place = _first_difference(our_tokens, their_tokens)
            yield {"problem": "tokens of a page", "text": text[:100], "first_difference": place}


def written_conversations() -> list[list[Message]]:
    """Conversations of the protocol that a corpus may lack: special tokens as text, and tool calls."""
    from llm_assets.model.chat import TOOLS, Call, Message
    from llm_assets.model.encoding import SPECIAL_TOKENS

    special_tokens = "".join(SPECIAL_TOKENS)
    conversations = [[Message("system", special_tokens), Message("user", f"{special_tokens} Hello.")]]
    for tool in TOOLS:
        call = Message("assistant", special_tokens, Call(tool, f"a\n{special_tokens}"))
        conversations.append([Message("user", "Hello."), call, Message("tool", special_tokens)])
    return conversations


def _different_prompt_tokens(
    prompts: list[list[int]], tokenizer: Any, conversations: list[list[Message]]
) -> Iterator[dict[str, Any]]:
    """Conversations for which transformers' chat template yields a different prompt."""
    from llm_assets.dialogue.messages import to_openai

    for our_tokens, conversation in zip(prompts, conversations, strict=True):
        messages = to_openai(conversation)
        their_tokens = list(
            tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
        )
        if our_tokens != their_tokens:
            place, text = _first_difference(our_tokens, their_tokens), conversation[0].content
            yield {"problem": "tokens of a conversation", "text": text, "first_difference": place}


def _different_logits(model: Any, reference: Any, sequences: list[list[int]]) -> tuple[float, list[dict[str, Any]]]:
    """The largest difference of logits, relative to the largest logit of the sequence; and the differences that count.

    reference: the model of transformers. sequences: token ids, each at most as long as the context.
    """
    import torch

    largest, failures = 0.0, []
    with torch.no_grad():
        for ids in sequences:
            our_logits, their_logits = model(torch.tensor([ids])), reference(torch.tensor([ids])).logits
            difference = float((our_logits - their_logits).abs().max() / our_logits.abs().max().clamp(min=1e-6))
            largest = max(largest, difference)
            if difference > TOLERANCE:
                failures.append({"problem": "logits", "tokens": len(ids), "difference": difference})
            if not torch.equal(our_logits.argmax(-1), their_logits.argmax(-1)):
                # If the two largest logits are nearly equal, rounding decides between them: that does not count.
                place = (our_logits.argmax(-1) != their_logits.argmax(-1)).nonzero()[0].tolist()
                top = our_logits[tuple(place)].topk(2).values
                if float(top[0] - top[1]) > TOLERANCE * float(our_logits.abs().max()):
                    failures.append({"problem": "most probable token", "place": place[-1]})
    return largest, failures


def _first_difference(our_tokens: list[int], their_tokens: list[int]) -> int:
    """The first index at which two lists differ."""
    for index, (our_token, their_token) in enumerate(zip(our_tokens, their_tokens, strict=False)):
        if our_token != their_token:
            return index
    return min(len(our_tokens), len(their_tokens))


def compare_with_gguf(export: Artifact, checkpoint: Artifact) -> CheckOutcome:
    """Check that the GGUF file, read by the `gguf` package, holds the checkpoint's weights and vocabulary.

    It must also name the same tokens as the exported folder for the beginning, end and padding of a text.
    """
    import gguf

    from llm_assets.model.checkpoint import load_checkpoint
    from llm_assets.model.gguf_file import in_gguf_layout

    if "gguf" not in export.record.stats:
        refusal = export.record.stats.get("gguf_refused")
        return CheckOutcome(True, f"no GGUF file: {refusal}" if refusal else "the recipe asks for no GGUF file")
    model, encoding = load_checkpoint(checkpoint.path)
    reader = gguf.GGUFReader(export.file(GGUF))
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[model.shape.architecture.upper()], model.shape.layers)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    failures: list[dict[str, Any]] = []
    for name, weight in model.state_dict().items():
        exported = tensors.get(names.get_name(name, try_suffixes=(".weight", ".bias")))
        problem = _tensor_problem(in_gguf_layout(name, weight.float().numpy(), model.shape), exported)
        if problem:
            failures.append({"tensor": name, "problem": problem})
    tokens = reader.fields["tokenizer.ggml.tokens"]
    if len(tokens.data) < encoding.size:
        problem = f"{len(tokens.data)} tokens, the tokenizer has {encoding.size}"
        failures.append({"tensor": "vocabulary", "problem": problem})
    config = json.loads(export.file(f"{FOLDER}/config.json").read_text())
    for kind, name in {"bos": "bos_token_id", "eos": "eos_token_id", "padding": "pad_token_id"}.items():
        in_file = reader.fields[f"tokenizer.ggml.{kind}_token_id"].contents()
        if in_file != config[name]:
            failures.append({"tensor": name, "problem": f"{in_file}, in config.json {config[name]}"})
    summary = f"{len(tensors)} tensors and {len(tokens.data):,} tokens are the checkpoint's"
    return CheckOutcome(not failures, summary, failures[:10], {"tensors": len(tensors), "tokens": len(tokens.data)})


def compare_with_llama_cpp(export: Artifact, checkpoint: Artifact, pages: list[str]) -> CheckOutcome:
    """Check that llama.cpp reads pages as the same tokens, by the splitting that the GGUF file names."""
    from llm_assets.model.encoding import Encoding
    from llm_assets.model.llama_cpp_splitting import in_llama_cpp

    if "gguf" not in export.record.stats:
        return CheckOutcome(True, "there is no GGUF file")
    encoding = Encoding.load(checkpoint.path)
    of_llama_cpp = in_llama_cpp(encoding)
    failures = [
        {"text": text[:100], "first_difference": _first_difference(encoding.encode(text), of_llama_cpp.encode(text))}
        for text in pages
        if encoding.encode(text) != of_llama_cpp.encode(text)
    ]
    summary = f"{len(pages)} pages: {len(failures) or 'none'} with other tokens in llama.cpp"
    return CheckOutcome(not failures, summary, failures[:10], {"pages": len(pages), "differ": len(failures)})


def _tensor_problem(values: Any, exported: Any) -> str:
    """What is wrong with an exported tensor; empty if it holds the weight's values in the file's precision."""
    import numpy as np

    if exported is None:
        return "missing"
    rounded = values.astype(exported.data.dtype).astype(np.float32)
    is_same = np.array_equal(np.asarray(exported.data, np.float32).reshape(values.shape), rounded)
    return "" if is_same else "other values"


def texts_to_compare(conversations: Artifact, corpus: Iterable[Artifact]) -> tuple[list[str], list[str]]:
    """The first questions of the evaluation and the first pages of the corpus, `TEXTS` of each at most."""
    tables = [read_table(path, columns=["question"]) for path in conversations.table("evaluation")]
    questions = pl.concat(tables)["question"].unique(maintain_order=True).head(TEXTS).to_list()
    scans = [scan_table(path).select("text") for artifact in corpus for path in sorted(artifact.table("text"))]
    pages = pl.concat(scans).head(TEXTS).collect()["text"].to_list() if scans else []
    return questions, pages


def show(export: Artifact) -> dict[str, str]:
    """The model card and how to load the files, in Markdown for Dagster."""
    folder: Path = export.path
    card = export.view(CARD)
    use = (
        "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n"
        f'model = AutoModelForCausalLM.from_pretrained("{folder / FOLDER}")\n```\n\n'
        f"```\nllama-cli -m {export.path / GGUF} -cnv\n```"
    )
    return {**({"card": card.read_text()} if card.is_file() else {}), "use": use}


MODEL_EXPORT = Stage(
    name="model_export",
    group="release",
    description="The assistant as a Hugging Face folder and a GGUF file, with a model card that lists its lineage.",
    kinds=("huggingface", "safetensors"),
    build=build_model_export,
    config=lambda recipe, crawl: ModelExportConfig(
        gguf=recipe.model_export.gguf,
        assistant=recipe.conversations.name,
        maker=recipe.conversations.maker,
        simulated=recipe.human_rankings.simulated is not None,
        languages=languages_of(recipe.language.targets),
        license=recipe.model_export.license,
    ),
    code_version="3",
    inputs=(*LINEAGE, *EVALUATIONS, BENCHMARKS),
    optional_inputs=tuple(name for name in OPTIONAL if name in (*LINEAGE, *EVALUATIONS, BENCHMARKS)),
    crawls=lambda recipe: recipe.trained_crawls(),
    checks=(
        Check(
            "same_in_transformers",
            "transformers gives the same tokens and logits from the exported folder.",
            examine_transformers,
            blocking=True,
        ),
        Check(
            "same_in_gguf",
            "The GGUF file holds the checkpoint's weights and vocabulary, and names the same special tokens.",
            examine_gguf,
            blocking=True,
        ),
        Check(
            "same_tokens_in_llama_cpp",
            "llama.cpp splits pages into the same tokens; otherwise the model card says which texts it does not.",
            examine_llama_cpp_tokens,
        ),
    ),
    views=(View(CARD, draw_card, (model_card.TEMPLATE,)),),
    registered_folder=FOLDER,
    show=show,
    libraries=("torch", "safetensors", "gguf"),
)
