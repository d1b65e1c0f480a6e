"""Reads the weights of a published model: safetensors in one file or in shards, with transformers' tensor names.

Tokens that the tokenizer adds get the mean of the embeddings that the model has, so that the model neither expects nor
avoids them (Hewitt, "Initializing New Word Embeddings for Pretrained Language Models", 2021).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .encoding import Encoding
from .published_config import CONFIG, INDEX, PublishedModelError, model_files, read_json, read_shape, shape_with
from .shape import ModelShape
from .transformer import Transformer

DTYPES = {"F32", "F16", "BF16"}  # of safetensors, which are read as fp32 without loss
# Tensors that follow from the configuration: masks of GPT-2, wavelengths of rotary positions.
_DERIVED = re.compile(r"\.(attn\.(masked_)?bias|rotary_emb\.inv_freq)$")
HEAD = "lm_head.weight"


def load_published(folder: Path, encoding: Encoding, context: int | None = None) -> Transformer:
    """The model of a published folder, in evaluation mode, with rows for the tokens that the encoding adds.

    encoding: read from the same folder by `read_tokenizer`. context: as for `read_shape`. Raises PublishedModelError.
    """
    published = read_shape(folder, context)
    shape = shape_with(published, encoding.size)
    weights = _Weights(folder, published, context)
    model = Transformer(shape)
    parameters = model.state_dict()
    for name, parameter in parameters.items():
        if name == HEAD or name.endswith((".embed_tokens.weight", ".wte.weight")):
            embedding = weights.read(name, (published.rows, published.width))
            parameter.copy_(with_added_rows(embedding, shape.rows, encoding))
        else:
            parameter.copy_(weights.read(name, tuple(parameter.shape)))
    weights.check_names(parameters)
    return model.eval()


def with_added_rows(embedding: Tensor, rows: int, encoding: Encoding) -> Tensor:
    """An embedding (V, D) with `rows` rows, in which rows of added tokens and new rows are the mean of the others.

    Only tokens that were added to the published tokenizer count as such, as `encoding.new_ids` says.
    """
    added = torch.tensor(sorted(encoding.new_ids), dtype=torch.long)
    if not len(added) and rows == len(embedding):
        return embedding
    is_known = torch.zeros(rows, dtype=torch.bool)
    is_known[: min(encoding.size, len(embedding))] = True
    is_known[added] = False
    grown = torch.cat([embedding, embedding.new_empty(rows - len(embedding), embedding.shape[1])])
    mean = grown[is_known].double().mean(0).to(grown.dtype)
    grown[added] = mean
    grown[len(embedding) :] = mean
    return grown


class _Weights:
    """The tensors of a folder, by the names of `Transformer`, read one at a time."""

    def __init__(self, folder: Path, shape: ModelShape, context: int | None):
        self.folder, self.shape, self.context = folder, shape, context
        files = model_files(folder)
        self.index = read_json(files[INDEX])["weight_map"] if INDEX in files else None
        self.files: dict[str, tuple[Path, str]] = {}  # by our name: the file, and the tensor's name in it
        for path in files.values():
            if path.suffix == ".safetensors":
                self._list(path)
        self._check_index()

    def _list(self, path: Path) -> None:
        try:
            with safe_open(path, "pt") as file:
                names = list(file.keys())
        except (OSError, SafetensorError) as error:
            raise PublishedModelError(f"{path}: not a safetensors file: {error}") from error
        for name in names:
            ours = self._our_name(name)
            if ours in self.files:
                raise PublishedModelError(f"{path}: {name} is in {self.files[ours][0].name} as well")
            self.files[ours] = path, name

    def _our_name(self, name: str) -> str:
        """OpenAI's layout of GPT-2 has no prefix."""
        has_prefix = name.startswith("transformer.") or name == HEAD
        return name if self.shape.architecture != "gpt2" or has_prefix else f"transformer.{name}"

    def _check_index(self) -> None:
        """Raise PublishedModelError if a shard lacks a tensor that the index has in it."""
        for name, shard in (self.index or {}).items():
            path, _ = self.files.get(self._our_name(name), (None, name))
            if path is None or path.name != shard:
                raise PublishedModelError(f"{self.folder / INDEX}: weight_map: {name} is not in {shard}")

    def read(self, name: str, expected: tuple[int, ...]) -> Tensor:
        """A tensor in fp32. Raises PublishedModelError if it is missing, of another shape, or not of floats."""
        if name not in self.files:
            where = self.folder / INDEX if self.index is not None else self.folder
            raise PublishedModelError(f"{where}: tensor {name} is missing, which {CONFIG} asks for")
        path, name_in_file = self.files[name]
        try:
            with safe_open(path, "pt") as file:
                tensor = file.get_slice(name_in_file)
                dtype, size = tensor.get_dtype(), tuple(tensor.get_shape())
                values = tensor[:] if dtype in DTYPES else None
        except (OSError, SafetensorError) as error:
            raise PublishedModelError(f"{path}: {name_in_file}: {error}") from error
        if values is None:
            raise PublishedModelError(
                f"{path}: {name_in_file}: dtype {dtype}; only {', '.join(sorted(DTYPES))} are read (a quantised model "
                "must be published in full precision too)"
            )
        if name.endswith(".wpe.weight") and self.context is not None and size[0] >= self.context:
            values, size = values[: self.context], (self.context, *size[1:])  # learnt positions of a shorter context
        if size != expected:
            raise PublishedModelError(f"{path}: {name_in_file}: shape {size}, but {CONFIG} makes it {expected}")
        return values.float()

    def check_names(self, used: Mapping[str, Tensor]) -> None:
        """Raise PublishedModelError if the folder has a tensor that the model has no place for."""
        for name, (path, name_in_file) in self.files.items():
            is_tied_head = name == HEAD and self.shape.tied
            if name not in used and not is_tied_head and not _DERIVED.search(name):
                raise PublishedModelError(
                    f"{path}: tensor {name_in_file} has no place in a {self.shape.architecture} model as {CONFIG} "
                    "describes it"
                )


__all__ = ["load_published", "with_added_rows"]
