"""Labels of language models, and the languages that they name.

Every model has its own labels: lid.176 has `en`, `no`, `zh`; GlotLID has `eng_Latn`, `nob_Latn`, `cmn_Hani`. A target
is compared with them as it is written, so one that the model does not have would reject every page.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from langcodes import LanguageTagError, tag_distance

from .fasttext_file import LanguageModelError

_OTHER_LANGUAGE = 80  # of langcodes' distances (CLDR's), the least between languages that are not mutually intelligible
_SUGGESTED, _LISTED = 3, 10


def _distance(label: str, other: str) -> int:
    """CLDR's distance of two labels; that of unrelated languages where one is no language tag."""
    try:
        return tag_distance(label, other)
    except (LanguageTagError, ValueError):
        return 1_000


def near_labels(target: str, labels: Sequence[str]) -> list[str]:
    """Up to three labels that name the target's language or a near one, nearest first; else those spelt alike."""
    distances = sorted((_distance(target, label), label) for label in labels)
    near = [label for distance, label in distances if distance < _OTHER_LANGUAGE]
    return near[:_SUGGESTED] or difflib.get_close_matches(target, labels, _SUGGESTED)


def check_targets(targets: Iterable[str], labels: Sequence[str], model: str) -> None:
    """Check that a model has every target among its labels. Raises LanguageModelError, which names near labels."""
    for target in targets:
        if target in labels:
            continue
        near = near_labels(target, labels)
        shown = ", ".join(sorted(labels)[:_LISTED]) + (", …" if len(labels) > _LISTED else "")
        advice = f"near labels: {', '.join(near)}" if near else f"its {len(labels)} labels are {shown}"
        raise LanguageModelError(f"language.targets: the language model {model} has no label {target!r}; {advice}")
