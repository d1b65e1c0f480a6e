"""Typed recipes: a run's whole configuration is one frozen object returned by a function."""

from .dial import RECIPES, laptop
from .finetuning import ConversationFile, Conversations, Endpoint, Finetuning, KnowledgeBoundary, SearchIndex, SftEvaluation, Tools
from .load import RecipeError, load_recipe
from .preference import HumanRankings, RankingFile, ResponsePairs, RewardTraining, Rlhf, RlhfEvaluation, SimulatedLabeller
from .pretraining import BaseEvaluation, Model, Pretraining, PublishedEncoding, Tokenizer, TokenShards
from .quality import QUALITY_RULES, Rule
from .recipe import (
    PII_TYPES,
    Blocklists,
    BlocklistSource,
    Deduplication,
    Extraction,
    Language,
    PersonalData,
    Quality,
    QualityClassifier,
    Recipe,
    Recrawl,
    Report,
    TextStatistics,
    UrlFilter,
)
from .reinforcement import PracticeProblems, Reinforcement, RlEvaluation
from .release import ModelExport, Scorecard
from .sources import CommonCrawl, SampleWeb, Source, WarcFiles, WebCrawl, parse_source

__all__ = [
    "PII_TYPES",
    "QUALITY_RULES",
    "RECIPES",
    "BaseEvaluation",
    "BlocklistSource",
    "Blocklists",
    "CommonCrawl",
    "ConversationFile",
    "Conversations",
    "Deduplication",
    "Endpoint",
    "Extraction",
    "Finetuning",
    "HumanRankings",
    "KnowledgeBoundary",
    "Language",
    "Model", "ModelExport",
    "PersonalData",
    "PracticeProblems",
    "Pretraining",
    "PublishedEncoding",
    "Quality",
    "QualityClassifier",
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
    "Rule",
    "SampleWeb", "Scorecard",
    "SearchIndex",
    "SftEvaluation",
    "SimulatedLabeller",
    "Source",
    "TextStatistics",
    "TokenShards",
    "Tokenizer",
    "Tools",
    "UrlFilter",
    "WarcFiles",
    "WebCrawl",
    "laptop",
    "load_recipe",
    "parse_source",
]
