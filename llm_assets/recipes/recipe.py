"""The recipe: the whole configuration of a run.

Every field has a type, and a description with its unit and source. An unknown field or an impossible value is an error.
A field marked EXECUTION_ONLY (a path, a base URL, a politeness setting) is not part of an artifact's identity.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from llm_assets.artifacts.identity import OMITTED_IF_NONE

from .benchmarks import Benchmarks
from .curation import (
    Deduplication,
    Extraction,
    Language,
    PersonalData,
    Quality,
    QualityClassifier,
    Report,
    TextStatistics,
    UrlFilter,
)
from .demonstrations import Demonstrations
from .finetuning import (
    ConversationFile,
    Conversations,
    Finetuning,
    KnowledgeBoundary,
    SearchIndex,
    SftEvaluation,
    Tools,
    file_name,
)
from .fineweb2 import preset_of, published
from .frozen import Frozen
from .preference import Dpo, HumanRankings, ResponsePairs, RewardTraining, Rlhf, RlhfEvaluation
from .pretraining import BaseEvaluation, Model, Pretraining, Tokenizer, TokenShards
from .quality import STATISTICS_OF
from .recrawls import Recrawl, chain_of, check_chains
from .reinforcement import PracticeProblems, Reinforcement, RlEvaluation
from .release import ModelExport, Scorecard
from .sources import Source
from .training_pages import TrainingPages
from .web import Blocklists


class Recipe(Frozen):
    """The whole configuration of a run."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9_.@,-]+$",
        description="name of the recipe in reports and experiment tracking; not part of any identity",
    )
    crawls: dict[str, Source] = Field(description="sources of the recipe's own crawls, by crawl name")
    registered_crawls: Literal["all"] | tuple[str, ...] = Field(
        (),
        description="registered crawls that the recipe reads as well: all, or those with one of these name prefixes",
    )
    other_crawls: dict[str, Source] = Field(
        {},
        description="filled in by the registry: registered crawls that are not read, but can be built",
    )
    only_crawls: tuple[str, ...] = Field(
        (),
        description="filled in by recipe@crawl: the only crawls that the recipe reads, registered or its own",
    )
    from_registry: tuple[str, ...] = Field(
        (), description="filled in by the registry: those of `crawls` that come from it"
    )
    search_only_hosts: tuple[str, ...] = Field(
        (), description="hosts, with their subdomains, whose pages are searchable but never trained on"
    )
    leave_out: tuple[str, ...] = Field(
        (),
        description="assets that are not built, nor what cannot do without them: practice_problems stands for "
        "reinforcement learning",
    )
    compare_with_ablation: bool = Field(
        False,
        description="train an ablation as long as the assistant, without the conversations that teach it to admit not "
        "knowing, and measure it beside the assistant. Without it, ablation_checkpoint is built on demand, and only "
        "the demonstrations read it",
    )
    preference_tuning: Literal["rlhf", "dpo"] = Field(
        "rlhf",
        description="what the rankings train: a reward model to which the policy is tuned (RLHF), or the policy itself "
        "(DPO). With rlhf, dpo_checkpoint is built on demand",
    )
    evaluation_split: Literal["development", "test"] = Field(
        "test",
        description="the questions, problems and prompts that the evaluations of the assistant use; tune a recipe on "
        "development, which shares no word, name, calculation or wording with the test",
    )
    blocklists: Blocklists = Blocklists()
    url_filter: UrlFilter = UrlFilter()
    extraction: Extraction = Extraction()
    language: Language = Language()
    quality_classifier: QualityClassifier = QualityClassifier()
    text_statistics: TextStatistics = TextStatistics()
    quality: Quality = Quality()
    deduplication: Deduplication = Deduplication()
    personal_data: PersonalData = PersonalData()
    report: Report = Report()
    tokenizer: Tokenizer = Tokenizer()
    token_shards: TokenShards = TokenShards()
    model: Model = Model()
    pretraining: Pretraining = Pretraining()
    base_evaluation: BaseEvaluation = BaseEvaluation()
    search_index: SearchIndex = SearchIndex()
    tools: Tools = Tools()
    knowledge_boundary: KnowledgeBoundary = KnowledgeBoundary()
    conversations: Conversations = Conversations()
    finetuning: Finetuning = Finetuning()
    sft_evaluation: SftEvaluation = SftEvaluation()
    practice_problems: PracticeProblems = PracticeProblems()
    reinforcement: Reinforcement = Reinforcement()
    rl_evaluation: RlEvaluation = RlEvaluation()
    response_pairs: ResponsePairs = ResponsePairs()
    human_rankings: HumanRankings = HumanRankings()
    reward_training: RewardTraining = RewardTraining()
    rlhf: Rlhf = Rlhf()
    dpo: Annotated[Dpo | None, OMITTED_IF_NONE] = Field(
        None, description="settings of dpo_checkpoint; None takes the defaults"
    )
    rlhf_evaluation: RlhfEvaluation = RlhfEvaluation()
    benchmarks: Annotated[Benchmarks | None, OMITTED_IF_NONE] = Field(
        None, description="standard benchmarks; None leaves benchmark_evaluation out"
    )
    scorecard: Scorecard = Scorecard()
    model_export: ModelExport = ModelExport()
    demonstrations: Demonstrations = Demonstrations()
    recrawls: tuple[Recrawl, ...] = Field((), description="schedules that crawl again")

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        check_chains(self.sources())
        schedules = [recrawl.schedule_name for recrawl in self.recrawls]
        if len(set(schedules)) < len(schedules):
            raise ValueError(f"recrawls: two schedules have one prefix ({', '.join(schedules)}); give each its own")
        if self.quality.min_quality_score is not None and self.quality_classifier.examples is None:
            raise ValueError("quality.min_quality_score needs quality_classifier.examples")
        for field, names in (
            ("tokenizer.crawls", self.tokenizer.crawls),
            ("pretraining.crawls", self.pretraining.crawls),
        ):
            for name in names or ():
                if name not in self.crawls:
                    raise ValueError(f"{field} names {name!r}, which is no crawl of this recipe")
        return self

    def with_quality_rules(self, name: str) -> Recipe:
        """This recipe with another pinned set of quality rules: its thresholds, and its way of counting."""
        if name not in STATISTICS_OF:
            raise ValueError(f"unknown rules {name!r}; available: {', '.join(STATISTICS_OF)}")
        return self.replace(
            text_statistics=self.text_statistics.replace(**STATISTICS_OF[name]),
            quality=self.quality.replace(rules=name, thresholds={}),
        )

    def in_language(self, language: str) -> Recipe:
        """This recipe for pages in another language, with the quality rules that FineWeb-2 published for it.

        language: a label of the model that tells languages, which decides on the threshold: of lid.176 (`de`), with
        P ≥ 0.65 as for English; of GlotLID (`deu_Latn`), with FineWeb-2's threshold. GlotLID's file is named in
        `language.model`. Raises ValueError for a language without published rules.
        """
        preset = preset_of(language)
        threshold = 0.65 if language == preset.code else published()[preset.label]["language_score"]
        return self.with_quality_rules(preset.rules).replace(
            language=self.language.replace(targets=(language,), threshold=threshold),
            personal_data=self.personal_data.replace(phone_region=preset.phone_region),
        )

    def with_word_problems(self, path: str) -> Recipe:
        """This recipe with reinforcement learning on the word problems of a file alone, in GSM8K's format.

        They are named as the file is, without its endings.
        """
        file = ConversationFile(path=path, name=file_name(path))
        problems = self.practice_problems.replace(families={"word_problems": 1.0}, levels={}, word_problems=file)
        left_out = tuple(name for name in self.leave_out if name != "practice_problems")
        return self.replace(practice_problems=problems, leave_out=left_out)

    def sources(self) -> dict[str, Any]:
        """Every crawl that can be built, with its source, whether this recipe reads it or not."""
        return {**self.other_crawls, **self.crawls}

    def reads_crawls(self) -> bool:
        """Whether the recipe reads crawls: its own, those of schedules, or registered ones, if there are any yet."""
        return bool(self.crawls or self.only_crawls or self.registered_crawls or self.recrawls)

    def corpus(self) -> list[str]:
        """Crawls that this recipe reads, sorted: its own, those of its schedules, and the registered ones it names."""
        return sorted(self.crawls)

    def trained_crawls(self) -> list[str]:
        """Crawls that models are trained on: `corpus` without those of schedules with ``model="leave"``."""
        if self.pretraining.crawls is not None:
            return sorted(self.pretraining.crawls)
        search_only = [recrawl for recrawl in self.recrawls if recrawl.model == "leave"]
        return [crawl for crawl in self.corpus() if not any(recrawl.owns(crawl) for recrawl in search_only)]

    def training_pages(self) -> TrainingPages:
        """Which pages of these crawls models are trained on."""
        return TrainingPages(search_only_hosts=self.search_only_hosts)

    def tokenizer_crawls(self) -> list[str]:
        """Crawls that the tokenizer is trained on: `tokenizer.crawls`, or the recipe's own crawls.

        Registering a crawl therefore does not change the tokenizer, and the shards of earlier crawls stay valid. A
        recipe without own crawls uses all registered ones that it reads, or the oldest crawl of its schedules.
        """
        if self.tokenizer.crawls is not None:
            return sorted(self.tokenizer.crawls)
        unscheduled = [crawl for crawl in self.corpus() if not any(recrawl.owns(crawl) for recrawl in self.recrawls)]
        named = [crawl for crawl in unscheduled if crawl not in self.from_registry]
        return named or unscheduled or self.corpus()[:1]

    def asks_for(self, crawl: str) -> bool:
        """Whether this recipe reads a registered crawl of that name."""
        if self.registered_crawls == "all" or any(recrawl.owns(crawl) for recrawl in self.recrawls):
            return True
        return any(crawl.startswith(prefix) for prefix in self.registered_crawls)

    def with_registered(self, registered: dict[str, Any]) -> Recipe:
        """This recipe with the crawls of the registry; where both define a crawl, the recipe's definition wins."""
        if self.only_crawls:
            return self._with_only_crawls({**registered, **self.sources()})
        added = {name: source for name, source in registered.items() if name not in self.crawls}
        read = {name: source for name, source in added.items() if self.asks_for(name)}
        unread = {name: source for name, source in added.items() if name not in read}
        return self.replace(crawls={**read, **self.crawls}, other_crawls=unread, from_registry=tuple(sorted(read)))

    def _with_only_crawls(self, sources: dict[str, Any]) -> Recipe:
        for name in self.only_crawls:
            if name not in sources:
                known = ", ".join(sorted(sources)) or "none"
                raise ValueError(f"no crawl {name!r}; available: {known}; register one with: llm-assets crawls add")
        # An incremental crawl stores only changed pages: the unchanged ones are in the crawls that it continues.
        chains = [[name, *chain_of(name, sources)] for name in self.only_crawls]
        read = {name: sources[name] for chain in chains for name in chain}
        unread = {name: source for name, source in sources.items() if name not in read}
        return self.replace(crawls=read, other_crawls=unread)

    def reading_only(self, names: tuple[str, ...]) -> Recipe:
        """This recipe reading these crawls, its own or registered ones, instead of all others.

        The tokenizer and the models are trained on all of them. `with_registered` looks up their sources.
        """
        return self.replace(
            name=f"{self.name.partition('@')[0]}@{','.join(names)}",
            only_crawls=names,
            registered_crawls=(),
            recrawls=(),
            tokenizer=self.tokenizer.replace(crawls=None),
            pretraining=self.pretraining.replace(crawls=None),
        )

    def written(self) -> Recipe:
        """This recipe without the crawls of the registry: as its author wrote it."""
        own_crawls = {name: source for name, source in self.crawls.items() if name not in self.from_registry}
        return self.replace(crawls=own_crawls, other_crawls={}, from_registry=())

    def without_crawl(self, name: str) -> Recipe:
        """This recipe before one of its crawls was added. The crawl can still be built, and continued by others."""
        if name not in self.crawls:
            return self

        def without_name(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
            return None if names is None else tuple(other for other in names if other != name)

        return self.replace(
            crawls={crawl: source for crawl, source in self.crawls.items() if crawl != name},
            other_crawls={**self.other_crawls, name: self.crawls[name]},
            tokenizer=self.tokenizer.replace(crawls=without_name(self.tokenizer.crawls)),
            pretraining=self.pretraining.replace(crawls=without_name(self.pretraining.crawls)),
        )

    def continuing_crawls(self) -> dict[str, Recrawl]:
        """Crawls that the base model continues its training on, oldest first, with the schedules that own them."""
        owners = {
            crawl: recrawl
            for crawl in self.trained_crawls()
            for recrawl in self.recrawls
            if recrawl.model == "continue" and recrawl.owns(crawl)
        }
        return dict(sorted(owners.items(), key=lambda item: (item[0].removeprefix(item[1].prefix), item[0])))

    def continue_share(self) -> float | None:
        """Tokens for the newest continuing crawl, as a share of a full training's; None without such a crawl."""
        continuing = list(self.continuing_crawls().values())
        return continuing[-1].continue_share if continuing else None

    def before_continuing(self, crawls: list[str]) -> Recipe | None:
        """The recipe of the model that the newest continuing crawl among `crawls` continues; None if there is none.

        It drops that crawl, and the continuing crawls that are not among `crawls`: no earlier model was trained on
        them.
        """
        continuing = self.continuing_crawls()
        read = [crawl for crawl in continuing if crawl in crawls]
        if not read:
            return None
        recipe = self
        for crawl in continuing:
            if crawl == read[-1] or crawl not in crawls:
                recipe = recipe.without_crawl(crawl)
        return recipe
