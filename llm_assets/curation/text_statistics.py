"""`text_statistics`: every number that a quality rule looks at, as a column, computed once; and C4's edited text.

The verdict (`quality_filtered_text`) is an expression over these columns, so that another threshold computes none of
them again. Sources of the definitions: Gopher, arXiv:2112.11446, section A1.1 and table A1; C4, arXiv:1910.10683,
section 2.2; FineWeb, arXiv:2406.17557, section 3.4; where a paper leaves something open (what is a word, which line is
blank), what the pipelines that made the published data did.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step, Task
from llm_assets.artifacts.tables import batches
from llm_assets.compute.compiled import compiled, inlined
from llm_assets.recipes import TextStatistics

from .characters import ALPHA, LINE_BREAK, SPACE, SYMBOL, TERMINAL, decode, encode, kinds_of, kinds_table
from .quality_classifier import QUALITY_CLASSIFIER, load_classifier
from .schemas import STATISTICS, TextStatistic
from .text_buffers import texts_from, utf8_buffers
from .word_splitting import SPACY, TREEBANK, count_sentences, split_words

# n-grams are counted over the first million words; whoever is longer is dropped by the word limit (100,000) anyway,
# and a page of 8 million exclamation marks must not take a table of 300 MB.
MOST_WORDS = 1 << 20
# C4: lines that mention these are no prose (tensorflow/datasets, c4_utils.py).
JAVASCRIPT, LOREM_IPSUM = "javascript", "lorem ipsum"
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_PHRASES = (JAVASCRIPT, LOREM_IPSUM, *POLICY)
_CITATIONS = ("[edit]", "[citation needed]")

_COLUMN = {name: place for place, name in enumerate(STATISTICS)}
_CHARACTERS, _WORDS, _NON_SYMBOL, _MEAN_LENGTH = (
    _COLUMN[c] for c in ("characters", "words", "non_symbol_words", "mean_word_length")
)
_HASH, _ELLIPSIS, _ALPHA, _STOP = (
    _COLUMN[c] for c in ("hash_ratio", "ellipsis_ratio", "alpha_word_ratio", "stop_words")
)
_BULLET_LINES, _ELLIPSIS_LINES = _COLUMN["bullet_line_ratio"], _COLUMN["ellipsis_line_ratio"]
_DUP_LINE, _DUP_PARA, _DUP_LINE_CHARS, _DUP_PARA_CHARS = (
    _COLUMN[c]
    for c in (
        "duplicate_line_ratio",
        "duplicate_paragraph_ratio",
        "duplicate_line_character_ratio",
        "duplicate_paragraph_character_ratio",
    )
)
_TOP, _DUPLICATE = _COLUMN["top_2_gram_character_ratio"], _COLUMN["duplicate_5_gram_character_ratio"]
_LOREM, _CURLY, _SENTENCES, _REMOVED = (
    _COLUMN[c] for c in ("lorem_ipsum", "curly_bracket", "sentences", "removed_lines")
)
_TERMINAL_LINES, _SHORT_LINES, _EDITED_DUP, _NEWLINES = (
    _COLUMN[c]
    for c in ("terminal_line_ratio", "short_line_ratio", "edited_duplicate_line_character_ratio", "newline_ratio")
)
_EDITED = _COLUMN["edited_characters"]

_MIX = np.uint64(0x9E3779B97F4A7C15)
_BASE = np.uint64(0x100000001B3)


def _codes(phrases: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Code points end to end, and where each phrase starts."""
    return np.array([ord(c) for phrase in phrases for c in phrase], np.uint32), np.cumsum([0, *map(len, phrases)])


def _text_hash(word: str) -> np.uint64:
    value = 0
    for character in word:
        value = (value * int(_BASE) + ord(character) + 1) & 0xFFFFFFFFFFFFFFFF
    return np.uint64(value)


def compute(texts: pl.Series, definition: TextStatistics) -> tuple[np.ndarray, pl.Series]:
    """Statistics (float64, (n, columns) in the order of STATISTICS) and edited texts of a series."""
    data, offsets = utf8_buffers(texts)
    longest = int(np.diff(offsets).max(initial=0)) + 2
    statistics = np.zeros((len(texts), len(STATISTICS)))
    edited, edited_offsets = np.zeros(max(len(data), 1), np.uint8), np.zeros(len(texts) + 1, np.int64)
    phrases, phrase_starts = _codes(_PHRASES)
    citations, citation_starts = _codes(_CITATIONS)
    stop_words = np.array([_text_hash(word) for word in definition.stop_words], np.uint64)
    _statistics(
        data,
        offsets,
        TREEBANK if definition.word_splitting == "treebank" else SPACY,
        definition.terminal_punctuation == "ascii",
        definition.count_blank_lines,
        definition.min_words_per_line,
        definition.max_word_length,
        definition.short_line_length,
        kinds_table(),
        stop_words,
        phrases,
        phrase_starts,
        citations,
        citation_starts,
        longest,
        statistics,
        edited,
        edited_offsets,
    )
    return statistics, texts_from(edited[: edited_offsets[-1]], edited_offsets)


@inlined
def _slot_of(key, mask):  # type: ignore[no-untyped-def]
    mixed = key * _MIX
    return (mixed ^ (mixed >> np.uint64(29))) & mask


@compiled
def _hash_prefixes(text, n, prefixes, powers):  # type: ignore[no-untyped-def]
    """Polynomial hashes of every prefix: the hash of any span is then two multiplications away."""
    prefixes[0] = np.uint64(0)
    for i in range(n):
        prefixes[i + 1] = prefixes[i] * _BASE + np.uint64(text[i]) + np.uint64(1)
    known = 0
    while known < n and powers[known] != 0:
        known += 1
    if powers[0] == 0:
        powers[0] = np.uint64(1)
        known = 1
    for i in range(known, n + 1):
        powers[i] = powers[i - 1] * _BASE


@inlined
def _span_hash(prefixes, powers, start, end):  # type: ignore[no-untyped-def]
    return prefixes[end] - prefixes[start] * powers[end - start]


@inlined
def _mask(things):  # type: ignore[no-untyped-def]
    """Of a table at least twice as large as the things in it, and no larger: small pages stay in the cache."""
    size = 16
    while size < 2 * things + 2:
        size *= 2
    return np.uint64(size - 1)


@compiled
def _seen(key, keys, stamps, stamp, mask):  # type: ignore[no-untyped-def]
    """The slot of a key in an open-addressed table, and whether it was there under this stamp."""
    slot = _slot_of(key, mask)
    while stamps[slot] == stamp:
        if keys[slot] == key:
            return slot, True
        slot = (slot + np.uint64(1)) & mask
    keys[slot] = key
    stamps[slot] = stamp
    return slot, False


@compiled
def _match(text, at, end, phrase, start, stop):  # type: ignore[no-untyped-def]
    """Whether the phrase (lower case, ASCII) stands at `at`, whatever its case in the text."""
    if at + (stop - start) > end:
        return False
    for i in range(stop - start):
        code = text[at + i]
        if 65 <= code <= 90:
            code |= np.uint32(32)
        if code != phrase[start + i]:
            return False
    return True


@compiled
def _spans(text, start, end, least, spans):  # type: ignore[no-untyped-def]
    """Split text[start:end] at every run of at least `least` line feeds; spans into `spans`, their number returned."""
    count = 0
    first = at = start
    while at < end:
        if text[at] == 10:
            run = at
            while run < end and text[run] == 10:
                run += 1
            if run - at >= least:
                spans[count, 0], spans[count, 1] = first, at
                count += 1
                first = run
            at = run
        else:
            at += 1
    spans[count, 0], spans[count, 1] = first, end
    return count + 1


@compiled
def _duplicates(prefixes, powers, spans, count, keys, stamps, stamp, mask):  # type: ignore[no-untyped-def]
    """How many of the spans repeat an earlier one, and their characters."""
    repeats, characters = 0, 0
    for i in range(count):
        start, end = spans[i, 0], spans[i, 1]
        _, known = _seen(_span_hash(prefixes, powers, start, end) + np.uint64(end - start), keys, stamps, stamp, mask)
        if known:
            repeats += 1
            characters += end - start
    return repeats, characters


@compiled
def _statistics(  # type: ignore[no-untyped-def]
    data,
    offsets,
    way,
    ascii_terminal,
    blank_lines,
    min_words_per_line,
    max_word_length,
    short_line_length,
    table,
    stop_words,
    phrases,
    phrase_starts,
    citations,
    citation_starts,
    longest,
    statistics,
    edited,
    edited_offsets,
):
    text, kinds = np.zeros(longest, np.uint32), np.zeros(longest, np.uint32)
    out, out_kinds = np.zeros(longest, np.uint32), np.zeros(longest, np.uint32)
    starts, ends, pending = np.zeros(longest, np.int32), np.zeros(longest, np.int32), np.zeros(longest, np.int32)
    line_starts, line_ends = np.zeros(longest, np.int32), np.zeros(longest, np.int32)
    prefixes, powers = np.zeros(longest + 1, np.uint64), np.zeros(longest + 1, np.uint64)
    spans = np.zeros((longest + 1, 2), np.int32)
    words_bound = min(longest, MOST_WORDS)
    sequence, lengths, word_powers = (
        np.zeros(words_bound + 1, np.uint64),
        np.zeros(words_bound + 1, np.int64),
        np.ones(16, np.uint64),
    )
    for i in range(1, 16):
        word_powers[i] = word_powers[i - 1] * _MIX
    size = np.int64(_mask(words_bound)) + 1
    keys, stamps = np.zeros(size, np.uint64), np.zeros(size, np.int32)
    counts, firsts = np.zeros(size, np.int32), np.zeros(size, np.int32)
    # The second letter of the phrases, by their first: few places in a text need a closer look.
    first_letters = np.zeros(128, np.uint32)
    for p in range(len(phrase_starts) - 1):
        first_letters[phrases[phrase_starts[p]]] = phrases[phrase_starts[p] + 1]
    stamp = 0
    written = 0
    for page in range(len(offsets) - 1):
        row = statistics[page]
        n = decode(data, offsets[page], offsets[page + 1], text)
        kinds_of(text, n, table, kinds)
        row[_CHARACTERS] = n
        _hash_prefixes(text, n, prefixes, powers)

        # Gopher, repetition: paragraphs and lines.
        left, right = 0, n
        while left < right and kinds[left] & SPACE:
            left += 1
        while right > left and kinds[right - 1] & SPACE:
            right -= 1
        some = max(n, 1)
        stamp += 1
        count = min(_spans(text, left, right, 2, spans), MOST_WORDS)
        repeats, characters = _duplicates(prefixes, powers, spans, count, keys, stamps, stamp, _mask(count))
        row[_DUP_PARA], row[_DUP_PARA_CHARS] = repeats / count, characters / some
        stamp += 1
        count = min(_spans(text, 0, n, 1, spans), MOST_WORDS)
        repeats, characters = _duplicates(prefixes, powers, spans, count, keys, stamps, stamp, _mask(count))
        row[_DUP_LINE], row[_DUP_LINE_CHARS] = repeats / count, characters / some

        # Gopher, quality: words.
        words = split_words(text, kinds, n, way, starts, ends, pending)
        row[_WORDS] = words
        symbols_only, letters, with_letter = 0, 0, 0
        stop_found = np.uint64(0)
        sequence[0], lengths[0] = np.uint64(0), 0
        for word in range(words):
            start, end = starts[word], ends[word]
            symbol, alphabetic = True, False
            for i in range(start, end):
                if not kinds[i] & SYMBOL:
                    symbol = False
                    break
            for i in range(start, end):
                if kinds[i] & ALPHA:
                    alphabetic = True
                    break
            value = _span_hash(prefixes, powers, start, end)
            if symbol:
                symbols_only += 1
            else:
                letters += end - start
            if alphabetic:
                with_letter += 1
                if end - start <= 32:
                    for i in range(len(stop_words)):
                        if stop_words[i] == value:
                            stop_found |= np.uint64(1) << np.uint64(i)
            if word < words_bound:
                value = (value ^ (value >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9) + np.uint64(end - start)
                sequence[word + 1] = sequence[word] * _MIX + value
                lengths[word + 1] = lengths[word] + (end - start)
        non_symbol = words - symbols_only
        row[_NON_SYMBOL] = non_symbol
        row[_MEAN_LENGTH] = letters / max(non_symbol, 1)
        row[_ALPHA] = with_letter / max(words, 1)
        found = 0
        while stop_found:
            found += 1
            stop_found &= stop_found - np.uint64(1)
        row[_STOP] = found

        # Gopher, quality: symbols and lines (split at every kind of line break).
        hashes, ellipses = 0, 0
        at = 0
        while at < n:
            code = text[at]
            if code == 35:
                hashes += 1
            elif code == 0x2026:
                ellipses += 1
            elif code == 46 and at + 2 < n and text[at + 1] == 46 and text[at + 2] == 46:
                ellipses += 1
                at += 2
            at += 1
        row[_HASH], row[_ELLIPSIS] = hashes / max(words, 1), ellipses / max(words, 1)
        lines, bullets, trailing = 0, 0, 0

        # C4: edit the text, line by line; and count.
        o = 0
        sentences, removed, cited = 0, 0, False
        word, kept_words = 0, 0
        lorem, curly = False, False
        at = 0
        while at < n:
            line_start = at
            line_words, word_length, longest_word = 0, 0, 0
            while at < n:
                kind = kinds[at]
                if kind & SPACE:
                    if kind & LINE_BREAK:
                        break
                    word_length = 0
                else:
                    if word_length == 0:
                        line_words += 1
                    word_length += 1
                    longest_word = max(longest_word, word_length)
                at += 1
            start, end = line_start, at
            if at < n:
                at += 2 if text[at] == 13 and at + 1 < n and text[at + 1] == 10 else 1
            lines += 1
            while start < end and kinds[start] & SPACE:
                start += 1
            while end > start and kinds[end - 1] & SPACE:
                end -= 1
            if start < end:
                if text[start] == 0x2022 or text[start] == 45:
                    bullets += 1
                if text[end - 1] == 0x2026 or (
                    end - start >= 3 and text[end - 1] == 46 and text[end - 2] == 46 and text[end - 3] == 46
                ):
                    trailing += 1
            if max_word_length > 0 and longest_word > max_word_length:
                removed += 1
                continue
            if line_words < min_words_per_line:
                removed += 1
                continue
            begin = o if o == 0 else o + 1
            o_line = begin
            i = start
            while i < end:
                if text[i] == 91:
                    skip = 0
                    j = i + 1
                    while j < end and 48 <= text[j] <= 57:
                        j += 1
                    if j < end and text[j] == 93:
                        skip = j + 1 - i
                    else:
                        for c in range(len(citation_starts) - 1):
                            same = i + citation_starts[c + 1] - citation_starts[c] <= end
                            k = 0
                            while same and k < citation_starts[c + 1] - citation_starts[c]:
                                same = text[i + k] == citations[citation_starts[c] + k]
                                k += 1
                            if same:
                                skip = citation_starts[c + 1] - citation_starts[c]
                                break
                    if skip:
                        i += skip
                        cited = True
                        continue
                out[o_line], out_kinds[o_line] = text[i], kinds[i]
                o_line += 1
                i += 1
            mentions = False
            bracket = False
            for i in range(begin, o_line):
                code = out[i]
                if 65 <= code <= 90:
                    code |= np.uint32(32)
                if code == 123:
                    bracket = True
                elif code <= 122 and i + 1 < o_line and first_letters[code] == out[i + 1] | np.uint32(32):
                    for p in range(len(phrase_starts) - 1):
                        if phrases[phrase_starts[p]] == code and _match(
                            out, i, o_line, phrases, phrase_starts[p], phrase_starts[p + 1]
                        ):
                            if p == 1:
                                lorem = True
                            else:
                                mentions = True
            # A curly bracket drops the page unless its line goes for JavaScript, which C4 looks for first.
            if bracket:
                javascript = False
                for i in range(begin, o_line):
                    javascript = javascript or _match(out, i, o_line, phrases, phrase_starts[0], phrase_starts[1])
                curly = curly or not javascript
            if mentions:
                removed += 1
                continue
            sentences += count_sentences(
                out[begin:o_line], out_kinds[begin:o_line], o_line - begin, way, line_starts, line_ends, pending
            )
            while word < words and starts[word] < start:
                word += 1
            while word < words and starts[word] < end:
                word += 1
                kept_words += 1
            if begin > 0:
                out[begin - 1], out_kinds[begin - 1] = np.uint32(10), table[10]
            o = o_line
        row[_BULLET_LINES], row[_ELLIPSIS_LINES] = bullets / max(lines, 1), trailing / max(lines, 1)
        row[_LOREM], row[_CURLY], row[_SENTENCES], row[_REMOVED] = lorem, curly, sentences, removed
        left = 0
        while left < o and out_kinds[left] & SPACE:
            left += 1
        while o > left and out_kinds[o - 1] & SPACE:
            o -= 1
        result, result_kinds = out[left:o], out_kinds[left:o]
        m = o - left
        row[_EDITED] = m

        # Gopher, repetition: n-grams of words.
        counted = min(words, words_bound)
        mask = _mask(counted)
        for n_gram in range(2, 11):
            stamp += 1
            power = word_powers[n_gram]
            if n_gram <= 4:
                best, best_first = 0, 0
                for i in range(counted - n_gram + 1):
                    slot, known = _seen(sequence[i + n_gram] - sequence[i] * power, keys, stamps, stamp, mask)
                    if known:
                        counts[slot] += 1
                    else:
                        counts[slot] = 1
                        firsts[slot] = i
                    if counts[slot] > best or (counts[slot] == best and firsts[slot] < best_first):
                        best, best_first = counts[slot], firsts[slot]
                if best:
                    row[_TOP + n_gram - 2] = (
                        best * (lengths[best_first + n_gram] - lengths[best_first] + n_gram - 1) / some
                    )
            else:
                repeated = 0
                i = 0
                while i < counted - n_gram + 1:
                    _, known = _seen(sequence[i + n_gram] - sequence[i] * power, keys, stamps, stamp, mask)
                    if known:
                        repeated += lengths[i + n_gram] - lengths[i]
                        i += n_gram
                    else:
                        i += 1
                row[_DUPLICATE + n_gram - 5] = repeated / some

        # FineWeb, on the edited text.
        if m:
            _hash_prefixes(result, m, prefixes, powers)
            count = _spans(result, 0, m, 1, spans)
            newlines = 0
            for i in range(m):
                newlines += result[i] == 10
            full = 0  # lines that are not blank
            terminal, short, written_lines = 0, 0, 0
            for i in range(count):
                blank = True
                for j in range(spans[i, 0], spans[i, 1]):
                    if not result_kinds[j] & SPACE:
                        blank = False
                        break
                length = spans[i, 1] - spans[i, 0]
                if not blank:
                    spans[full, 0], spans[full, 1] = spans[i, 0], spans[i, 1]
                    full += 1
                elif not blank_lines:
                    continue
                written_lines += 1
                if length <= short_line_length:
                    short += 1
                if length:
                    last = result[spans[i, 1] - 1]
                    if ascii_terminal:
                        terminal += last == 46 or last == 39 or last == 34 or last == 33 or last == 63
                    else:
                        terminal += result_kinds[spans[i, 1] - 1] & TERMINAL != 0
            if blank_lines:
                # `_spans` takes runs of line feeds as one break; between them lie empty lines.
                empty = newlines - (count - 1)
                written_lines += empty
                short += empty
            stamp += 1
            _, characters = _duplicates(
                prefixes, powers, spans, min(full, MOST_WORDS), keys, stamps, stamp, _mask(min(full, MOST_WORDS))
            )
            row[_TERMINAL_LINES], row[_SHORT_LINES] = terminal / max(written_lines, 1), short / max(written_lines, 1)
            row[_EDITED_DUP] = characters / max(m - newlines, 1)
            # The words of the lines that were kept, as they were split in the whole text; only a citation that went out
            # of a line makes other words.
            if cited:
                kept_words = split_words(result, result_kinds, m, way, starts, ends, pending)
            row[_NEWLINES] = newlines / max(kept_words, 1)
        written = encode(result, m, edited, written)
        edited_offsets[page + 1] = written


def statistics_task(staging: Path, name: str, texts: Path, definition: TextStatistics, classifier: Path | None) -> None:
    """Worker: the statistics of one WARC file's pages, in file order."""
    scorer = load_classifier(classifier) if classifier else None
    with Task(staging, name) as task:
        table = task.table("statistics", TextStatistic)
        pages = 0
        for frame in batches(texts, ["doc_id", "warc_offset", "text"]):
            statistics, edited = compute(frame["text"], definition)
            score = scorer.score(frame["text"]) if scorer else pl.Series([None] * len(frame), dtype=pl.Float64)
            table.frame(
                pl.DataFrame(
                    {
                        "doc_id": frame["doc_id"],
                        "warc_offset": frame["warc_offset"],
                        **{column: statistics[:, place] for place, column in enumerate(STATISTICS)},
                        "quality_score": score,
                        # Most pages lose no line: null is "as extracted".
                        "edited_text": pl.select(pl.when(edited != frame["text"]).then(edited)).to_series(),
                    }
                )
            )
            pages += len(frame)
        task.stats["pages"] = pages


def build_text_statistics(step: Step, config: TextStatistics) -> None:
    """One part a WARC file, over the engine's workers."""
    compute(pl.Series(["compiled once, here, and not by every worker"]), config)
    models = step.input("quality_classifier").table("weights")
    texts = {path.stem: path for path in step.input("language_filtered_text").table("text")}
    step.run_tasks(
        statistics_task,
        {name: (path, config, models[0] if models else None) for name, path in texts.items()},
        "WARC files",
        {name: path.stat().st_size for name, path in texts.items()},
    )


TEXT_STATISTICS = Stage(
    name="text_statistics",
    group="curation",
    description="Every number that a quality rule looks at, computed once, and C4's edited text.",
    kinds=("numba", "parquet"),
    build=build_text_statistics,
    code_version="1",
    config=lambda recipe, _: recipe.text_statistics,
    per_crawl=True,
    inputs=("language_filtered_text", QUALITY_CLASSIFIER.name),
    tables={"statistics": TextStatistic},
    main_table="statistics",
    libraries=("numba", "polars"),
)
