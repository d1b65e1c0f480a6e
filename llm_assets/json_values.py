"""JSON from other people's files: values whose strings can be encoded as UTF-8."""

from __future__ import annotations

import json
import re
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")
REPLACEMENT = "\ufffd"


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text, with U+FFFD in place of each half of a surrogate pair.

    JSON may escape half a character (RFC 8259, section 8.2), as files do that cut texts in UTF-16. Python keeps it in
    the string, which no UTF-8 file, table or tokenizer can hold. Raises ValueError if the text is not JSON, and
    RecursionError if it is nested too deep.
    """
    return _well_formed(json.loads(text))


def _well_formed(value: Any) -> Any:
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, list):
        return [_well_formed(item) for item in value]
    if isinstance(value, dict):
        return {well_formed(name): _well_formed(item) for name, item in value.items()}
    return value


def well_formed(text: str) -> str:
    """The text with U+FFFD in place of lone surrogates."""
    return _SURROGATE.sub(REPLACEMENT, text)
