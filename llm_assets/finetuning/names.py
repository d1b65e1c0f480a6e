"""Invented names and words, put together from pieces of real ones."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

MIN_PIECE_LETTERS = 2
MIN_SPLICED_LETTERS = 3
SPLICE_TRIES = 10  # per piece; beside other pieces, the tokeniser may split a piece differently
ORDER = 3  # letters of context from which the next letter of a made-up word is drawn
MAX_MISSES = 1000  # tries in a row without a new name after which `recombine` ends


def split_word(word: str, beginnings: Counter[str], ends: Counter[str]) -> tuple[str, str] | None:
    """A beginning and an end of the word that other words share; None if no split has both.

    beginnings, ends: how many words have each. Of several splits, the one whose rarer half is most common.
    """
    splits = [(word[:place], word[place:]) for place in range(MIN_PIECE_LETTERS, len(word) - MIN_PIECE_LETTERS + 1)]
    shared_splits = [(beginning, end) for beginning, end in splits if beginnings[beginning] > 1 and ends[end] > 1]
    return max(
        shared_splits,
        key=lambda split: (min(beginnings[split[0]], ends[split[1]]), len(split[1])),
        default=None,
    )


@dataclass(frozen=True)
class NamePieces:
    """Names taken apart.

    by_length: names as lists of words, by the number of words. lengths: the number of words of each name. uses: how
    many names a word occurs in. halves: (beginning, end) of the words that occur in one name only.
    """

    by_length: dict[int, list[list[str]]]
    lengths: list[int]
    uses: Counter[str]
    halves: list[tuple[str, str]]

    @classmethod
    def of(cls, names: Sequence[str], other_names: Sequence[str]) -> NamePieces:
        """The pieces of `names`. other_names: further names that show where words can be split."""
        by_length: dict[int, list[list[str]]] = {}
        for name in sorted(set(names)):
            by_length.setdefault(len(name.split()), []).append(name.split())
        uses = Counter(word for same_length in by_length.values() for words in same_length for word in set(words))
        rare_words = sorted(word for word, count in uses.items() if count == 1)
        split_at = sorted({*rare_words, *(word for name in other_names for word in name.split())})
        beginnings: Counter[str] = Counter()
        ends: Counter[str] = Counter()
        for word in split_at:
            for place in range(MIN_PIECE_LETTERS, len(word) - MIN_PIECE_LETTERS + 1):
                beginnings[word[:place]] += 1
                ends[word[place:]] += 1
        splits = (split_word(word, beginnings, ends) for word in rare_words)
        lengths = [length for length, same_length in by_length.items() for _ in same_length]
        return cls(by_length, lengths, uses, [split for split in splits if split is not None])

    def draw(self, rng: random.Random) -> list[str]:
        """The words of a random name, not necessarily a new one."""
        same_length = self.by_length[rng.choice(self.lengths)]
        words = []
        for place, word in enumerate(rng.choice(same_length)):
            if self.uses[word] > 1:
                other = rng.choice(same_length)[place]
                words.append(other if self.uses[other] > 1 else word)
            elif self.halves:
                words.append(rng.choice(self.halves)[0] + rng.choice(self.halves)[1])
            else:
                words.append(rng.choice(same_length)[place])
        return words


def recombine(
    names: Sequence[str],
    rng: random.Random,
    taken: Collection[str],
    words_taken: Collection[str] = (),
    other_names: Sequence[str] = (),
) -> Iterator[str]:
    """New names recombined from `names`: all distinct, none in `taken`.

    Words that several names share stay whole. Rarer words are put together from halves that several words share;
    `other_names` are further names that show where words can be split. No word made this way is in `words_taken`.
    Ends after MAX_MISSES tries in a row without a new name.
    """
    pieces = NamePieces.of(names, other_names)
    if not pieces.by_length:
        return
    seen, misses = set(taken), 0
    while misses < MAX_MISSES:
        words = pieces.draw(rng)
        name = " ".join(words)
        has_taken_word = any(word in words_taken for word in words if pieces.uses[word] == 0)
        has_rare_word = len(words) > 1 and pieces.halves and any(pieces.uses[word] == 1 for word in words)
        if name in seen or has_taken_word or has_rare_word:
            misses += 1
            continue
        misses = 0
        seen.add(name)
        yield name


def made_up_words(words: Sequence[str], rng: random.Random, count: int) -> list[str]:
    """At most `count` different letter strings that resemble `words`: none is one of them or longer than the longest.

    Each letter is drawn from those that follow the three letters before it in some word (Shannon, "A Mathematical
    Theory of Communication", 1948, section 3, applied to letters).
    """
    real_words = sorted(set(words))
    followers: dict[str, list[str]] = {}
    for word in real_words:
        marked = f"{'^' * ORDER}{word}$"
        for place in range(ORDER, len(marked)):
            followers.setdefault(marked[place - ORDER : place], []).append(marked[place])
    longest = max(map(len, real_words), default=0)
    taken, new_words = set(real_words), []
    for _ in range(20 * count if real_words else 0):
        letters = "^" * ORDER
        while not letters.endswith("$") and len(letters) <= ORDER + longest:
            letters += rng.choice(followers[letters[-ORDER:]])
        word = letters.strip("^$")
        if len(new_words) < count and letters.endswith("$") and word not in taken:
            taken.add(word)
            new_words.append(word)
    return new_words


def spliced_words(
    pieces: Sequence[str],
    words: Sequence[str],
    rng: random.Random,
    count: int,
    split_into_tokens: Callable[[str], Collection[str]],
) -> list[str]:
    """At most `count` different strings of one to three pieces; none is one of `words` or longer than the longest.

    Every piece gets its turn. A string is taken only if `split_into_tokens`, which splits it as the model reads it,
    keeps that piece whole.

    A model copies a word token by token. It copies a token wrongly that no other word of its training contains, such as
    `reen` of `green`.
    """
    longest, taken, new_words = max(map(len, words), default=0), set(words), []
    usable = sorted({piece for piece in pieces if len(piece) <= longest})
    while usable and len(new_words) < count:
        count_before = len(new_words)
        for piece in rng.sample(usable, len(usable)):
            for _ in range(SPLICE_TRIES):
                parts = [piece]
                for _ in range(rng.randrange(3)):
                    parts.insert(rng.randrange(len(parts) + 1), rng.choice(usable))
                word = "".join(parts)
                is_new = MIN_SPLICED_LETTERS <= len(word) <= longest and word not in taken
                if is_new and piece in split_into_tokens(word):
                    taken.add(word)
                    new_words.append(word)
                    break
        if len(new_words) == count_before:
            break
    return new_words[:count]
