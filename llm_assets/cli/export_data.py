"""``llm-assets export-data``: the corpus, conversations, questions and rankings for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from llm_assets.artifacts import Artifact
from llm_assets.artifacts.resolver import Resolver
from llm_assets.graph import open_workspace

from .options import recipe_option


@click.command("export-data")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--license",
    default="unknown",
    show_default=True,
    help="License of the data, as Hugging Face names it (odc-by, cc-by-4.0, …), for the dataset's card.",
)
@recipe_option
def export_data(folder: Path, license: str, recipe: str | None) -> None:
    """Export the corpus, conversations, questions and rankings into FOLDER.

    Writes Parquet files that `datasets.load_dataset(FOLDER, "corpus")` reads, with a dataset card. `questions` are
    those that the assistant is evaluated with. Conversations, questions and rankings are left out if they are not
    built.
    """
    workspace = open_workspace(recipe)
    from llm_assets.recipes.language_tags import languages_of
    from llm_assets.release import data_export

    resolver = workspace.resolver()
    subsets, artifacts = [], []
    if "training_pages" in resolver.left_out:  # a recipe without crawls
        data_export.new_folder(folder)
    else:
        pages = resolver.artifact("training_pages", None)
        crawls = resolver.resolve("training_pages", None).crawls
        corpora = {crawl: resolver.artifact("clean_corpus", crawl) for crawl in crawls}
        shards = {crawl: resolver.artifact("token_shards", crawl) for crawl in crawls}
        data_export.new_folder(folder)
        subsets.append(data_export.export_corpus(folder, corpora, shards, pages))
        artifacts += [*corpora.values(), pages, *shards.values()]
    if (conversations := _built(resolver, "conversations")) is not None:
        subsets.append(data_export.export_conversations(folder, conversations))
        subsets.append(data_export.export_questions(folder, conversations))
        artifacts.append(conversations)
    if (rankings := _built(resolver, "human_rankings")) is not None:
        subsets.append(data_export.export_preferences(folder, rankings))
        artifacts.append(rankings)
    languages = languages_of(workspace.recipe.language.targets)
    subsets = [subset for subset in subsets if subset.rows]
    data_export.write_card(folder, workspace.recipe.name, subsets, languages, license, artifacts)
    for subset in subsets:
        rows = ", ".join(f"{split} {count:,}" for split, count in subset.rows.items())
        click.echo(f"{subset.name}: {rows}" + (f"; {subset.left_out}" if subset.left_out else ""))
    click.echo(f"dataset card: {folder / data_export.CARD}")


def _built(resolver: Resolver, asset: str) -> Artifact | None:
    """The artifact of an asset, or None with a line that says it is not built."""
    artifact = resolver.resolve(asset, None).artifact
    if artifact is None:
        click.echo(f"{asset} is not built, so it is left out", err=True)
    return artifact
