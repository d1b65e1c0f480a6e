"""The files of an exported model: for transformers, for llama.cpp, and for Ollama."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_assets.model.shape import ADAPTER_FILES

if TYPE_CHECKING:
    from llm_assets.model.encoding import Encoding
    from llm_assets.model.transformer import Transformer

GGUF = "model.gguf"
MODELFILE = "Modelfile"
ADAPTERS = "adapters"
# Ollama renders prompts with Go's templates and puts <|bos|> before them, as the GGUF file says
# (https://github.com/ollama/ollama/blob/main/docs/modelfile.md).
_TURN = "<|{role}_start|> {{{{ .Content }}}}<|{role}_end|>"
_OLLAMA = (
    'FROM ./{gguf}\nTEMPLATE """{{{{- range .Messages }}}}'
    '{{{{- if eq .Role "system" }}}}{system}{{{{- else if eq .Role "user" }}}}{user}'
    '{{{{- else if eq .Role "assistant" }}}}{assistant}{{{{- end }}}}{{{{- end }}}}<|assistant_start|>"""\n'
    "PARAMETER stop <|assistant_end|>\nPARAMETER num_ctx {context}\n"
)


@dataclass(frozen=True)
class ExportOptions:
    """How a model is exported.

    name: of the model. chat: whether it was trained on conversations. gguf: precision of the GGUF file, or None for no
    file. dtype: of the weights for transformers (fp32, bf16, fp16). languages: ISO 639 codes of those it was trained
    on. license: as Hugging Face names it, or None.
    """

    name: str
    chat: bool
    gguf: str | None = "f16"
    dtype: str = "fp32"
    languages: tuple[str, ...] = ()
    license: str | None = None


def write_files(
    model: Transformer, encoding: Encoding, folder: Path, options: ExportOptions
) -> tuple[list[str], dict[str, Any]]:
    """Write all formats into one folder; returns the names of the files, and what a record keeps of the GGUF file.

    That is `gguf`: its tensors and bytes, and whether llama.cpp splits every text like the encoding; or `gguf_refused`:
    why llama.cpp could not run the model.
    """
    from llm_assets.model.gguf_file import GgufOptions, refusal_reason, write_gguf
    from llm_assets.model.huggingface import export

    names = export(model, encoding, folder, options.chat, options.dtype)
    if options.gguf is None:
        return names, {}
    if (reason := refusal_reason(model.shape)) is not None:
        return names, {"gguf_refused": reason}
    described = GgufOptions(options.name, options.gguf, options.chat, options.languages, options.license)
    written = write_gguf(model, encoding, folder / GGUF, described)
    names.append(GGUF)
    if options.chat:
        (folder / MODELFILE).write_text(modelfile(model.shape.context))
        names.append(MODELFILE)
    return names, {"gguf": {name: int(value) for name, value in written.items()}}


def copy_adapters(checkpoints: Mapping[str, Path], folder: Path) -> list[str]:
    """Copy adapters in peft's format into ``adapters/<model>/``; returns the files' names.

    checkpoints: by model, folders of those that were trained by adapters.
    """
    names = []
    for model, checkpoint in checkpoints.items():
        (folder / ADAPTERS / model).mkdir(parents=True, exist_ok=True)
        for file in ADAPTER_FILES:
            names.append(f"{ADAPTERS}/{model}/{file}")
            shutil.copyfile(checkpoint / file, folder / names[-1])
    return names


def modelfile(context: int) -> str:
    """Ollama's description of a chat model; it does not read the template of a GGUF file that it does not know.

    context: in tokens.
    """
    turns = {role: _TURN.format(role=role) for role in ("system", "user", "assistant")}
    return _OLLAMA.format(gguf=GGUF, context=context, **turns)
