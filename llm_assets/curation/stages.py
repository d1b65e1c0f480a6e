"""The stages of curation, upstream first."""

from .clean_corpus import CLEAN_CORPUS
from .corpus_report import CORPUS_REPORT
from .deduplication import DEDUPLICATED_TEXT
from .extracted_text import EXTRACTED_TEXT
from .language import LANGUAGE_FILTERED_TEXT
from .ledger import REJECT_LEDGER
from .page_versions import PAGE_VERSIONS, TRAINING_PAGES
from .quality import QUALITY_FILTERED_TEXT
from .quality_classifier import QUALITY_CLASSIFIER
from .signatures import TEXT_SIGNATURES
from .text_statistics.stage import TEXT_STATISTICS
from .url_filter import FILTERED_URLS

STAGES = (
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
    PAGE_VERSIONS,
    TRAINING_PAGES,
    CORPUS_REPORT,
)
