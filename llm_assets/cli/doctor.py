"""``llm-assets doctor``: what is wrong with this installation, and the command that mends it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from dotenv import dotenv_values
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from llm_assets.artifacts import ArtifactError, Workspace
from llm_assets.artifacts.checks import remembered_result, stage_checks
from llm_assets.artifacts.explain import explain
from llm_assets.artifacts.gc import find_garbage
from llm_assets.artifacts.progress import human_size
from llm_assets.artifacts.store import Store
from llm_assets.graph import open_workspace
from llm_assets.settings import PROJECT, Settings, load_settings
from llm_assets.web.crawls import open_registry
from llm_assets.web.last_try import last_try

from .options import recipe_option
from .setup import ENV_FILE, open_instance

if TYPE_CHECKING:
    import dagster as dg

FIRST, LAST = "raw_warc", "clean_corpus"  # of a crawl that is built
COLOURS = {"ok": "green", "warn": "yellow", "bad": "red"}
LITTLE_DISK, NO_DISK = 10e9, 1e9  # bytes free
SHOWN = 5  # names in one line


@dataclass(frozen=True)
class Finding:
    """One line. bad: something does not work; warn: it works, and something should be known or done.

    mend: the command that mends it, or what to do.
    """

    level: Literal["ok", "warn", "bad"]
    text: str
    mend: str = ""


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def python_version(project: Path) -> Iterator[Finding]:
    """Whether this Python is one that the project supports."""
    file = project / "pyproject.toml"
    if file.exists():
        wanted = tomllib.loads(file.read_text())["project"]["requires-python"]
    else:
        wanted = importlib.metadata.metadata("llm-assets")["Requires-Python"]
    version = platform.python_version()
    if version in SpecifierSet(wanted, prereleases=True):
        yield Finding("ok", f"Python {version}")
    else:
        yield Finding("bad", f"Python {version}, needed is {wanted}", "python3.11 -m venv .venv && make setup")


def package_versions(constraints: Path) -> Iterator[Finding]:
    """Whether what is installed is what constraints.txt pins; what is not installed (an extra's packages) is left out."""
    if not constraints.exists():
        return
    others, count = [], 0
    for name, pinned in re.findall(r"^([\w.-]+)==([^\s;#]+)", constraints.read_text(), re.MULTILINE):
        try:
            installed = Version(importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            continue
        count += 1
        # A build for a CUDA version is of the same version.
        if Version(pinned) not in (installed, Version(installed.public)):
            others.append(f"{name} {installed} (pinned {pinned})")
    if others:
        mend = f"{sys.executable} -m pip install -c {constraints} -e {constraints.parent}"
        yield Finding("warn", f"{len(others)} packages of other versions than tested: {_some(others)}", mend)
    else:
        yield Finding("ok", f"{count} packages are of the versions in {constraints.name}")


def compiler() -> Iterator[Finding]:
    """torch.compile (on a GPU) and the compiled curation code of a fresh machine need one."""
    found = [name for name in (os.environ.get("CC"), os.environ.get("CXX"), "cc", "gcc", "clang") if name]
    path = next((path for name in found if (path := shutil.which(name))), None)
    if path:
        yield Finding("ok", f"C compiler {path}")
    else:
        text = "no C compiler: torch.compile cannot work, and trainings on a GPU fail"
        yield Finding("warn", text, "apt-get install build-essential")


def gpu() -> Iterator[Finding]:
    """GPUs by the driver's own tool (importing torch takes seconds), and whether torch is built for them."""
    program = shutil.which("nvidia-smi")
    if program is None:
        yield Finding("ok", "no GPU: trainings run on the CPU")
        return
    words = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    asked = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    gpus = [line.strip() for line in asked.stdout.splitlines() if line.strip()]
    if asked.returncode or not gpus:
        why = (asked.stderr or asked.stdout).strip().splitlines()
        yield Finding("bad", f"nvidia-smi finds no GPU: {why[0] if why else 'no answer'}", "nvidia-smi")
        return
    torch = importlib.metadata.version("torch")
    if torch.endswith("+cpu"):
        mend = f"{sys.executable} -m pip install torch=={torch.partition('+')[0]}  (the build for your CUDA)"
        yield Finding("bad", f"{_some(gpus)}, but torch {torch} is built for CPUs", mend)
    else:
        yield Finding("ok", f"GPU {_some(gpus)}; torch {torch}")


def dagster_home(settings: Settings, env_file: Path) -> Iterator[Finding]:
    """Whether there is an instance, and whether Dagster's own commands find it."""
    home = settings.dagster_home.absolute()
    if not (home / "dagster.yaml").exists():
        yield Finding("bad", f"no Dagster instance in {home}", "llm-assets setup")
        return
    told = dotenv_values(env_file).get("DAGSTER_HOME") if env_file.exists() else None
    if told is None or not Path(told).is_absolute() or Path(told) != home:
        says = f"says {told}" if told else "does not name it"
        text = f"Dagster instance {home}, but {env_file.absolute()} {says}: Dagster's own commands use another"
        yield Finding("warn", text, "env -u DAGSTER_HOME llm-assets setup")
    else:
        yield Finding("ok", f"Dagster instance {home}, as in {env_file}")


def store_folder(workspace: Workspace) -> Iterator[Finding]:
    """Whether the store's folder (before a URL: the local one) can be read and written, and whether the disk has room."""
    root = workspace.store.root
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
        count = len(list(workspace.store.artifacts()))
    except ArtifactError as error:
        yield Finding("bad", f"artifact store: {error}", "remove that folder, then: llm-assets run")
        return
    except OSError as error:
        mend = f"chmod -R u+rwX {there}, or another folder in LLM_ASSETS_STORE"
        yield Finding("bad", f"the artifact store {root} cannot be read and written: {error.strerror}", mend)
        return
    yield Finding(
        "ok", f"artifact store {root}: {count:,} artifacts" if root.exists() else f"artifact store {root}: new"
    )
    free = shutil.disk_usage(there).free
    level: Literal["ok", "warn", "bad"] = "bad" if free < NO_DISK else "warn" if free < LITTLE_DISK else "ok"
    yield Finding(level, f"{human_size(free)} free on its disk", "" if level == "ok" else "llm-assets artifacts gc")


def build_locks(root: Path) -> Iterator[Finding]:
    """Builds that go on. A lock goes with its process, unless a process that it started outlives it."""
    living = []
    for build in Store(root).builds_in_progress():
        found = re.search(r"process (\d+) on ([^)]+)", build.holder)
        is_here = found is not None and found[2] == os.uname().nodename and Path("/proc/1").exists()
        if found is not None and is_here and not Path(f"/proc/{found[1]}").exists():
            text = f"{build.holder} is gone, and something it started still holds {build.lock}"
            yield Finding("bad", text, f"fuser -k {build.lock}")
        else:
            living.append(build.holder)
    if living:
        yield Finding("ok", f"{len(living)} artifacts are being built, by {_some(sorted(set(living)))}")


def dead_runs(instance: dg.DagsterInstance) -> Iterator[Finding]:
    """Runs that Dagster holds for running though their process is gone, and slots of pools that none frees."""
    import dagster as dg

    from resources.live_runs import IN_PROGRESS, was_killed

    runs = instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS))
    dead = {run.run_id for run in runs if was_killed(run.run_id)}
    held: dict[str, list[str]] = {}
    storage = instance.event_log_storage
    for pool in sorted(storage.get_concurrency_keys()):
        info = storage.get_concurrency_info(pool)
        for run_id in sorted({step.run_id for step in (*info.claimed_slots, *info.pending_steps)}):
            run = instance.get_run_by_id(run_id)
            if run is None or run.is_finished or run_id in dead:
                held.setdefault(run_id, []).append(pool)
    for run_id in sorted(dead | held.keys()):
        pools = f" and holds a slot of {', '.join(held[run_id])}, for which others wait" if run_id in held else ""
        yield Finding("bad", f"run {run_id[:8]} is dead{pools}", "llm-assets run  (it closes dead runs first)")
    if not dead and not held:
        yield Finding("ok", f"{len(runs)} runs going on, no slot of a pool held by a dead one")


def partitions(instance: dg.DagsterInstance, workspace: Workspace) -> Iterator[Finding]:
    """Whether Dagster's partitions are the crawls."""
    known, crawls = set(instance.get_dynamic_partitions("crawl")), workspace.recipe.sources().keys()
    for name in sorted(known - crawls):
        yield Finding(
            "warn", f"partition {name} in Dagster is no crawl: its runs fail", f"llm-assets crawls remove {name}"
        )
    if crawls - known:
        text = f"crawls that are no partition in Dagster yet: {_some(sorted(crawls - known))}"
        yield Finding("warn", text, "llm-assets setup")
    if known == crawls:
        yield Finding("ok", f"{len(known)} partitions in Dagster, one a crawl")


def crawls(workspace: Workspace) -> Iterator[Finding]:
    """Crawls of the recipe and the registry that are not built, were broken off, or came to nothing."""
    for name, reason in open_registry(load_settings()).unusable(workspace.recipe).items():
        yield Finding("warn", f"crawl {name} is left out: {reason}", f"llm-assets crawls remove {name}")
    resolver, built = workspace.resolver(), []
    for name in sorted(workspace.recipe.sources()):
        build = f"llm-assets run --crawl {name} --select '*{LAST}'"
        try:
            pages, corpus = resolver.resolve(FIRST, name), resolver.resolve(LAST, name)
        except (ArtifactError, OSError) as error:
            yield Finding("bad", f"crawl {name}: {error}", f"mend its source, or: llm-assets crawls remove {name}")
            continue
        if pages.unreachable is not None:
            mend = f"mend its source, or: llm-assets crawls remove {name}"
            yield Finding("bad", f"crawl {name}: {pages.unreachable}", mend)
            continue
        if pages.artifact is None:
            staging = workspace.store.staging(pages.identity or pages.partial)
            begun, failed_try = staging.exists(), last_try(staging)
            if failed_try is not None:
                yield Finding("bad", f"crawl {name} failed at {failed_try.at}: {failed_try.message}", build)
                continue
            yield Finding("warn", f"crawl {name} {'was begun and is not finished' if begun else 'is not built'}", build)
            continue
        examined = [
            remembered_result(check, pages, workspace.recipe, workspace.store) for check in stage_checks(pages.stage)
        ]
        failed = [one for one in examined if one is not None and one.check.blocking and not one.outcome.passed]
        if failed:
            text = f"crawl {name} failed {failed[0].check.name}: {failed[0].outcome.summary}"
            yield Finding("bad", text, f"llm-assets crawls retry {name}")
        elif corpus.artifact is None:
            yield Finding("warn", f"crawl {name} is fetched and not built up to its corpus", build)
        else:
            built.append(name)
    if built:
        yield Finding("ok", f"{len(built)} crawls are built: {_some(built)}")


def garbage(workspace: Workspace) -> Iterator[Finding]:
    """What no recipe of the store resolves to."""
    found = find_garbage(workspace)
    count = len(found.artifacts) + len(found.staging)
    if count:
        text = f"{human_size(found.bytes)} in {count} artifacts and interrupted builds that no recipe needs"
        yield Finding("warn", text, "llm-assets artifacts gc  (lists them; --delete removes them)")
    else:
        yield Finding("ok", "no artifact that no recipe needs")


def drift(workspace: Workspace) -> Iterator[Finding]:
    """Stages whose code is not what built their artifacts, though their code_version is."""
    modules: dict[str, list[str]] = {}
    for one in explain(workspace):
        for module in one.drifted:
            modules.setdefault(module, []).append(one.key)
    if modules:
        told = [f"{module} ({_some(keys)})" for module, keys in sorted(modules.items())]
        text = f"code has changed since it built what is in the store: {_some(told)}"
        yield Finding("warn", text, "raise code_version where bytes may change; llm-assets artifacts explain tells all")
    else:
        yield Finding("ok", "the code is what built the artifacts")


def _safely(examination: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """An examination that fails is a finding too: the others are told all the same."""
    try:
        yield from examination()
    except Exception as error:
        message = str(error).splitlines()[0] if str(error) else ""
        yield Finding("bad", f"{type(error).__name__}: {message}")


def examine(recipe: str | None) -> Iterator[Finding]:
    """Every finding, as it is found."""
    yield from _safely(lambda: python_version(PROJECT))
    yield from _safely(lambda: package_versions(PROJECT / "constraints.txt"))
    yield from _safely(compiler)
    yield from _safely(gpu)
    try:
        settings = load_settings()
        workspace = open_workspace(recipe, settings)
    except Exception as error:
        yield Finding("bad", str(error), "correct the recipe, the registered crawl or the variable that it names")
        return
    yield Finding("ok", f"recipe {workspace.recipe.name}")
    yield from _safely(lambda: dagster_home(settings, ENV_FILE))
    yield from _safely(lambda: store_folder(workspace))
    yield from _safely(lambda: build_locks(workspace.store.root))
    yield from _safely(lambda: crawls(workspace))
    yield from _safely(lambda: garbage(workspace))
    yield from _safely(lambda: drift(workspace))
    home = settings.dagster_home.absolute()
    if (home / "dagster.yaml").exists():
        os.environ["DAGSTER_HOME"] = str(home)
        with open_instance() as instance:
            yield from _safely(lambda: dead_runs(instance))
            yield from _safely(lambda: partitions(instance, workspace))


@click.command()
@recipe_option
def doctor(recipe: str | None) -> None:
    """Say what is wrong with this installation, with the command that mends it. Exit code 1 where something is bad."""
    counts = dict.fromkeys(COLOURS, 0)
    for finding in examine(recipe):
        counts[finding.level] += 1
        click.echo(f"{click.style(f'{finding.level:4}', fg=COLOURS[finding.level])}  {finding.text}")
        if finding.mend and finding.level != "ok":
            click.echo(f"      → {finding.mend}")
    click.echo(", ".join(f"{count} {level}" for level, count in counts.items() if count))
    if counts["bad"]:
        sys.exit(1)
