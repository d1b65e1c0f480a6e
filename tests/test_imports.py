"""Imports follow the data: stages import shared packages, these import lower ones, and only the top knows Dagster."""

import ast
import re
import sys
from pathlib import Path

import pytest

import llm_assets

ROOT = Path(llm_assets.__file__).parent
# From the lowest to the highest; each imports only those before it. `model` is early, as it imports `compiled` only.
SHARED = (
    "compiled",
    "settings",
    "sql",
    "locked_sql_process",
    "locked_sql",
    "writing_systems",
    "host_names",
    "json_values",
    "json_requests",
    "row_files",
    "warc",
    "artifacts",
    "model",
    "recipes",
    "corpus_pages",
    "report",
    "compute",
    "tools",
    "training",
    "dialogue",
    "evaluation",
    "sample_web",
)
STAGES = ("web", "curation", "tokens", "pretraining", "finetuning", "tracing", "reinforcement", "preference", "release")
EXPERIMENTS = "demonstrations"  # with the stages' own code; no package imports it
TOP_LEVEL = ("graph", "tour", "serving", "definitions", "cli", "precompile", "__main__")
MODEL_MAY = {"numba", "torch", "numpy", "safetensors", "tiktoken"}
EXPORTS_MAY = {"model/huggingface.py": {"transformers", "huggingface_hub"}, "model/gguf_file.py": {"gguf"}}


def imports(path: Path) -> set[str]:
    """Dotted names of everything that a module imports, also inside functions; `from a import b` counts as `a.b`."""
    parts = ("llm_assets", *path.relative_to(ROOT).parent.parts)
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = parts[: len(parts) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


def package_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def broken_rule(path: Path, name: str) -> str | None:
    """The rule that an import of a module breaks, if any."""
    package, file = package_of(path), path.relative_to(ROOT).as_posix()
    top, *rest = name.split(".")
    if package in TOP_LEVEL or package == "__init__":
        return None
    if package == "model" and top != "llm_assets":
        allowed = sys.stdlib_module_names | MODEL_MAY | EXPORTS_MAY.get(file, set())
        return None if top in allowed else "the model needs only torch, numpy, safetensors and tiktoken"
    if top in ("dagster", "resources"):
        return "only the top level imports Dagster and its resources"
    if top != "llm_assets" or not rest or rest[0] in (package, "__version__"):
        return None
    other = rest[0]
    if other in (*TOP_LEVEL, EXPERIMENTS):
        return "packages below the top level import nothing of it"
    if package == EXPERIMENTS:
        return None
    if package in SHARED:
        if other not in SHARED:
            return "shared packages import no stage"
        return None if SHARED.index(other) < SHARED.index(package) else "shared packages import only lower ones"
    if other in SHARED:
        return None
    if rest[1:2] != ["schemas"]:
        return "a stage imports only the schemas of another"
    return None if STAGES.index(other) < STAGES.index(package) else "data flows one way"


def test_every_package_has_a_place():
    packages = {package_of(path) for path in ROOT.rglob("*.py")} - {"__init__"}
    assert packages == {*SHARED, *STAGES, EXPERIMENTS, *TOP_LEVEL}


def test_tests_import_no_other_test_module():
    """What several of them use is in tests/support/."""
    tests = Path(__file__).parent
    violations = [
        f"{path.relative_to(tests)} imports {node.module}"
        for path in sorted(tests.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        and any(re.search(r"^tests\..*\btest_", f"{node.module}.{alias.name}") for alias in node.names)
    ]
    assert not violations


@pytest.mark.parametrize("name", [*SHARED, *STAGES, EXPERIMENTS])
def test_imports_follow_the_data(name):
    paths = [path for path in sorted(ROOT.rglob("*.py")) if package_of(path) == name]
    violations = {
        f"{path.relative_to(ROOT)} imports {imported}": rule
        for path in paths
        for imported in sorted(imports(path))
        if (rule := broken_rule(path, imported))
    }
    assert paths and not violations


@pytest.mark.parametrize(
    ("file", "imported", "rule"),
    [
        ("tokens/tokenizer.py", "llm_assets.curation.text_buffers.batches", "only the schemas"),
        ("web/raw_warc.py", "llm_assets.curation.schemas.Rejects", "one way"),
        ("training/loop.py", "llm_assets.pretraining.schemas.Facts", "no stage"),
        ("training/loop.py", "llm_assets.dialogue.packing.pack", "only lower ones"),
        ("artifacts/store.py", "dagster", "only the top level imports Dagster"),
        ("finetuning/sft_checkpoint_process.py", "llm_assets.graph.GRAPH", "nothing of it"),
        ("finetuning/sft_checkpoint.py", "llm_assets.demonstrations.results.judge", "nothing of it"),
        ("model/chat.py", "polars", "only torch"),
        ("model/chat.py", "llm_assets.recipes.Recipe", "only lower ones"),
    ],
)
def test_a_wrong_import_is_found(file, imported, rule):
    assert rule in (broken_rule(ROOT / file, imported) or "")


@pytest.mark.parametrize(
    ("file", "imported"),
    [
        ("finetuning/sft_checkpoint_process.py", "llm_assets.pretraining.schemas.Facts"),
        ("finetuning/sft_checkpoint_process.py", "llm_assets.training.loop.train"),
        ("model/huggingface.py", "transformers"),
        ("compute/process.py", "dagster_pipes.open_dagster_pipes"),
    ],
)
def test_a_right_import_is_allowed(file, imported):
    assert broken_rule(ROOT / file, imported) is None
