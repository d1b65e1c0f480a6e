"""Checkpoints: a model as a folder (shape, weights, tokenizer), and the state from which a training run resumes.

A folder gets its name once it is complete: it is written under a temporary name, synced, and renamed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .encoding import Encoding
from .lora import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    adapter_config,
    adapter_tensors,
    adapters_of,
    load_adapters,
    merged_state,
)
from .shape import ModelError, ModelShape
from .sharded import divided_like, whole
from .transformer import Transformer

WEIGHTS, SHAPE, STATE, OPTIMISER = "model.safetensors", "shape.json", "state.json", "optimiser.safetensors"


Model = TypeVar("Model", bound=nn.Module)  # built from its shape: a Transformer or a RewardModel


class CheckpointError(ModelError):
    """A checkpoint that is missing, broken, or of another shape or tokenizer; the message names the folder or file."""


def weights_of(model: nn.Module, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """The weights on the CPU, by transformers' parameter names; adapters are merged."""
    return {name: tensor.to(dtype).contiguous() for name, tensor in merged_state(model).items()}


@dataclass(frozen=True)
class Snapshot:
    """The files of a checkpoint in memory, on the CPU. tensors, texts: by name of the file."""

    tensors: Mapping[str, Mapping[str, Tensor]]
    texts: Mapping[str, str]

    def write(self, folder: Path) -> None:
        """Write all files into an existing folder."""
        for name, tensors in self.tensors.items():
            # Weights are marked as transformers marks them.
            save_file(dict(tensors), folder / name, metadata=None if name == OPTIMISER else {"format": "pt"})
        for name, text in self.texts.items():
            (folder / name).write_text(text)


def model_snapshot(model: Any) -> Snapshot:
    """The weights in fp32 and the shape, and a copy of adapters by themselves, in the files that peft loads."""
    tensors, texts = {WEIGHTS: weights_of(model)}, {SHAPE: model.shape.dump()}
    adapters = adapters_of(model)
    if adapters is not None:
        tensors[ADAPTER_WEIGHTS], texts[ADAPTER_CONFIG] = adapter_tensors(model), adapter_config(model, adapters)
    return Snapshot(tensors, texts)


def save_model(model: Any, folder: Path) -> None:
    """Write the files of `model_snapshot`."""
    model_snapshot(model).write(folder)


def load_shape(folder: Path) -> ModelShape:
    """The shape of a checkpoint's model. Raises CheckpointError."""
    try:
        return ModelShape.load((folder / SHAPE).read_text(), str(folder / SHAPE))
    except OSError as error:
        raise CheckpointError(f"checkpoint {folder}: {SHAPE}: {error.strerror}") from error


def load_model(
    folder: Path, device: torch.device | str = "cpu", shape: ModelShape | None = None, kind: type[Model] = Transformer
) -> Model:  # type: ignore[assignment]
    """The model of a checkpoint folder, in evaluation mode.

    kind: the model's class. Raises CheckpointError if the model is missing or broken, or if its shape is not `shape`.
    """
    stored = load_shape(folder)
    if shape is not None and stored != shape:
        other = ", ".join(
            f"{name} {getattr(stored, name)} (expected {getattr(shape, name)})"
            for name in ModelShape.__dataclass_fields__
            if getattr(stored, name) != getattr(shape, name)
        )
        raise CheckpointError(f"checkpoint {folder} has another shape: {other}")
    state = _load(folder / WEIGHTS, str(device))
    with torch.device("meta"):
        model = kind(stored)
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if expected.keys() != state.keys() or any(state[name].shape != size for name, size in expected.items()):
        wrong = sorted(
            name
            for name in expected.keys() | state.keys()
            if name not in state or name not in expected or state[name].shape != expected[name]
        )
        raise CheckpointError(
            f"checkpoint {folder}: {WEIGHTS} does not fit {SHAPE}: {wrong[0]}"
            + (f" and {len(wrong) - 1} more" if len(wrong) > 1 else "")
        )
    model = kind(stored)  # buffers are computed, not stored
    model.load_state_dict(state)
    return model.to(device).eval()


def load_checkpoint(folder: Path, device: torch.device | str = "cpu") -> tuple[Transformer, Encoding]:
    """Model and tokenizer of a checkpoint folder. Raises CheckpointError, TokenizerError."""
    encoding = Encoding.load(folder)
    model = load_model(folder, device)
    if encoding.size != model.shape.vocabulary:
        raise CheckpointError(
            f"checkpoint {folder}: the tokenizer has {encoding.size:,} ids, but the model's vocabulary has "
            f"{model.shape.vocabulary:,}"
        )
    return model, encoding


def _load(path: Path, device: str) -> dict[str, Tensor]:
    try:
        return load_file(path, device=device)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"checkpoint file {path}: {error}") from error


@contextmanager
def whole_folder(final: Path) -> Iterator[Path]:
    """A temporary folder to write into, which is renamed to `final` once its files are on the disk."""
    temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for path in [*temporary.iterdir(), temporary]:
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)
        shutil.rmtree(final, ignore_errors=True)
        os.rename(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@dataclass(frozen=True)
class TrainingState:
    """The progress of a training run. step: steps done. values: whatever else the training keeps, as JSON."""

    step: int
    values: dict[str, Any]


def steps_saved(folder: Path) -> list[tuple[int, Path]]:
    """The complete training checkpoints of a folder with their steps, oldest first."""
    checkpoints = [
        (int(path.name.removeprefix("step-")), path)
        for path in folder.glob("step-*")
        if (path / STATE).exists() and path.name.removeprefix("step-").isdigit()
    ]
    return sorted(checkpoints)


def training_snapshot(
    model: Any, optimisers: dict[str, torch.optim.Optimizer], names: Callable[[Tensor], str], state: TrainingState
) -> Snapshot:
    """The model, the optimisers and random states, and `state` as it is now. names: from a parameter to its name.

    On a CPU the tensors are the model's own, so that the snapshot has to be written before they change. If the model is
    divided among processes, all of them call this, and all get the whole.
    """
    tensors: dict[str, Tensor] = {"random.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    for name, optimiser in optimisers.items():
        for parameter, values in optimiser.state.items():
            for key, value in values.items():
                tensors[f"{name}.{names(parameter)}.{key}"] = whole(torch.as_tensor(value).detach()).cpu().contiguous()
    of_model = model_snapshot(model)
    text = json.dumps({"step": state.step, "values": state.values})
    return Snapshot({**of_model.tensors, OPTIMISER: tensors}, {**of_model.texts, STATE: text})


def save_training(folder: Path, snapshot: Snapshot, step: int, checkpoints_kept: int) -> None:
    """Write a training run's snapshot as ``step-<n>``, and delete all but the newest checkpoints."""
    with whole_folder(folder / f"step-{step:08d}") as temporary:
        snapshot.write(temporary)
    for _, old in steps_saved(folder)[:-checkpoints_kept]:
        shutil.rmtree(old)


def load_training(
    folder: Path, model: Any, optimisers: dict[str, torch.optim.Optimizer], names: Callable[[Tensor], str]
) -> TrainingState | None:
    """Load the newest complete checkpoint into model and optimisers; None if there is none. Raises CheckpointError."""
    saved = steps_saved(folder)
    if not saved:
        return None
    _, path = saved[-1]
    device = model.device
    if adapters_of(model) is None:
        saved_weights = load_model(path, "cpu", model.shape, type(model)).state_dict()
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                tensor.copy_(divided_like(saved_weights[name], tensor))
    else:  # the other weights are frozen, and as they were at the start
        load_adapters(model, path)
    state = json.loads((path / STATE).read_text())
    try:
        with safe_open(path / OPTIMISER, "pt") as file:
            keys = set(file.keys())
            for name, optimiser in optimisers.items():
                for group in optimiser.param_groups:
                    for parameter in group["params"]:
                        prefix = f"{name}.{names(parameter)}."
                        values = {
                            key.removeprefix(prefix): file.get_tensor(key) for key in keys if key.startswith(prefix)
                        }
                        # AdamW counts its steps in a tensor that stays on the CPU, unless it is fused or capturable.
                        optimiser.state[parameter] = {
                            key: _placed(value, parameter, device) if key != "step" or group.get("fused") else value
                            for key, value in values.items()
                        }
            torch.set_rng_state(file.get_tensor("random.cpu"))
            if torch.cuda.is_available() and "random.cuda" in keys:
                torch.cuda.set_rng_state(file.get_tensor("random.cuda"))
    except SafetensorError as error:
        raise CheckpointError(f"checkpoint file {path / OPTIMISER}: {error}") from error
    return TrainingState(state["step"], state["values"])


def _placed(value: Tensor, parameter: Tensor, device: torch.device) -> Tensor:
    """A value of an optimiser's state on the device, divided as its parameter is if it has the parameter's size."""
    return divided_like(value, parameter) if value.shape == parameter.shape else value.to(device)
