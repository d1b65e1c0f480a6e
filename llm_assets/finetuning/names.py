"""Names of things that do not exist, and words that are none: made of the pieces of those that are."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence

LEAST = 2  # letters of a piece
SHORTEST = 3  # letters of a word that is spliced
TRIES = 10  # of a splice that holds its piece: pieces in a row may be split elsewhere
ORDER = 3  # letters after which the next one of a made-up word is drawn


def split_word(word: str, beginnings: Counter[str], ends: Counter[str]) -> tuple[str, str] | None:
    """Where a word falls into a beginning and an end that other words have too: the split whose rarer half is commonest."""
    splits = [(word[:place], word[place:]) for place in range(LEAST, len(word) - LEAST + 1)]
    splits = [(a, b) for a, b in splits if beginnings[a] > 1 and ends[b] > 1]
    return max(splits, key=lambda split: (min(beginnings[split[0]], ends[split[1]]), len(split[1])), default=None)


def recombine(
    names: Sequence[str],
    rng: random.Random,
    taken: Collection[str],
    words_taken: Collection[str] = (),
    pieces: Sequence[str] = (),
) -> Iterator[str]:
    """Names that are none of `taken`, none twice: words that several of `names` share stay whole, rarer ones are put together
    anew from halves that several have (`pieces` are further names to tell where words fall into halves). A word made so is none of
    `words_taken`. Ends after 1,000 tries without a new name.
    """
    by_length: dict[int, list[list[str]]] = {}
    for name in sorted(set(names)):
        by_length.setdefault(len(name.split()), []).append(name.split())
    if not by_length:
        return
    shared = Counter(word for words in by_length.values() for name in words for word in set(name))
    rare = sorted(word for word, count in shared.items() if count == 1)
    known = sorted({*rare, *(word for name in pieces for word in name.split())})
    beginnings = Counter(word[:place] for word in known for place in range(LEAST, len(word) - LEAST + 1))
    ends = Counter(word[place:] for word in known for place in range(LEAST, len(word) - LEAST + 1))
    halves = [split for split in (split_word(word, beginnings, ends) for word in rare) if split is not None]
    lengths = [length for length, alike in by_length.items() for _ in alike]
    seen, misses = set(taken), 0
    while misses < 1000:
        alike = by_length[rng.choice(lengths)]
        pattern = rng.choice(alike)
        words = []
        for place, word in enumerate(pattern):
            if shared[word] > 1:
                other = rng.choice(alike)[place]
                words.append(other if shared[other] > 1 else word)
            elif halves:
                words.append(rng.choice(halves)[0] + rng.choice(halves)[1])
            else:
                words.append(rng.choice(alike)[place])
        name = " ".join(words)
        made = [word for word in words if shared[word] == 0]
        if (
            name in seen
            or any(word in words_taken for word in made)
            or any(shared[word] == 1 for word in words if len(words) > 1 and halves)
        ):
            misses += 1
            continue
        misses = 0
        seen.add(name)
        yield name


def made_up_words(words: Sequence[str], rng: random.Random, most: int) -> list[str]:
    """At most so many words that are none of `words`, none twice, none longer than the longest: what follows three letters in them
    follows these in some word (Shannon, "A Mathematical Theory of Communication", 1948, section 3, letter by letter).
    """
    real = sorted(set(words))
    follows: dict[str, list[str]] = {}
    for word in real:
        marked = f"{'^' * ORDER}{word}$"
        for place in range(ORDER, len(marked)):
            follows.setdefault(marked[place - ORDER : place], []).append(marked[place])
    longest, taken, found = max(map(len, real), default=0), set(real), []
    for _ in range(20 * most if real else 0):
        made = "^" * ORDER
        while not made.endswith("$") and len(made) <= ORDER + longest:
            made += rng.choice(follows[made[-ORDER:]])
        word = made.strip("^$")
        if len(found) < most and made.endswith("$") and word not in taken:
            taken.add(word)
            found.append(word)
    return found


def spliced_words(
    pieces: Sequence[str], words: Sequence[str], rng: random.Random, most: int, split: Callable[[str], Collection[str]]
) -> list[str]:
    """At most so many words that are none of `words`, none twice, none longer than the longest: one to three `pieces` in a row, every piece
    in turn. split: the pieces of a word as the model reads it, among which is the one whose turn it is.

    A model copies a word token by token; one that no other word of its training holds, as `reen` of `green`, it copies wrong.
    """
    longest, taken, found = max(map(len, words), default=0), set(words), []
    usable = sorted({piece for piece in pieces if len(piece) <= longest})
    while usable and len(found) < most:
        before = len(found)
        for piece in rng.sample(usable, len(usable)):
            for _ in range(TRIES):
                row = [piece]
                for _ in range(rng.randrange(3)):
                    row.insert(rng.randrange(len(row) + 1), rng.choice(usable))
                word = "".join(row)
                if SHORTEST <= len(word) <= longest and word not in taken and piece in split(word):
                    taken.add(word)
                    found.append(word)
                    break
        if len(found) == before:
            break
    return found[:most]
