"""The language that a language model's label names."""

from __future__ import annotations

from collections.abc import Iterable

from langcodes import Language, LanguageTagError


def language_of(label: str) -> str:
    """The ISO 639 code of a label's language (its macrolanguage): `en` of `eng_Latn` or `en-GB`, `zh` of `cmn_Hani`.

    Labels that are no language tags are their own language.
    """
    try:
        return Language.get(label).prefer_macrolanguage().language or label
    except (LanguageTagError, ValueError):
        return label


def languages_of(labels: Iterable[str]) -> tuple[str, ...]:
    """The ISO 639 codes of the labels' languages, sorted, each once."""
    return tuple(sorted({language_of(label) for label in labels}))


def alpha3_of(label: str) -> str:
    """The ISO 639-3 code of a label's language: `eng` of `en` or `eng`. Raises ValueError for a label without one."""
    try:
        language = Language.get(label)
        code = language.to_alpha3()
    except (LanguageTagError, LookupError, ValueError):
        raise ValueError(f"{label!r} is not the code of a language, such as en or eng") from None
    return code
