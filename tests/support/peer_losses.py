"""What TRL and peft compute on small models: the losses of DPO and IPO, and gradients of low-rank adapters.

    python -m tests.support.peer_losses

writes tests/training/peer_losses.json, with trl, peft, accelerate and datasets installed, which the tests do not need.
Models, adapters and tokens are drawn by seed, so that a test draws the same ones.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch

from llm_assets.model import IGNORE
from llm_assets.model.checkpoint import save_model
from llm_assets.model.huggingface import export
from llm_assets.model.lora import add_adapters
from llm_assets.model.shape import Adapters
from llm_assets.model.transformer import Transformer
from llm_assets.training.preference_pairs import AnswerPair, pad_answers
from tests.support.tiny_models import ENCODING, SHAPES, random_model

FIXTURE = Path(__file__).parent.parent / "training" / "peer_losses.json"
TRL_NAMES = {"dpo": "sigmoid", "dpo_norm": "sigmoid_norm", "ipo": "ipo"}
BETA = 0.1
LENGTHS = ((6, 9, 4), (3, 5, 12), (8, 7, 7), (5, 2, 20))  # of the prompt, the chosen and the rejected answer
TARGETS = {"plain": ("q_proj", "v_proj", "down_proj"), "grouped and tied": None, "gpt2": ("c_attn", "c_proj")}


def answer_pairs() -> list[AnswerPair]:
    """Pairs of random tokens."""
    generator = torch.Generator().manual_seed(3)

    def tokens(length: int) -> list[int]:
        return torch.randint(0, 400, (length,), generator=generator).tolist()

    pairs = []
    for prompt, chosen, rejected in LENGTHS:
        first = tokens(prompt)
        pairs.append(AnswerPair([*first, *tokens(chosen)], [*first, *tokens(rejected)], prompt))
    return pairs


def padded_answers() -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and answers of the pairs, as `preference_pairs.pad_answers` gives them."""
    pairs = answer_pairs()
    conversations = [side for pair in pairs for side in (pair.chosen, pair.rejected)]
    padded = pad_answers(conversations, [pair.prompt for pair in pairs for _ in range(2)])
    return tuple(torch.from_numpy(array) for array in padded)  # type: ignore[return-value]


def adapted_model(name: str) -> Transformer:
    """A model with adapters of which both matrices are random, as in the middle of training."""
    model = random_model(SHAPES[name])
    adapt_randomly(model, name)
    return model


def adapt_randomly(model: Transformer, name: str) -> None:
    """Add such adapters to a model of the shape `name`."""
    add_adapters(model, Adapters(rank=4, alpha=8.0, targets=TARGETS[name], seed=5))
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.empty(parameter.shape).normal_(0, 0.05, generator=generator))


def trl_losses() -> dict[str, dict[str, float]]:
    """By model and loss, the loss of TRL's DPOTrainer on `answer_pairs`, and the norm of its gradient."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    losses: dict[str, dict[str, float]] = {}
    for name in SHAPES:
        with tempfile.TemporaryDirectory() as place:
            policy, reference = Path(place) / "policy", Path(place) / "reference"
            export(random_model(SHAPES[name]), ENCODING, policy)
            export(random_model(SHAPES[name], seed=2), ENCODING, reference)
            losses[name] = {}
            for loss, trl_name in TRL_NAMES.items():
                model = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
                config = DPOConfig(
                    output_dir=place, beta=BETA, loss_type=[trl_name], report_to=[], use_cpu=True, bf16=False
                )
                trainer = DPOTrainer(
                    model,
                    AutoModelForCausalLM.from_pretrained(reference, dtype=torch.float32),
                    args=config,
                    train_dataset=dataset(),
                    processing_class=AutoTokenizer.from_pretrained(policy),
                )
                model.eval()
                value = trainer.compute_loss(model, trl_batch())
                value.backward()
                norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9)
                losses[name][loss], losses[name][f"{loss} gradient"] = float(value), float(norm)
    return losses


def dataset():
    """A data set that the trainer's constructor accepts; the losses are those of `trl_batch`."""
    from datasets import Dataset

    return Dataset.from_list([{"prompt": "Who?", "chosen": " A baker.", "rejected": " A miller."}])


def trl_batch() -> dict[str, torch.Tensor]:
    """`answer_pairs` as TRL's collator gives them: all chosen answers, then all rejected ones."""
    pairs = answer_pairs()
    rows = [(pair.chosen, pair.prompt) for pair in pairs] + [(pair.rejected, pair.prompt) for pair in pairs]
    width = max(len(tokens) for tokens, _ in rows)
    batch = {name: torch.zeros(len(rows), width, dtype=torch.long) for name in ("input_ids", "attention_mask")}
    batch["completion_mask"] = torch.zeros(len(rows), width, dtype=torch.long)
    for row, (tokens, prompt) in enumerate(rows):
        batch["input_ids"][row, : len(tokens)] = torch.tensor(tokens)
        batch["attention_mask"][row, : len(tokens)] = 1
        batch["completion_mask"][row, prompt : len(tokens)] = 1
    return batch


def peft_losses() -> dict[str, dict[str, float]]:
    """By model, the loss on the answers of `answer_pairs` with adapters that peft loads from our files, and by
    parameter the norm of its gradient.
    """
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    results = {}
    tokens, answers = padded_answers()
    for name in SHAPES:
        with tempfile.TemporaryDirectory() as place:
            base, adapter = Path(place) / "base", Path(place) / "adapter"
            adapter.mkdir()
            export(random_model(SHAPES[name]), ENCODING, base)
            save_model(adapted_model(name), adapter)
            model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
            model = PeftModel.from_pretrained(model, adapter, is_trainable=True).eval()
            logits = model(input_ids=tokens).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), answers.flatten(), ignore_index=IGNORE)
            loss.backward()
            results[name] = {"loss": float(loss), "logits": float(logits.abs().sum())}
            for parameter_name, parameter in model.named_parameters():
                if parameter.grad is not None:
                    results[name][parameter_name.replace(".default", "")] = float(parameter.grad.norm())
    return results


def main() -> None:
    FIXTURE.write_text(json.dumps({"trl": trl_losses(), "peft": peft_losses()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
