"""``llm-assets run``: the Dagster run, with live progress and a table at the end."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from dataclasses import dataclass, field

import click

from llm_assets.artifacts.progress import Event, subscribe
from llm_assets.graph import GRAPH, open_workspace
from llm_assets.settings import load_settings

from .finished_runs import recall, remember
from .killed_runs import alive, close_killed_runs
from .options import recipe_option
from .setup import prepare_instance, register_partitions


@dataclass
class Line:
    """One artifact's state as the run goes on."""

    state: str = "waiting"
    event: Event | None = None
    seconds: float = 0.0
    began: float = field(default_factory=time.monotonic)


class Display:
    """Hears the progress of every build: a live table on a terminal, a line for each change elsewhere."""

    def __init__(self, live: bool):
        from rich.console import Console
        from rich.live import Live

        self.lines: dict[str, Line] = {}
        # A stream of our own: while a step runs, Dagster sends this process's standard output to the step's log file.
        stream = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", errors="replace")
        self.console = Console(file=stream, highlight=False, force_terminal=live)
        self.live = Live(get_renderable=self.table, console=self.console, refresh_per_second=4) if live else None

    def __call__(self, event: Event) -> None:
        line = self.lines.setdefault(event.key, Line())
        line.event = event
        if event.kind in ("cached", "finished", "failed"):
            line.state, line.seconds = {"finished": "built"}.get(event.kind, event.kind), event.seconds
        else:
            line.state = {"started": "running", "progress": "running"}.get(event.kind, event.kind)
        if self.live is None and event.kind != "progress":
            self.console.print(event.text())

    def table(self) -> object:
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for name in ("artifact", "state", "progress", "pages", "pages/s", "seconds", "left", ""):
            table.add_column(name, justify="left" if name in ("artifact", "state", "") else "right")
        for key, line in self.lines.items():
            event = line.event
            assert event is not None
            colour = {"cached": "cyan", "built": "green", "failed": "red", "running": "yellow"}.get(line.state, "white")
            table.add_row(
                key, f"[{colour}]{line.state}[/]", f"{event.done}/{event.total} {event.unit}" if event.total else "",
                f"{event.pages:,}" if event.pages else "", f"{event.pages_per_second:,.0f}" if event.pages_per_second and line.state == "running" else "",
                f"{line.seconds:.2f}" if line.state in ("cached", "built", "failed") else f"{time.monotonic() - line.began:.0f}",
                f"{event.seconds_left:.0f} s" if event.seconds_left is not None and line.state == "running" else "",
                event.message if line.state == "running" else "",
            )  # fmt: skip
        return table

    def __enter__(self) -> Display:
        self._unsubscribe = subscribe(self)
        if self.live is not None:
            self.live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._unsubscribe()
        if self.live is not None:
            self.live.__exit__(*error)  # type: ignore[arg-type]


@click.command()
@click.option("--select", default="*", show_default=True, help="Dagster asset selection, such as '*extracted_text' (with all it needs) or 'group:web'.")
@click.option("--crawl", "crawl_names", multiple=True, help="Crawl(s) to run for; default: all that the recipe names.")
@recipe_option
@click.option("--plain", is_flag=True, help="A line for each change instead of a live table.")
def run(select: str, crawl_names: tuple[str, ...], recipe: str | None, plain: bool) -> None:
    """Materialise the graph: what is in the store is returned, the rest is built."""
    began = time.monotonic()
    settings = load_settings()
    prepare_instance(settings)
    workspace = open_workspace(recipe, settings)
    whole = select == "*" and not crawl_names
    if whole and (told := recall(workspace, settings)):
        display = Display(live=False)
        _summary(display, [(key, "cached", 0.0, pages) for key, pages in told["artifacts"]], [(name, passed, text) for name, passed, text in told["checks"]], time.monotonic() - began)
        display.console.print("nothing has changed since the last run in Dagster's history")
        return
    names = list(crawl_names) or workspace.recipe.corpus()
    unknown = [name for name in names if name not in workspace.recipe.crawls]
    if unknown:
        raise click.ClickException(f"no crawl {unknown[0]!r}; there are {', '.join(sorted(workspace.recipe.crawls))}; register one with: llm-assets crawls add")
    register_partitions(names)

    import dagster as dg

    from llm_assets.definitions import defs

    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    for category in (dg.BetaWarning, dg.PreviewWarning):
        warnings.filterwarnings("ignore", category=category)
    repository = defs.get_repository_def()
    keys = dg.AssetSelection.from_coercible(select.split(",")).resolve(repository.asset_graph)
    job = repository.get_implicit_job_def_for_assets(keys)
    if job is None:
        raise click.ClickException(f"--select {select!r} matches no assets that can run together")
    partitioned = any(job.asset_layer.get(key).partitions_def is not None for key in keys)
    config: dict = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    if recipe:
        config["resources"] = {"artifacts": {"config": {"recipe": recipe}}}
    # What spans all crawls comes with the last one, and only if the crawls that are not named are built.
    stages = {key: GRAPH[key.to_user_string()] for key in keys}
    spanning = {key for key, stage in stages.items() if GRAPH.spans_crawls(stage)}
    behind = {key for key, stage in stages.items() if GRAPH.layer(stage) > 0}
    corpus = workspace.recipe.corpus()
    resolver = workspace.resolver()
    read = {name for key in spanning - behind for name in stages[key].inputs if GRAPH[name].per_crawl}
    unbuilt = sorted({crawl for crawl in corpus if crawl not in names for name in read if resolver.resolve(name, crawl).artifact is None})
    left_out = spanning | behind if select == "*" and unbuilt else set()
    runs: list[tuple[int, str | None, set]] = []
    if not partitioned:
        runs.append((0, None, set(keys)))
    elif names == corpus and len(names) == 1:
        runs.append((0, names[0], keys - left_out))
    else:
        for layer in sorted({GRAPH.layer(stage) for stage in stages.values()}):
            of_layer = {key for key, stage in stages.items() if GRAPH.layer(stage) == layer} - left_out
            # What is behind an artifact of all crawls was made anew for all of them, the one that was named or not.
            crawls = sorted({*corpus, *names}) if layer and of_layer & spanning else names
            runs += [(layer, name, of_layer if name == crawls[-1] else of_layer - spanning) for name in crawls]
        register_partitions(sorted({name for _, name, _ in runs if name}))
    failures: list[str] = []
    checks: list[tuple[str, bool, str]] = []
    display = Display(live=not plain and sys.stdout.isatty())
    processes = settings.data / "processes"
    with dg.DagsterInstance.get() as instance, alive(processes) as tags, display:
        close_killed_runs(instance, processes)
        for layer, name, wanted in runs:
            if not wanted or (layer and failures):
                continue
            result = job.execute_in_process(instance=instance, partition_key=name, asset_selection=list(wanted), run_config=config, tags=tags, raise_on_error=False)
            for evaluation in result.get_asset_check_evaluations():
                own = job.asset_layer.get(evaluation.asset_key).partitions_def is not None
                checks.append((f"{evaluation.asset_key.to_user_string()}{f'/{name}' if own else ''}: {evaluation.check_name}", evaluation.passed, evaluation.description or ""))
            if not result.success:
                failures += [f"{event.step_key}: {_cause(event)}" for event in result.all_events if event.is_step_failure]
    rows = [(key, line.state, line.seconds, line.event.pages if line.event else 0) for key, line in display.lines.items()]
    _summary(display, rows, checks, time.monotonic() - began)
    if whole and not failures and not left_out:
        remember(workspace, settings, {"artifacts": [[key, pages] for key, _, _, pages in rows], "checks": checks})
    if left_out:
        click.echo(f"left out: {', '.join(sorted(key.to_user_string() for key in left_out))} (every crawl of the recipe goes into it, and {', '.join(unbuilt)} is not built; llm-assets run builds all)")
    if failures:
        for failure in failures:
            click.secho(f"failed: {failure}", fg="red", err=True)
        sys.exit(1)


def _cause(event: object) -> str:
    """The innermost message of a step's failure."""
    error = event.step_failure_data.error  # type: ignore[attr-defined]
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else "unknown"


def _summary(display: Display, rows: list[tuple[str, str, float, int]], checks: list[tuple[str, bool, str]], seconds: float) -> None:
    """Artifacts (key, state, seconds, pages), checks (name, passed, what was found), and how many of each."""
    from rich.table import Table

    table = Table(title=None, box=None, pad_edge=False)
    for name in ("artifact", "state", "seconds", "pages"):
        table.add_column(name, justify="right" if name in ("seconds", "pages") else "left")
    for key, state, took, pages in rows:
        table.add_row(key, state, f"{took:.2f}", f"{pages:,}" if pages else "")
    if display.live is None:
        display.console.print(table)
    for name, passed, description in checks:
        display.console.print(f"{'✓' if passed else '✗'} {name}: {description}", style=None if passed else "yellow")
    built, cached = (sum(row[1] == state for row in rows) for state in ("built", "cached"))
    display.console.print(f"{built} built, {cached} cached, {sum(not passed for _, passed, _ in checks)} checks not passed, {seconds:.1f} s")
