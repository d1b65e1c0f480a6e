"""The asset graph without Dagster: every stage, upstream first."""

from __future__ import annotations

from llm_assets.artifacts import Graph, Workspace, open_store
from llm_assets.compute import LocalEngine
from llm_assets.curation.clean_corpus import CLEAN_CORPUS
from llm_assets.curation.corpus_report import CORPUS_REPORT
from llm_assets.curation.deduplication import DEDUPLICATED_TEXT
from llm_assets.curation.extracted_text import EXTRACTED_TEXT
from llm_assets.curation.language import LANGUAGE_FILTERED_TEXT
from llm_assets.curation.ledger import REJECT_LEDGER
from llm_assets.curation.quality import QUALITY_FILTERED_TEXT
from llm_assets.curation.quality_classifier import QUALITY_CLASSIFIER
from llm_assets.curation.signatures import TEXT_SIGNATURES
from llm_assets.curation.text_statistics import TEXT_STATISTICS
from llm_assets.curation.url_filter import FILTERED_URLS
from llm_assets.finetuning.conversations import CONVERSATIONS
from llm_assets.finetuning.knowledge_boundary import KNOWLEDGE_BOUNDARY
from llm_assets.finetuning.search_index import SEARCH_INDEX
from llm_assets.finetuning.sft_checkpoint import SFT_CHECKPOINT, UNMITIGATED_CHECKPOINT
from llm_assets.finetuning.sft_evaluation import SFT_EVALUATION
from llm_assets.preference.human_rankings import HUMAN_RANKINGS
from llm_assets.preference.response_pairs import RESPONSE_PAIRS
from llm_assets.preference.reward_checkpoint import REWARD_CHECKPOINT
from llm_assets.preference.rlhf_checkpoint import RLHF_CHECKPOINT
from llm_assets.preference.rlhf_evaluation import RLHF_EVALUATION
from llm_assets.pretraining.base_checkpoint import BASE_CHECKPOINT
from llm_assets.pretraining.base_evaluation import BASE_EVALUATION
from llm_assets.recipes import Recipe, load_recipe
from llm_assets.reinforcement.practice_problems import PRACTICE_PROBLEMS
from llm_assets.reinforcement.rl_checkpoint import RL_CHECKPOINT
from llm_assets.reinforcement.rl_evaluation import RL_EVALUATION
from llm_assets.release.model_export import MODEL_EXPORT
from llm_assets.release.scorecard import SCORECARD
from llm_assets.settings import Settings, load_settings
from llm_assets.tokens.token_shards import TOKEN_SHARDS
from llm_assets.tokens.tokenizer import TOKENIZER
from llm_assets.web.blocklists import URL_BLOCKLISTS
from llm_assets.web.crawls import CrawlRegistry
from llm_assets.web.raw_warc import RAW_WARC

GRAPH = Graph(
    [
        URL_BLOCKLISTS,
        RAW_WARC,
        FILTERED_URLS,
        EXTRACTED_TEXT,
        LANGUAGE_FILTERED_TEXT,
        QUALITY_CLASSIFIER,
        TEXT_STATISTICS,
        QUALITY_FILTERED_TEXT,
        TEXT_SIGNATURES,
        DEDUPLICATED_TEXT,
        CLEAN_CORPUS,
        REJECT_LEDGER,
        CORPUS_REPORT,
        TOKENIZER,
        TOKEN_SHARDS,
        BASE_CHECKPOINT,
        BASE_EVALUATION,
        SEARCH_INDEX,
        KNOWLEDGE_BOUNDARY,
        CONVERSATIONS,
        SFT_CHECKPOINT,
        UNMITIGATED_CHECKPOINT,
        SFT_EVALUATION,
        PRACTICE_PROBLEMS,
        RL_CHECKPOINT,
        RL_EVALUATION,
        RESPONSE_PAIRS,
        HUMAN_RANKINGS,
        REWARD_CHECKPOINT,
        RLHF_CHECKPOINT,
        RLHF_EVALUATION,
        SCORECARD,
        MODEL_EXPORT,
    ]
)


def registry(settings: Settings) -> CrawlRegistry:
    return CrawlRegistry(settings.data / "crawls")


def open_workspace(recipe: Recipe | str | None = None, settings: Settings | None = None) -> Workspace:
    """The workspace that the environment describes: recipe with registered crawls, store, workers."""
    settings = settings or load_settings()
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    return Workspace(registry(settings).effective(chosen), open_store(settings.store, settings.data / "cache"), GRAPH, LocalEngine(settings.workers))
