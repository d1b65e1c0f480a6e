"""The artifacts and models that the tour visits: each is looked up, and loaded, when a step first needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any

import polars as pl

from llm_assets.artifacts import Artifact, ExternalInputError, NotBuilt, Workspace
from llm_assets.artifacts.last_built import LastBuilt
from llm_assets.artifacts.purge import NOTICE
from llm_assets.artifacts.tables import read_table, scan_table
from llm_assets.compute.devices import TrainingDevices
from llm_assets.dialogue.splits import TEST
from llm_assets.recipes import SampleWeb

if TYPE_CHECKING:
    from llm_assets.model.reward import RewardModel
    from llm_assets.model.sampling import Engine, Tools

MAX_TOKENS = 96  # of an answer
PAGE_WORDS = 150  # the page that is shown has about as many


class NothingToShow(Exception):
    """A step that cannot be taken; the message says what is missing and how to get it."""


@dataclass
class Visit:
    """A recipe's artifacts and models. Use it as a context manager, which closes the tools at the end.

    Stale assets are visited as they were last built. notices: which these are and why, and what the folders of the
    models say about pages that were taken down since. read: of the assets that were looked up, the identity and why it
    is stale (empty if it is not); None for those that are not built.
    """

    workspace: Workspace
    notices: dict[str, None] = field(default_factory=dict)
    read: dict[str, tuple[str, str] | None] = field(default_factory=dict)
    _engines: dict[str, Engine] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stack.close()

    def artifact(self, asset: str) -> Artifact:
        """The recipe's artifact of an asset, or else the one that was built last.

        If it is one per crawl, that of the first crawl that is built, or else of the first that was. Raises NotBuilt,
        with the command that builds it.
        """
        self.read[asset] = None
        stored = LastBuilt(self.workspace)
        crawl = self._crawl(asset, stored)
        artifact, is_stale = stored.current_or_last(asset, crawl)
        why = stored.why_stale(asset, crawl) if is_stale else ""
        if why:
            self.notices[why] = None
        self.read[asset] = artifact.record.identity, why
        return artifact

    def _crawl(self, asset: str, stored: LastBuilt) -> str | None:
        """The crawl of the artifact to visit; None if the asset has no partitions. Raises NothingToShow."""
        if not self.workspace.graph[asset].per_crawl:
            return None
        crawls = self.workspace.recipe.corpus()
        if not crawls:
            raise NothingToShow("the recipe reads no crawl; add one: llm-assets crawls add --help")
        built = (crawl for crawl in crawls if stored.resolver.resolve(asset, crawl).artifact is not None)
        last = (crawl for crawl in crawls if stored.used.last(asset, crawl) is not None)
        return next(built, None) or next(last, crawls[0])

    def has(self, asset: str) -> bool:
        """Whether an asset is built, or was."""
        try:
            self.artifact(asset)
        except (NotBuilt, ExternalInputError):
            return False
        return True

    def table(self, asset: str, table: str) -> pl.DataFrame:
        return read_table(self.artifact(asset).table(table))

    @property
    def is_sample_web(self) -> bool:
        """Whether the models read the sample web, to which the examples of the talk belong."""
        sources = self.workspace.recipe.sources()
        return any(isinstance(sources[crawl], SampleWeb) for crawl in self.workspace.recipe.corpus())

    # Pages

    @cached_property
    def pages(self) -> pl.DataFrame:
        """Pages of the corpus that models may read: url, warc_file, warc_offset, words, text; sorted by URL."""
        is_kept = self.workspace.recipe.training_pages().is_kept()
        columns = ("url", "warc_file", "warc_offset", "words", "text")
        paths = self.artifact("clean_corpus").table("text")
        if not paths:
            raise NothingToShow("the corpus has no page; see what became of them: llm-assets status")
        return pl.concat([scan_table(path).filter(is_kept).select(columns) for path in paths]).collect().sort("url")

    @cached_property
    def page(self) -> dict[str, Any]:
        """The page that the first steps show: the one whose length is nearest to PAGE_WORDS words."""
        distance = (pl.col("words").cast(pl.Int64) - PAGE_WORDS).abs()
        rows = self.pages.sort(distance, "url").head(1).to_dicts()
        if not rows:
            raise NothingToShow("the corpus has no page; see what became of them: llm-assets status")
        return rows[0]

    # Models

    def engine(self, model: str) -> Engine:
        """The sampling engine of a checkpoint that is named by its stage, such as ``base`` or ``sft``."""
        if model not in self._engines:
            folder = self.artifact(f"{model}_checkpoint").path
            if (notice := folder / NOTICE).is_file():
                self.notices[notice.read_text().strip("> \n").replace("**", "")] = None
            TrainingDevices.from_environment().to_environment()
            from llm_assets.model.checkpoint import load_checkpoint
            from llm_assets.model.devices import pick_device
            from llm_assets.model.sampling import Engine

            self._engines[model] = Engine(*load_checkpoint(folder, pick_device("auto")))
        return self._engines[model]

    @cached_property
    def reward_model(self) -> RewardModel:
        from llm_assets.model.checkpoint import load_model
        from llm_assets.model.devices import pick_device
        from llm_assets.model.reward import RewardModel

        model = load_model(self.artifact("reward_checkpoint").path, pick_device("auto"), kind=RewardModel)
        return model.eval()

    def rewards(self, question: str, answers: Sequence[str]) -> list[float]:
        """The reward model's scores of answers to a question."""
        from llm_assets.model.encoding import Encoding
        from llm_assets.model.reward import score_all
        from llm_assets.preference.reward_checkpoint_process import conversation

        # Not the assistant's, which may have been built again with another tokenizer.
        encoding = Encoding.load(self.artifact("reward_checkpoint").path)
        return score_all(self.reward_model, [conversation(encoding, question, answer) for answer in answers])

    @cached_property
    def _tools(self) -> Callable[[str], Tools | None]:
        """Opens tools by their names, separated by commas."""
        from llm_assets.tools.toolbox import open_toolbox, toolbox_job

        job = toolbox_job(self.artifact("search_index"), self.workspace.recipe.tools)
        return self._stack.enter_context(open_toolbox(job))

    def answer(self, model: str, question: str, tools: str = "") -> str:
        """An assistant's greedy answer, with the calls of its tools in brackets."""
        from llm_assets.dialogue.transcript import from_rows, transcript
        from llm_assets.evaluation.answers import chat_answers
        from llm_assets.evaluation.jobs import Question

        opened = self._tools(tools) if tools else None
        (answer,) = chat_answers(self.engine(model), [Question(0, question, tools)], opened, MAX_TOKENS)
        return transcript(from_rows(answer["messages"]), "unnamed")

    # Questions

    @cached_property
    def evaluation(self) -> pl.DataFrame:
        """The questions of the test split that no conversation of the training contains."""
        return self.table("conversations", "evaluation").filter(pl.col("split") == TEST)

    def questions(self, group: str, tools: str | None = None) -> list[Mapping[str, Any]]:
        """Questions of a group of the evaluation. Raises NothingToShow if it has none."""
        rows = self.evaluation.filter(pl.col("group") == group)
        if tools is not None:
            rows = rows.filter(pl.col("tools") == tools)
        if rows.is_empty():
            raise NothingToShow(f"the evaluation has no question of the group {group!r}: corpus or model are too small")
        return rows.to_dicts()
