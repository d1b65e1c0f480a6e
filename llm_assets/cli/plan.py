"""``llm-assets plan``: what training a base model, or curating a snapshot of Common Crawl, will take."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from llm_assets.artifacts import Workspace
from llm_assets.artifacts.explain import left_out_lines
from llm_assets.artifacts.progress import human_size
from llm_assets.compute.engine import cores as available_cores
from llm_assets.dialogue.splits import TRAIN
from llm_assets.graph import open_workspace
from llm_assets.model.devices import DEVICES, PLANNED_MFU, Machine, Prediction, find_device, predict
from llm_assets.model.encoding import PUBLISHED, SPECIAL_TOKENS
from llm_assets.model.published_config import model_files, read_shape, shape_with
from llm_assets.model.published_tokenizer import read_tokenizer
from llm_assets.model.shape import ModelError, ModelShape
from llm_assets.model.training_memory import TrainingKind
from llm_assets.recipes import Pretraining, Recipe
from llm_assets.tokens.token_shards import SHARDS_TASK
from llm_assets.training.division import Demand, divide, training_kind
from llm_assets.training.start import start_folder
from llm_assets.training.training_run import optimisation

from .crawl_forecast import CORE_HOUR_PRICE, CORES_PER_MACHINE, STORAGE_PRICE, Fleet
from .options import FiniteRange, recipe_option
from .plan_crawl import GIGABIT, print_crawl_plan
from .plan_memory import memory_table
from .plan_stages import Forecast, MachineSpeed, duration, stage_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

DEPTHS = (4, 6, 8, 12, 16, 20, 24, 28, 32)  # of the models in the table
COLUMNS = (
    "model",
    "width",
    "heads",
    "parameters",
    "tokens",
    "steps",
    "batch",
    "FLOPs",
    "micro-batch",
    "memory",
    "tokens/s",
    "time",
    "cost",
)
# Up to four epochs, repeated tokens are almost as good as new ones (Muennighoff et al., arXiv:2305.16264, section 6).
MOST_EPOCHS = 4
WIDTH = 180  # columns of the table where the output is no terminal
# Parameters of `plan` that go with --crawl, and those that go without it.
CRAWL_PARAMETERS = ("files", "cores", "cores_per_machine", "bandwidth", "measured", "core_price", "storage_price")
TRAINING_PARAMETERS = ("depths", "device", "processes", "tokens")


@dataclass(frozen=True)
class Candidate:
    """A model that could be trained: one row of the table."""

    name: str
    shape: ModelShape
    pretraining: Pretraining

    def kind(self, device: str, processes: int) -> TrainingKind:
        """How it is trained on these devices. Raises ModelError if it does not fit."""
        settings, known = self.pretraining, find_device(device)
        kind = training_kind(optimisation(settings, settings, self.shape), settings.compute.compile)
        _, sequences = settings.budget(self.shape)
        demand = Demand(self.shape, sequences, settings.compute, kind, may_shard=True)
        return divide(demand, processes, known.memory if known else None, device).kind

    @property
    def size(self) -> tuple[str, str, str, str]:
        """The first four cells of the row."""
        shape = self.shape
        return self.name, str(shape.width), str(shape.heads), f"{shape.parameters / 1e6:,.1f} M"


def shape_of(recipe: Recipe) -> ModelShape:
    """The shape of the recipe's own model. Raises ModelError."""
    start, vocabulary = recipe.pretraining.start, vocabulary_of(recipe)
    if start is None:
        return recipe.model.shape(vocabulary)
    folder = start_folder(start)
    model_files(folder)  # a file that is missing is better told before the corpus is built
    return shape_with(read_shape(folder, start.context), vocabulary)


def vocabulary_of(recipe: Recipe) -> int:
    """The vocabulary size of the recipe's tokenizer, which is known before it is trained. Raises ModelError."""
    settings = recipe.tokenizer
    if recipe.pretraining.start is not None:
        return read_tokenizer(start_folder(recipe.pretraining.start)).size
    return PUBLISHED[settings.encoding.name].tokens + len(SPECIAL_TOKENS) if settings.encoding else settings.vocabulary


@click.command()
@click.option(
    "--depth",
    "depths",
    multiple=True,
    type=int,
    help="Depth of the model; repeatable.  [default: the recipe's own model, and a range of depths]",
)
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    help=f"Device to train on: cpu, {', '.join(device.name for device in DEVICES)}.",
)
@click.option(
    "--processes",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Number of devices that train together.",
)
@click.option(
    "--tokens", default=None, type=click.IntRange(1), help="Tokens to train on.  [default: as the recipe says]"
)
@click.option(
    "--crawl",
    "snapshot",
    default=None,
    metavar="SNAPSHOT",
    help="Plan the curation of this snapshot of Common Crawl, such as CC-MAIN-2026-43, in place of training.",
)
@click.option(
    "--files", default=None, type=click.IntRange(1), help="With --crawl: number of its WARC files.  [default: all]"
)
@click.option("--cores", default=None, type=click.IntRange(1), help="With --crawl: cores.  [default: this machine's]")
@click.option(
    "--cores-per-machine",
    default=CORES_PER_MACHINE,
    show_default=True,
    type=click.IntRange(1),
    help="With --crawl: cores of one machine, all of which DuckDB uses in a stage of one process.",
)
@click.option(
    "--bandwidth",
    default=None,
    type=FiniteRange(0, min_open=True),
    help="With --crawl: Gbit/s of the network between cores, store and Common Crawl, together.  [default: no network, "
    "as on one machine that has the files]",
)
@click.option(
    "--rates",
    "measured",
    default=None,
    metavar="CRAWL",
    help="With --crawl: the crawl whose measured rates are used.  [default: of the built crawls with WARC files, one "
    "of the same snapshot, or the largest; without any, rates that come with the project]",
)
@click.option(
    "--core-price",
    default=CORE_HOUR_PRICE,
    show_default=True,
    type=FiniteRange(0),
    help="With --crawl: dollars per core-hour.",
)
@click.option(
    "--storage-price",
    default=STORAGE_PRICE,
    show_default=True,
    type=FiniteRange(0),
    help="With --crawl: dollars per GB and month.",
)
@recipe_option
@click.pass_context
def plan(
    context: click.Context,
    depths: tuple[int, ...],
    device: str,
    processes: int,
    tokens: int | None,
    snapshot: str | None,
    files: int | None,
    cores: int | None,
    cores_per_machine: int,
    bandwidth: float | None,
    measured: str | None,
    core_price: float,
    storage_price: float,
    recipe: str | None,
) -> None:
    """Predict what training takes: the base model, and each training stage after it.

    Shows parameters, tokens, FLOPs, memory, time and cost, and the files of pages that the tokens need. Nothing is
    trained. With --crawl: pages, tokens, CPU-hours, storage, transfer, time and cost of curating a snapshot of Common
    Crawl, from its WARC files to tokens.
    """
    from rich.console import Console

    console = Console(highlight=False, width=None if click.get_text_stream("stdout").isatty() else WIDTH)
    if snapshot is None:
        if named := given_options(context, CRAWL_PARAMETERS):
            raise click.UsageError(f"{', '.join(named)}: only with --crawl")
        print_training_plan(console, depths, Machine(device, processes, available_cores()), tokens, recipe)
        return
    if not re.fullmatch(r"CC-MAIN-\d{4}-\d{2}", snapshot):
        raise click.UsageError(f"--crawl {snapshot!r}: not the id of a snapshot, such as CC-MAIN-2026-43")
    if named := given_options(context, TRAINING_PARAMETERS):
        raise click.UsageError(f"{', '.join(named)}: of a training run, not with --crawl")
    speed = None if bandwidth is None else bandwidth * GIGABIT
    fleet = Fleet(cores or available_cores(), speed, cores_per_machine, core_price, storage_price)
    print_crawl_plan(console, open_workspace(recipe), snapshot, files, fleet, measured)


def given_options(context: click.Context, names: tuple[str, ...]) -> list[str]:
    """Those of the command's options (by the names of their parameters) that the command line has."""
    options = {parameter.name: parameter.opts[0] for parameter in context.command.params}
    return [options[name] for name in names if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]


def print_training_plan(
    console: Console, depths: tuple[int, ...], machine: Machine, tokens: int | None, recipe: str | None
) -> None:
    """Print what training takes: models of these depths, and of no depth the recipe's and its later stages too."""
    from rich.table import Table

    device, processes = machine.device, machine.processes
    # The laptop recipe's small vocabulary and context say little about a GPU.
    takes_default = recipe is None and device != "cpu" and not os.environ.get("LLM_ASSETS_RECIPE")
    workspace = open_workspace("gpu" if takes_default else recipe)
    table = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "model" else "right")
    shape = shape_of(workspace.recipe)
    planned = list(candidates(workspace.recipe, shape, depths, tokens))
    for candidate in planned:
        add_row(table, candidate, device, processes)
    console.print(table)
    console.print(
        f"vocabulary {shape.vocabulary:,}, context {shape.context:,}, {processes} x {device}"
        + ("" if device == "cpu" else f" at {PLANNED_MFU:.0%} of its peak (MFU)")
        + "; memory is an estimate per device"
    )
    for line in epoch_lines(tokenised_corpus(workspace), planned) if workspace.recipe.reads_crawls() else ():
        console.print(line)
    left_out = workspace.graph.left_out(workspace.recipe)
    if not depths:
        print_stages(console, Forecast(workspace, shape, MachineSpeed.named(device, processes)))
        console.print()
        absent = left_out.keys() | workspace.graph.on_demand(workspace.recipe)
        console.print(memory_table(workspace.recipe, shape, device, processes, absent))
    for line in left_out_lines(left_out):
        console.print(line)
    print_earlier_training_runs(workspace, console)


def candidates(recipe: Recipe, shape: ModelShape, depths: tuple[int, ...], tokens: int | None) -> Iterator[Candidate]:
    """Models of these depths; of no depth, the recipe's own model and then those of `DEPTHS`.

    shape: of the recipe's own model. Models of a depth derive their widths, tokens and batch from it. tokens: replaces
    the recipe's. A recipe that starts from a published model has this one alone.
    """
    if not depths:
        pretraining = recipe.pretraining.replace(tokens=tokens or recipe.pretraining.tokens)
        yield Candidate(f"recipe {recipe.name}", shape, pretraining)
    if recipe.pretraining.start is not None:
        return
    model = recipe.model.replace(width=None, heads=None, kv_heads=None, head_dim=None, hidden=None)
    pretraining = recipe.pretraining.replace(tokens=tokens, batch_tokens=None)
    for depth in depths or DEPTHS:
        yield Candidate(f"depth {depth}", model.replace(depth=depth).shape(shape.vocabulary), pretraining)


def print_stages(console: Console, forecast: Forecast) -> None:
    """Print what the training stages after the base model take."""
    table = stage_table(forecast)
    if table is not None:
        console.print()
        console.print(table)
        console.print(
            "tokens of conversations and rankings are estimates until these are built; evaluations are not counted"
        )


def add_row(table: Table, candidate: Candidate, device: str, processes: int) -> None:
    """Add what the candidate takes, or that it does not fit. Raises ModelError for an unknown device."""
    shape = candidate.shape
    steps, sequences = candidate.pretraining.budget(shape)
    batch_tokens = sequences * shape.context
    try:
        kind = candidate.kind(device, processes)
        machine = Machine(device, processes, available_cores())
        prediction = predict(shape, steps * batch_tokens, batch_tokens, machine, kind)
    except ModelError:
        if find_device(device) is None:
            raise
        cells = dict.fromkeys(COLUMNS[4:], "") | {"memory": "does not fit"}
        table.add_row(*candidate.size, *cells.values())
        return
    table.add_row(*candidate.size, *_prediction_cells(prediction, steps, batch_tokens))


@dataclass(frozen=True)
class TokenisedCorpus:
    """The token shards of the crawls that a recipe trains on.

    tokens: to train on. files: of pages (WARC) or texts that they are from. file_bytes: their size as they are stored.
    """

    tokens: int
    files: int
    file_bytes: int

    @property
    def tokens_per_file(self) -> float:
        return self.tokens / max(self.files, 1)


def tokenised_corpus(workspace: Workspace) -> TokenisedCorpus | None:
    """The corpus of the recipe; None without crawls, and while one of them has no token shards."""
    resolver = workspace.resolver()
    crawls = workspace.recipe.trained_crawls()
    shards, sources = (
        [resolver.resolve(name, crawl).artifact for crawl in crawls] for name in ("token_shards", "raw_warc")
    )
    if not crawls or None in shards or None in sources:
        return None
    return TokenisedCorpus(
        sum(artifact.record.stats[f"{TRAIN}_tokens"] for artifact in shards if artifact is not None),
        sum(len(artifact.record.tasks.keys() - {SHARDS_TASK}) for artifact in shards if artifact is not None),
        sum(int(artifact.record.stats.get("warc_bytes", 0)) for artifact in sources if artifact is not None),
    )


def epoch_lines(corpus: TokenisedCorpus | None, planned: Iterable[Candidate]) -> Iterator[str]:
    """What the corpus and each of its files hold, and each model that would read it too often."""
    if corpus is None:
        yield (
            "the recipe's crawls are not tokenised yet, so these tokens are not compared with those of a corpus; build "
            "a crawl of one WARC file (--select token_shards) to see how many files they need"
        )
        return
    size = f" of {human_size(corpus.file_bytes // max(corpus.files, 1))}" if corpus.file_bytes else ""
    yield (
        f"the corpus has {corpus.tokens / 1e6:,.1f} M tokens to train on, {corpus.tokens_per_file / 1e6:,.2f} M in "
        f"each of {corpus.files:,} files{size}"
    )
    needed, often = [], []
    for candidate in planned:
        steps, sequences = candidate.pretraining.budget(candidate.shape)
        tokens = steps * sequences * candidate.shape.context
        if tokens:
            needed.append(f"{candidate.name} {math.ceil(tokens / max(corpus.tokens_per_file, 1)):,}")
        if (epochs := tokens / max(corpus.tokens, 1)) > MOST_EPOCHS:
            often.append(f"{candidate.name} {epochs:,.1f} times")
    if needed:
        yield f"files such as these that the tokens need, if each is read once: {', '.join(needed)}"
    if often:
        yield f"warning: tokens read more than {MOST_EPOCHS} times are worth less and less: {', '.join(often)}"


def _prediction_cells(prediction: Prediction, steps: int, batch_tokens: int) -> Iterator[str]:
    """The cells of `COLUMNS` from the tokens on."""
    yield f"{steps * batch_tokens / 1e6:,.1f} M"
    yield f"{steps:,}"
    yield f"{batch_tokens:,}"
    yield f"{prediction.flops:.2g}"
    yield str(prediction.micro_batch_size)
    yield human_size(prediction.memory)
    yield f"{prediction.tokens_per_second:,.0f}"
    yield duration(prediction.seconds)
    yield f"${prediction.cost:,.2f}" if prediction.cost is not None else ""


def print_earlier_training_runs(workspace: Workspace, console: Console) -> None:
    """Print what the base models in the store took, beside what was predicted for them."""
    for artifact in workspace.store.artifacts("base_checkpoint"):
        stats = artifact.record.stats
        if "actual" not in stats or "predicted" not in stats:
            continue
        actual, predicted = stats["actual"], stats["predicted"]
        console.print(
            f"built before: {artifact.record.short_id}, {stats['parameters'] / 1e6:,.1f} M parameters, "
            f"{stats['tokens'] / 1e6:,.1f} M tokens: {duration(actual['seconds'])} "
            f"at {actual['tokens_per_second']:,.0f} tokens/s, {human_size(actual['memory'])} "
            f"(predicted {duration(predicted['seconds'])}, {predicted['tokens_per_second']:,.0f} tokens/s, "
            f"{human_size(predicted['memory'])})"
        )
