"""``llm-assets doctor``: find what is wrong with this installation, and the command that fixes it."""

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

from llm_assets.artifacts import ArtifactError, StoreUnreachable, StoreUnwritable, Workspace
from llm_assets.artifacts.checks import remembered_result, stage_checks
from llm_assets.artifacts.explain import explain
from llm_assets.artifacts.gc import find_garbage
from llm_assets.artifacts.progress import human_size
from llm_assets.artifacts.resolver import Resolver
from llm_assets.artifacts.store import Store
from llm_assets.compute.compilers import find_compiler
from llm_assets.graph import open_workspace
from llm_assets.settings import PROJECT, Settings, load_settings
from llm_assets.web.crawls import open_registry
from llm_assets.web.last_try import last_try

from .options import recipe_option
from .setup import ENV_FILE, open_instance

if TYPE_CHECKING:
    import dagster as dg

FIRST, LAST = "raw_warc", "clean_corpus"  # assets between which a crawl is built
COLOURS = {"ok": "green", "warn": "yellow", "bad": "red"}
LOW_DISK, FULL_DISK = 10e9, 1e9  # bytes free
NAMES_SHOWN = 5  # in one line


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    level: `bad` if something does not work, `warn` if it works but needs attention. fix: a command, or what to do.
    """

    level: Literal["ok", "warn", "bad"]
    text: str
    fix: str = ""


def _some(names: list[str]) -> str:
    """The first names, and how many more there are."""
    further = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {further} more" if further > 0 else "")


def python_version(project: Path) -> Iterator[Finding]:
    """Whether the project supports this version of Python."""
    file = project / "pyproject.toml"
    if file.exists():
        required = tomllib.loads(file.read_text())["project"]["requires-python"]
    else:
        required = importlib.metadata.metadata("llm-assets")["Requires-Python"]
    version = platform.python_version()
    if version in SpecifierSet(required, prereleases=True):
        yield Finding("ok", f"Python {version}")
    else:
        fix = "python3.11 -m venv .venv && make setup"
        yield Finding("bad", f"Python {version}, but {required} is required", fix)


def package_versions(constraints: Path) -> Iterator[Finding]:
    """Whether the installed packages have the versions in constraints.txt. Other packages of the file are skipped."""
    if not constraints.exists():
        return
    differing, count = [], 0
    for name, pinned in re.findall(r"^([\w.-]+)==([^\s;#]+)", constraints.read_text(), re.MULTILINE):
        try:
            installed = Version(importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            continue  # of an extra
        count += 1
        # A build for CUDA (2.13.0+cu130) has the same public version.
        if Version(pinned) not in (installed, Version(installed.public)):
            differing.append(f"{name} {installed} (pinned {pinned})")
    if differing:
        fix = f"{sys.executable} -m pip install -c {constraints} -e {constraints.parent}"
        yield Finding("warn", f"{len(differing)} packages differ from the tested versions: {_some(differing)}", fix)
    else:
        yield Finding("ok", f"{count} packages have the versions in {constraints.name}")


def compiler() -> Iterator[Finding]:
    """Whether there is a C compiler, which torch.compile on a GPU needs."""
    if path := find_compiler("C"):
        yield Finding("ok", f"C compiler {path}")
    else:
        text = "no C compiler: torch.compile cannot work, so training on a GPU fails"
        yield Finding("warn", text, "apt-get install build-essential")


def gpu() -> Iterator[Finding]:
    """Which GPUs nvidia-smi lists (importing torch would take seconds), and whether torch is built for them."""
    program = shutil.which("nvidia-smi")
    if program is None:
        yield Finding("ok", "no GPU: training runs on the CPU")
        return
    command = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    gpus = [line.strip() for line in answer.stdout.splitlines() if line.strip()]
    if answer.returncode or not gpus:
        reasons = (answer.stderr or answer.stdout).strip().splitlines()
        yield Finding("bad", f"nvidia-smi finds no GPU: {reasons[0] if reasons else 'no answer'}", "nvidia-smi")
        return
    torch = importlib.metadata.version("torch")
    if torch.endswith("+cpu"):
        fix = f"{sys.executable} -m pip install torch=={torch.partition('+')[0]}  (the build for your CUDA)"
        yield Finding("bad", f"{_some(gpus)}, but torch {torch} is built for CPUs", fix)
    else:
        yield Finding("ok", f"GPU {_some(gpus)}; torch {torch}")


def dagster_home(settings: Settings, env_file: Path) -> Iterator[Finding]:
    """Whether there is a Dagster instance, and whether Dagster's own commands use it."""
    home = settings.dagster_home.absolute()
    if not (home / "dagster.yaml").exists():
        yield Finding("bad", f"no Dagster instance in {home}", "llm-assets setup")
        return
    in_file = dotenv_values(env_file).get("DAGSTER_HOME") if env_file.exists() else None
    if in_file is None or not Path(in_file).is_absolute() or Path(in_file) != home:
        problem = f"says {in_file}" if in_file else "does not name it"
        text = f"Dagster instance {home}, but {env_file.absolute()} {problem}: Dagster's own commands use another"
        yield Finding("warn", text, "env -u DAGSTER_HOME llm-assets setup")
    else:
        yield Finding("ok", f"Dagster instance {home}, as in {env_file}")


def store_folder(workspace: Workspace) -> Iterator[Finding]:
    """Whether the store's local folder can be read and written, and how much space is left on its disk."""
    root = workspace.store.root
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
        count = len(list(workspace.store.artifacts()))
    except (StoreUnreachable, StoreUnwritable) as error:
        yield Finding("bad", f"artifact store: {error}", "llm-assets doctor, when that is done")
        return
    except ArtifactError as error:
        yield Finding("bad", f"artifact store: {error}", "remove that folder, then: llm-assets run")
        return
    except OSError as error:
        fix = f"chmod -R u+rwX {existing}, or set LLM_ASSETS_STORE to another folder"
        yield Finding("bad", f"the artifact store {root} cannot be read and written: {error.strerror}", fix)
        return
    yield Finding("ok", f"artifact store {root}: {f'{count:,} artifacts' if root.exists() else 'new'}")
    free = shutil.disk_usage(existing).free
    text, fix = f"{human_size(free)} free on its disk", "llm-assets artifacts gc"
    if free < FULL_DISK:
        yield Finding("bad", text, fix)
    elif free < LOW_DISK:
        yield Finding("warn", text, fix)
    else:
        yield Finding("ok", text)


def build_locks(root: Path) -> Iterator[Finding]:
    """Builds in progress, and locks of dead processes.

    A lock ends with its process, unless a process that it started still holds it.
    """
    living = []
    for build in Store(root).builds_in_progress():
        process = re.search(r"process (\d+) on ([^)]+)", build.holder)
        is_local = process is not None and process[2] == os.uname().nodename and Path("/proc/1").exists()
        if process is not None and is_local and not Path(f"/proc/{process[1]}").exists():
            text = f"{build.holder} is gone, but a process that it started still holds {build.lock}"
            yield Finding("bad", text, f"fuser -k {build.lock}")
        else:
            living.append(build.holder)
    if living:
        yield Finding("ok", f"{len(living)} artifacts are being built, by {_some(sorted(set(living)))}")


def dead_runs(instance: dg.DagsterInstance) -> Iterator[Finding]:
    """Runs that Dagster lists as running although their process is gone, and pool slots that nobody will free."""
    import dagster as dg

    from resources.live_runs import UNFINISHED, was_killed

    runs = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
    dead = {run.run_id for run in runs if was_killed(run.run_id)}
    pools_by_run: dict[str, list[str]] = {}
    storage = instance.event_log_storage
    for pool in sorted(storage.get_concurrency_keys()):
        info = storage.get_concurrency_info(pool)
        for run_id in sorted({step.run_id for step in (*info.claimed_slots, *info.pending_steps)}):
            run = instance.get_run_by_id(run_id)
            if run is None or run.is_finished or run_id in dead:
                pools_by_run.setdefault(run_id, []).append(pool)
    for run_id in sorted(dead | pools_by_run.keys()):
        pools = pools_by_run.get(run_id, [])
        slots = f" and holds a slot of {', '.join(pools)}, for which others wait" if pools else ""
        yield Finding("bad", f"run {run_id[:8]} is dead{slots}", "llm-assets run  (it closes dead runs first)")
    if not dead and not pools_by_run:
        yield Finding("ok", f"{len(runs)} runs in progress, no pool slot held by a dead one")


def partitions(instance: dg.DagsterInstance, workspace: Workspace) -> Iterator[Finding]:
    """Whether Dagster's partitions are the crawls of the recipe and the registry."""
    known, crawls = set(instance.get_dynamic_partitions("crawl")), workspace.recipe.sources().keys()
    for name in sorted(known - crawls):
        text = f"partition {name} in Dagster is no crawl, so its runs fail"
        yield Finding("warn", text, f"llm-assets crawls remove {name}")
    if crawls - known:
        text = f"crawls without a partition in Dagster: {_some(sorted(crawls - known))}"
        yield Finding("warn", text, "llm-assets setup")
    if known == crawls:
        yield Finding("ok", f"{len(known)} partitions in Dagster, one per crawl")


def crawls(workspace: Workspace) -> Iterator[Finding]:
    """Crawls of the recipe and the registry that are not built, or failed, or cannot be used."""
    for name, reason in open_registry(load_settings()).unusable(workspace.recipe).items():
        yield Finding("warn", f"crawl {name} is left out: {reason}", f"llm-assets crawls remove {name}")
    resolver, built = workspace.resolver(), []
    for name in sorted(workspace.recipe.sources()):
        problem = _problem_of_crawl(workspace, resolver, name)
        if problem is None:
            built.append(name)
        else:
            yield problem
    if built:
        yield Finding("ok", f"{len(built)} crawls are built: {_some(built)}")


def _problem_of_crawl(workspace: Workspace, resolver: Resolver, name: str) -> Finding | None:
    """Why a crawl is not built up to its corpus, or None if it is."""
    build = f"llm-assets run --crawl {name} --select '*{LAST}'"
    repair = f"correct its source, or: llm-assets crawls remove {name}"
    try:
        pages, corpus = resolver.resolve(FIRST, name), resolver.resolve(LAST, name)
    except (ArtifactError, OSError) as error:
        return Finding("bad", f"crawl {name}: {error}", repair)
    if pages.unreachable is not None:
        return Finding("bad", f"crawl {name}: {pages.unreachable}", repair)
    if pages.artifact is None:
        staging = workspace.store.staging(pages.identity or pages.partial)
        failed_try = last_try(staging)
        if failed_try is not None:
            return Finding("bad", f"crawl {name} failed at {failed_try.at}: {failed_try.message}", build)
        state = "was started but is not finished" if staging.exists() else "is not built"
        return Finding("warn", f"crawl {name} {state}", build)
    for check in stage_checks(pages.stage):
        examined = remembered_result(check, pages, workspace.recipe, workspace.store)
        if examined is not None and check.blocking and not examined.outcome.passed:
            text = f"crawl {name} failed {check.name}: {examined.outcome.summary}"
            return Finding("bad", text, f"llm-assets crawls retry {name}")
    if corpus.artifact is None:
        return Finding("warn", f"crawl {name} is fetched but not built up to its corpus", build)
    return None


def garbage(workspace: Workspace) -> Iterator[Finding]:
    """Artifacts and interrupted builds that no recipe of the store needs."""
    collectable = find_garbage(workspace)
    count = len(collectable.artifacts) + len(collectable.staging)
    if count:
        text = f"{human_size(collectable.bytes)} in {count} artifacts and interrupted builds that no recipe needs"
        yield Finding("warn", text, "llm-assets artifacts gc  (lists them; --delete removes them)")
    else:
        yield Finding("ok", "no garbage in the store")


def drift(workspace: Workspace) -> Iterator[Finding]:
    """Modules that have changed since they built artifacts, while their stage's code_version has not."""
    keys_by_module: dict[str, list[str]] = {}
    for explanation in explain(workspace):
        for module in explanation.drifted:
            keys_by_module.setdefault(module, []).append(explanation.key)
    if keys_by_module:
        modules = [f"{module} ({_some(keys)})" for module, keys in sorted(keys_by_module.items())]
        text = f"code has changed since it built artifacts in the store: {_some(modules)}"
        fix = "raise code_version where bytes may change; llm-assets artifacts explain lists all"
        yield Finding("warn", text, fix)
    else:
        yield Finding("ok", "no code has changed since it built the artifacts")


def _safely(examination: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of an examination. If it fails, that is a finding too, and the next examinations still run."""
    try:
        yield from examination()
    except Exception as error:
        message = str(error).splitlines()[0] if str(error) else ""
        yield Finding("bad", f"{type(error).__name__}: {message}")


def examine(recipe: str | None) -> Iterator[Finding]:
    """Run all examinations, one after the other."""
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
    """Check this installation, and show how to fix what is wrong.

    The exit code is 1 if anything is bad.
    """
    counts = dict.fromkeys(COLOURS, 0)
    for finding in examine(recipe):
        counts[finding.level] += 1
        click.echo(f"{click.style(f'{finding.level:4}', fg=COLOURS[finding.level])}  {finding.text}")
        if finding.fix and finding.level != "ok":
            click.echo(f"      → {finding.fix}")
    click.echo(", ".join(f"{count} {level}" for level, count in counts.items() if count))
    if counts["bad"]:
        sys.exit(1)
