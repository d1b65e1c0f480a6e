"""Stages of the web package, upstream first."""

from .blocklists import URL_BLOCKLISTS
from .raw_warc import RAW_WARC

STAGES = (URL_BLOCKLISTS, RAW_WARC)
