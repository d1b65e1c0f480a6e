"""Low-rank adapters (LoRA; Hu et al., arXiv:2106.09685): W x + (alpha / rank) B A x, where W is frozen.

A checkpoint of an adapted model holds the merged weights, W + (alpha / rank) B A, so that everything that reads a
checkpoint reads it like any other, and beside them the adapters alone, in the files and under the names of `peft`.

Shapes: R rank, I features in, O features out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from .shape import ADAPTER_FILES, Adapters, ModelError
from .sharded import divided_like, whole
from .transformer import Conv1D, Transformer

ADAPTER_CONFIG, ADAPTER_WEIGHTS = ADAPTER_FILES
PEFT_PREFIX = "base_model.model."  # of all names in peft's files


def adaptable(model: Transformer) -> list[tuple[str, nn.Module]]:
    """The layers that adapters can be added to, by name: those whose matrices Muon would train."""
    paths = [name.removesuffix(".weight") for name, _ in model.matrices() if name.endswith(".weight")]
    return [(path, model.get_submodule(path)) for path in paths]


def add_adapters(model: Transformer, adapters: Adapters) -> None:
    """Freeze the model, and add trainable adapters to the target layers.

    A is drawn from a uniform distribution over ±1 / sqrt(I) (Kaiming's, as in the authors' code), B is 0. Raises
    ModelError if a target is no layer of the model.
    """
    layers = adaptable(model)
    names = list(dict.fromkeys(path.rpartition(".")[2] for path, _ in layers))
    targets = names if adapters.targets is None else list(adapters.targets)
    for target in targets:
        if target not in names:
            raise ModelError(f"lora.targets: the model has no layer {target!r}; available: {', '.join(names)}")
    generator = torch.Generator().manual_seed(adapters.seed)
    model.requires_grad_(False)
    for path, layer in layers:
        if path.rpartition(".")[2] in targets:
            _adapt(layer, adapters, generator)
    model.adapters = replace(adapters, targets=tuple(sorted(targets)))


def _adapt(layer: nn.Module, adapters: Adapters, generator: torch.Generator) -> None:
    """Add an adapter to one layer: its parameters, and a hook that adds its product to what the layer gives."""
    outputs, inputs = layer.weight.T.shape if isinstance(layer, Conv1D) else layer.weight.shape
    bound = 1 / math.sqrt(inputs)
    first = torch.empty(adapters.rank, inputs).uniform_(-bound, bound, generator=generator)
    device = layer.weight.device
    layer.lora_A = nn.Parameter(first.to(device))
    layer.lora_B = nn.Parameter(torch.zeros(outputs, adapters.rank, device=device))
    layer.register_forward_hook(partial(_add_product, adapters.scale))


def _add_product(scale: float, layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    """The layer's output plus the scaled product of its adapter."""
    return output + F.linear(F.linear(inputs[0], layer.lora_A), layer.lora_B) * scale


def adapters_of(model: nn.Module) -> Adapters | None:
    """The adapters that were added to a model; None if there are none."""
    return getattr(model, "adapters", None)


def _adapted(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The layers with adapters, by name."""
    return ((name, layer) for name, layer in model.named_modules() if hasattr(layer, "lora_A"))


def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of the model, on the CPU, with its adapters merged into the weights, computed in fp32."""
    state = {name: whole(tensor.detach()).to("cpu") for name, tensor in model.state_dict().items()}
    adapters = adapters_of(model)
    if adapters is None:
        return state
    for name, layer in _adapted(model):
        product = adapters.scale * (state.pop(f"{name}.lora_B").float() @ state.pop(f"{name}.lora_A").float())
        change = product.T if isinstance(layer, Conv1D) else product
        state[f"{name}.weight"] = state[f"{name}.weight"].float() + change
    return state


def adapter_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The adapters by peft's names, on the CPU in fp32."""
    return {
        f"{PEFT_PREFIX}{name}.{matrix}.weight": whole(getattr(layer, matrix).detach())
        .to("cpu", torch.float32)
        .contiguous()
        for name, layer in _adapted(model)
        for matrix in ("lora_A", "lora_B")
    }


def adapter_config(model: nn.Module, adapters: Adapters) -> str:
    """``adapter_config.json`` of the model's adapters, which belong to the model as it was before the training."""
    is_transposed = any(isinstance(layer, Conv1D) for _, layer in _adapted(model))
    return json.dumps(peft_config(adapters, is_transposed), indent=1) + "\n"


def peft_config(adapters: Adapters, is_transposed: bool) -> dict[str, Any]:
    """The adapters as peft's LoraConfig. is_transposed: weights are stored as (in, out), as in GPT-2."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": None,
        "r": adapters.rank,
        "lora_alpha": adapters.alpha,
        "lora_dropout": 0.0,
        "target_modules": list(adapters.targets or ()),
        "bias": "none",
        "fan_in_fan_out": is_transposed,
        "init_lora_weights": True,
        "inference_mode": True,
    }


def load_adapters(model: nn.Module, folder: Path) -> None:
    """Load the adapters of a training checkpoint into a model that has such adapters. Raises ModelError."""
    path = folder / ADAPTER_WEIGHTS
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"adapters {path}: {error}") from error
    expected: dict[str, nn.Parameter] = {}
    for name, layer in _adapted(model):
        for matrix in ("lora_A", "lora_B"):
            expected[f"{PEFT_PREFIX}{name}.{matrix}.weight"] = getattr(layer, matrix)
    wrong = sorted(
        name
        for name in expected.keys() | tensors.keys()
        if name not in tensors or name not in expected or tensors[name].shape != expected[name].shape
    )
    if wrong:
        raise ModelError(f"adapters {path}: {wrong[0]} does not fit the adapters of this training")
    with torch.no_grad():
        for name, parameter in expected.items():
            parameter.copy_(divided_like(tensors[name], parameter))
