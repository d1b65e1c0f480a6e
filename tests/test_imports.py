"""Imports follow the data: stages import shared rooms, these import lower ones, and only the top knows Dagster."""

import ast
import sys
from pathlib import Path

import pytest

import llm_assets

ROOT = Path(llm_assets.__file__).parent
# From the lowest on: each imports those before it alone. `model` comes early because it imports nothing of the project.
SHARED = (
    "settings",
    "sql",
    "warc",
    "artifacts",
    "model",
    "recipes",
    "corpus_pages",
    "report",
    "compute",
    "tools",
    "training",
    "evaluation",
    "dialogue",
    "sample_web",
)
STAGES = ("web", "curation", "tokens", "pretraining", "finetuning", "reinforcement", "preference", "release")
TOP = ("graph", "definitions", "cli")
MODEL_MAY = {"torch", "numpy", "safetensors", "tiktoken"}
EXPORTS_MAY = {"model/huggingface.py": {"transformers"}, "model/gguf_file.py": {"gguf"}}


def imports(path: Path) -> set[str]:
    """Dotted names of all that a module imports, inside functions too; of ``from a import b``, ``a.b``."""
    package = ("llm_assets", *path.relative_to(ROOT).parent.parts)
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def room(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def broken(path: Path, name: str) -> str | None:
    """The rule that an import breaks."""
    own, file = room(path), path.relative_to(ROOT).as_posix()
    top, *rest = name.split(".")
    if own in TOP or own == "__init__":
        return None
    if own == "model" and top != "llm_assets":
        allowed = sys.stdlib_module_names | MODEL_MAY | EXPORTS_MAY.get(file, set())
        return None if top in allowed else "the model needs torch, numpy, safetensors and tiktoken alone"
    if top in ("dagster", "resources"):
        return "only the top imports Dagster and its resources"
    if top != "llm_assets" or not rest or rest[0] in (own, "__version__"):
        return None
    other = rest[0]
    if other in TOP:
        return "what is below the top imports nothing of it"
    if own in SHARED:
        if other not in SHARED:
            return "shared rooms import no stage"
        return None if SHARED.index(other) < SHARED.index(own) else "shared rooms import lower ones alone"
    if other in SHARED:
        return None
    if rest[1:2] != ["schemas"]:
        return "of another stage, only its schemas"
    return None if STAGES.index(other) < STAGES.index(own) else "data flows one way"


def test_every_room_has_a_place():
    rooms = {room(path) for path in ROOT.rglob("*.py")} - {"__init__"}
    assert rooms == {*SHARED, *STAGES, *TOP}


@pytest.mark.parametrize("name", [*SHARED, *STAGES])
def test_imports_follow_the_data(name):
    paths = [path for path in sorted(ROOT.rglob("*.py")) if room(path) == name]
    found = {
        f"{path.relative_to(ROOT)} imports {imported}": rule
        for path in paths
        for imported in sorted(imports(path))
        if (rule := broken(path, imported))
    }
    assert paths and not found


@pytest.mark.parametrize(
    ("file", "imported", "rule"),
    [
        ("tokens/tokenizer.py", "llm_assets.curation.text_buffers.batches", "only its schemas"),
        ("web/raw_warc.py", "llm_assets.curation.schemas.Rejects", "one way"),
        ("training/loop.py", "llm_assets.pretraining.schemas.Facts", "no stage"),
        ("training/loop.py", "llm_assets.dialogue.packing.pack", "lower ones"),
        ("artifacts/store.py", "dagster", "only the top imports Dagster"),
        ("finetuning/sft_checkpoint_process.py", "llm_assets.graph.GRAPH", "nothing of it"),
        ("model/chat.py", "polars", "alone"),
        ("model/chat.py", "llm_assets.recipes.Recipe", "lower ones"),
    ],
)
def test_a_wrong_direction_is_seen(file, imported, rule):
    assert rule in (broken(ROOT / file, imported) or "")


@pytest.mark.parametrize(
    ("file", "imported"),
    [
        ("finetuning/sft_checkpoint_process.py", "llm_assets.pretraining.schemas.Facts"),
        ("finetuning/sft_checkpoint_process.py", "llm_assets.training.loop.train"),
        ("model/huggingface.py", "transformers"),
        ("compute/process.py", "dagster_pipes.open_dagster_pipes"),
    ],
)
def test_the_right_direction_is_free(file, imported):
    assert broken(ROOT / file, imported) is None
