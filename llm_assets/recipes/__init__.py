"""Typed recipes: a run's whole configuration is one frozen object returned by a function."""

from .benchmarks import BenchmarkFile, Benchmarks, BenchmarkTask
from .chat import chat
from .compute import Compute
from .curation import (
    PII_TYPES,
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
from .finetuning import (
    ConversationFile,
    Conversations,
    Endpoint,
    Finetuning,
    KnowledgeBoundary,
    QuestionFile,
    SearchIndex,
    SftEvaluation,
    Tools,
)
from .load import RecipeError, load_recipe
from .lora import Lora
from .preference import (
    Dpo,
    HumanRankings,
    RankingFile,
    ResponsePairs,
    RewardTraining,
    Rlhf,
    RlhfEvaluation,
    SimulatedLabeller,
)
from .presets import RECIPES, gpu, laptop
from .pretraining import BaseEvaluation, Model, Pretraining, PublishedEncoding, PublishedModel, Tokenizer, TokenShards
from .quality import QUALITY_RULES
from .quality_rule import Rule
from .recipe import Recipe
from .recrawls import CRAWL_NAME, Recrawl, chain_of
from .reinforcement import PracticeProblems, Reinforcement, RlEvaluation
from .release import ModelExport, Scorecard
from .rollout_server import RolloutServer, ServerRequest
from .sources import CommonCrawl, CommonCrawlIndex, SampleWeb, Source, Texts, WarcFiles, WebCrawl, parse_source
from .web import Blocklists, BlocklistSource

__all__ = [
    "CRAWL_NAME",
    "PII_TYPES",
    "QUALITY_RULES",
    "RECIPES",
    "BaseEvaluation",
    "BenchmarkFile",
    "BenchmarkTask",
    "Benchmarks",
    "BlocklistSource",
    "Blocklists",
    "CommonCrawl",
    "CommonCrawlIndex",
    "Compute",
    "ConversationFile",
    "Conversations",
    "Deduplication",
    "Dpo",
    "Endpoint",
    "Extraction",
    "Finetuning",
    "HumanRankings",
    "KnowledgeBoundary",
    "Language",
    "Lora",
    "Model",
    "ModelExport",
    "PersonalData",
    "PracticeProblems",
    "Pretraining",
    "PublishedEncoding",
    "PublishedModel",
    "Quality",
    "QualityClassifier",
    "QuestionFile",
    "RankingFile",
    "Recipe",
    "RecipeError",
    "Recrawl",
    "Reinforcement",
    "Report",
    "ResponsePairs",
    "RewardTraining",
    "RlEvaluation",
    "Rlhf",
    "RlhfEvaluation",
    "RolloutServer",
    "Rule",
    "SampleWeb",
    "Scorecard",
    "SearchIndex",
    "ServerRequest",
    "SftEvaluation",
    "SimulatedLabeller",
    "Source",
    "TextStatistics",
    "Texts",
    "TokenShards",
    "Tokenizer",
    "Tools",
    "UrlFilter",
    "WarcFiles",
    "WebCrawl",
    "chain_of",
    "chat",
    "gpu",
    "laptop",
    "load_recipe",
    "parse_source",
]
