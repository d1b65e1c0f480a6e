"""``llm-assets serve``: models over HTTP, by OpenAI's API."""

from __future__ import annotations

import click

from llm_assets.compute.devices import TrainingDevices
from llm_assets.graph import open_workspace
from llm_assets.serving.errors import ApiError
from llm_assets.serving.limits import Limits
from llm_assets.serving.server import (
    EVERYWHERE,
    KEY_VARIABLE,
    Address,
    named_checkpoints,
    open_service,
    open_tools,
    uvicorn_server,
)

from .options import FiniteRange, recipe_option

DEFAULTS = Limits()
GIB = 1 << 30


@click.command()
@click.argument("checkpoints", nargs=-1)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on. Another one needs a key.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--key", envvar=KEY_VARIABLE, default="", help=f"Bearer key of clients.  [default: {KEY_VARIABLE}]")
@click.option(
    "--sequences",
    default=DEFAULTS.sequences,
    show_default=True,
    type=click.IntRange(1),
    help="Choices that are sampled together, at most.",
)
@click.option(
    "--queue", default=DEFAULTS.queue, show_default=True, type=click.IntRange(0), help="Requests that wait, at most."
)
@click.option(
    "--max-tokens",
    default=DEFAULTS.max_tokens,
    show_default=True,
    type=click.IntRange(1),
    help="Longest answer, in tokens.",
)
@click.option(
    "--seconds",
    default=DEFAULTS.seconds,
    show_default=True,
    type=FiniteRange(min=0.1),
    help="Longest time of a request, in seconds.",
)
@click.option(
    "--memory",
    default=DEFAULTS.memory / GIB,
    show_default=True,
    type=FiniteRange(min=0, min_open=True),
    help="GiB of weights that are loaded at a time.",
)
@recipe_option
def serve(
    checkpoints: tuple[str, ...],
    host: str,
    port: int,
    key: str,
    recipe: str | None,
    **limits: float,
) -> None:
    """Serve models over HTTP: a page for people, and OpenAI's API for programs.

    CHECKPOINTS are stages, assets, identities or folders. The first one answers requests that name no model; without
    any, that is the last model of the recipe. All checkpoints of the store can be asked for by name; folders only if
    they are named here.
    """
    address = Address(host, port, key)
    address.check()
    workspace = open_workspace(recipe)
    chosen = named_checkpoints(workspace, checkpoints)
    try:
        chosen.find(None)
    except ApiError as error:
        click.echo(f"warning: {error}; until then, the page shows what is built", err=True)
    if chosen.is_stale(chosen.default):
        click.echo(
            f"warning: {chosen.default} is stale: the recipe or an input has changed since it was built; what changed: "
            "llm-assets artifacts explain",
            err=True,
        )
    TrainingDevices.from_environment().to_environment()
    memory = int(limits.pop("memory") * GIB)
    with open_tools(workspace, ("search", "python")) as tools:
        settings = workspace.recipe.tools
        allowed = Limits(
            memory=memory,
            calls=settings.calls,
            result_tokens=settings.result_tokens,
            **limits,  # type: ignore[arg-type]
        )
        server = uvicorn_server(open_service(chosen, tools, allowed, address, recipe), address)
        listening = address.listen()
        url = address.url(listening.getsockname()[1])
        click.echo(f"{chosen.default}: page at {url}, API at {url}/v1 (Ctrl-C stops the server)", err=True)
        if host in EVERYWHERE:
            click.echo("other machines use this machine's name or address in its place", err=True)
        server.run(sockets=[listening])
