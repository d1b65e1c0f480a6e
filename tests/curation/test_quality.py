"""Quality rules: a golden page for each, an independent implementation, odd texts, thresholds and learned scores."""

import json

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_assets.artifacts.identity import fingerprint
from llm_assets.curation.quality import QUALITY_FILTERED_TEXT, breaks, format_number, measured_value, verdict
from llm_assets.curation.quality_classifier import ExamplesError, read_examples, train
from llm_assets.curation.text_statistics.stage import STATISTICS, TextStatistic, compute_statistics
from llm_assets.recipes import QUALITY_RULES, Quality, QualityClassifier, TextStatistics, laptop
from tests.support import reference_quality
from tests.support.golden_pages import PAGES, NewWords, golden

RULES = {rule.name: rule for rule in QUALITY_RULES["fineweb-2024"]}


def statistics(texts, definition=None):
    """The statistics of texts and their edited texts, as a frame."""
    numbers, edited = compute_statistics(pl.Series(texts, dtype=pl.String), definition or TextStatistics())
    frame = pl.DataFrame(dict(zip(STATISTICS, numbers.T, strict=True)))
    return frame.with_columns(quality_score=pl.lit(None, dtype=pl.Float64), edited=edited)


def broken_rules(text, rules=None):
    """The name of every rule that a text breaks, with the measured value."""
    frame = statistics([text])
    return {rule.name: frame[rule.column][0] for rule in rules or RULES.values() if frame.select(breaks(rule)).item()}


def test_every_rule_has_a_golden_page():
    assert PAGES.keys() == RULES.keys()


@pytest.mark.parametrize("name", PAGES)
def test_only_this_rule_rejects_its_golden_page(name):
    off = dict.fromkeys(PAGES[name][1])
    rules = Quality(thresholds=off).effective()
    values = broken_rules(golden(name), rules)
    assert values.keys() == {name}
    rule = RULES[name]
    judged = statistics([golden(name)]).with_columns(rule=verdict(rules))
    assert judged["rule"].item() == name
    assert judged.select(measured_value(rules)).item() == values[name]
    assert judged.select(
        measured_value(rules).map_elements(format_number, return_dtype=pl.String)
    ).item() == format_number(values[name])
    # The page is just beyond the threshold: a slightly different threshold would keep it.
    loosened = {
        "below": values[name],
        "above": values[name],
        "at_or_below": values[name] * 0.99 - 1e-9,
        "at_or_above": values[name] * 1.01 + 1e-9,
    }[rule.drops]
    if 0 <= loosened <= 1 or not rule.ratio:
        other_rules = Quality(thresholds={**off, name: max(loosened, 0)}).effective()
        assert statistics([golden(name)]).select(verdict(other_rules)).item() is None


@pytest.mark.parametrize("name", PAGES)
def test_the_reference_rejects_the_golden_page_by_the_same_rule(name):
    if not PAGES[name][1]:
        assert reference_quality.verdict(golden(name)) == name


def test_thresholds_are_the_published_ones():
    """Gopher, table A1 and section A1.1; C4, section 2.2; FineWeb, section 3.4 (0.01 as in the code for the data)."""
    assert {name: rule.threshold for name, rule in RULES.items()} == {
        "duplicate_paragraphs": 0.3,
        "duplicate_paragraph_characters": 0.2,
        "duplicate_lines": 0.3,
        "duplicate_line_characters": 0.2,
        "top_2_gram": 0.2,
        "top_3_gram": 0.18,
        "top_4_gram": 0.16,
        "duplicate_5_grams": 0.15,
        "duplicate_6_grams": 0.14,
        "duplicate_7_grams": 0.13,
        "duplicate_8_grams": 0.12,
        "duplicate_9_grams": 0.11,
        "duplicate_10_grams": 0.1,
        "min_words": 50,
        "max_words": 100_000,
        "min_word_length": 3,
        "max_word_length": 10,
        "hash_ratio": 0.1,
        "ellipsis_ratio": 0.1,
        "bullet_lines": 0.9,
        "ellipsis_lines": 0.3,
        "alpha_words": 0.8,
        "stop_words": 2,
        "lorem_ipsum": 1,
        "curly_bracket": 1,
        "sentences": 5,
        "terminal_lines": 0.12,
        "short_lines": 0.67,
        "edited_duplicate_line_characters": 0.01,
        "newline_ratio": 0.3,
    }


def test_a_page_of_ordinary_sentences_breaks_no_rule():
    assert broken_rules("\n".join(NewWords().lines(14))) == {}


@pytest.mark.parametrize(
    ("lines", "kept_lines"),
    [
        (["Two words.", "Now three words."], ["Now three words."]),
        (["Turn on JavaScript to read this.", "The other line stays here."], ["The other line stays here."]),
        (["We use cookies on this site.", "Our Privacy Policy is here.", "A line to keep."], ["A line to keep."]),
        (
            ["A fact[1] with [edit] notes [citation needed] in it.", "It has [a] bracket."],
            ["A fact with  notes  in it.", "It has [a] bracket."],
        ),
        ([f"one {'x' * 1001} word", f"one {'x' * 1000} word"], [f"one {'x' * 1000} word"]),
        (
            ["  spaces around this line  ", "", "and a blank line before"],
            ["spaces around this line", "and a blank line before"],
        ),
        (
            ["broken\u2028by a line separator", "and\r\nby two characters here"],
            ["by a line separator", "by two characters here"],
        ),
    ],
    ids=range(7),
)
def test_c4_removes_and_edits_lines(lines, kept_lines):
    assert statistics(["\n".join(lines)])["edited"].item() == "\n".join(kept_lines)


def test_a_curly_bracket_in_a_removed_line_does_not_count():
    assert statistics(["A line of javascript { x } here.\nAnd a plain line."])["curly_bracket"].item() == 0
    assert statistics(["A line { x } of code here."])["curly_bracket"].item() == 1


ODD = {
    "empty": "",
    "spaces": "  \n \t ",
    "only_punctuation": "!?.,;:" * 5_000,
    "nul": "a\x00b " * 200,
    "zero_width": "\u200b\u200d\ufeff " * 300,
    "bidirectional": "\u202eabc\u202c \u2067שלום\u2069 " * 100,
    "mixed_scripts": "Привет мир 你好世界 hello мир. " * 50,
    "emoji": "\U0001f600\U0001f468\u200d\U0001f469 " * 100,
    "one_line": "word " * 200_000,
    "lines": "x\n" * 300_000,
    "one_word": "x" * 1_000_000,
    "dots": "." * 100_000,
    "brackets": "(" * 100_000,
    "quotes": "'" * 100_000,
    "apostrophes": "a'" * 50_000,
    "citations": "[1]" * 50_000,
    "open_brackets": "[" * 100_000,
    "digits": "1" * 100_000,
    "ideographs": "漢字" * 5_000 + "\U00020000" * 100,
    "unassigned": "\U0010fffd\u0378 " * 50,
}


@pytest.mark.parametrize(
    "definition",
    [TextStatistics(), TextStatistics(word_splitting="spacy", terminal_punctuation="unicode", count_blank_lines=False)],
    ids=["treebank", "spacy"],
)
@pytest.mark.parametrize("name", ODD)
def test_odd_texts_have_finite_statistics(name, definition):
    frame = statistics([ODD[name]], definition)
    numbers = frame.select(STATISTICS)
    assert all(value is not None and value == value and abs(value) < 1e9 for value in numbers.row(0))
    TextStatistic.to_schema().select_columns(list(STATISTICS)).validate(numbers)
    assert frame["characters"].item() == len(ODD[name])


@given(
    st.lists(
        st.text(
            alphabet=st.one_of(st.sampled_from(" .,'\"\n-:!?()[]…#•ab1"), st.characters(codec="utf-8")), max_size=200
        ),
        max_size=4,
    )
)
@example(["a.\n\nb. c.", "'s", "n't", "a:b ::1,", "--- -- -", "can't cannot 'x' ''y''", "\r\n\x85\u2029"])
def test_pages_do_not_depend_on_their_batch(texts):
    together = statistics(texts)
    alone = [statistics([text]) for text in texts]
    assert together.equals(pl.concat(alone)) if alone else together.is_empty()
    for text, edited in zip(texts, together["edited"], strict=True):
        assert edited == reference_quality.c4(text)[1] or reference_quality.c4(text)[0] is not None


@given(st.text(alphabet=st.sampled_from("ab. \n'?!,:"), min_size=1, max_size=300))
def test_the_number_of_words_is_close_to_that_of_nltk(text):
    """Short texts of difficult characters may be split otherwise, as NLTK splits them by their context."""
    count, nltk_count = statistics([text])["words"].item(), len(reference_quality.words(text))
    assert abs(count - nltk_count) <= 0.35 * max(nltk_count, 6)


@pytest.mark.slow
def test_verdicts_on_a_real_crawl_agree_with_the_reference(shared_data, tmp_path):
    from llm_assets.recipes import Recipe, WarcFiles
    from tests.support.corpus import build_corpus, corpus_workspace

    path = shared_data / "web" / "2026-10" / "crawl-2026-10-00003.warc.gz"
    artifacts = build_corpus(corpus_workspace(Recipe(name="t", crawls={"c": WarcFiles(path=str(path))})))
    texts = pl.concat([pl.read_parquet(path) for path in artifacts["language_filtered_text/c"].table("text")])["text"]
    judged = statistics(texts).select(verdict(tuple(RULES.values()))).to_series()
    reference = pl.Series([reference_quality.verdict(text) for text in texts], dtype=pl.String)
    assert len(texts) > 300
    assert (judged.is_null() == reference.is_null()).mean() >= 0.995
    assert (judged.fill_null("") == reference.fill_null("")).mean() >= 0.99


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rules": "nope"}, "unknown rules 'nope'; available: fineweb-2024, fineweb-head"),
        ({"thresholds": {"nope": 1}}, "no rule 'nope'"),
        ({"thresholds": {"alpha_words": 1.5}}, r"must be in \[0, 1\]"),
        ({"thresholds": {"min_words": -1}}, "must be at 0 or above"),
        ({"thresholds": {"min_words": float("nan")}}, "must be at 0 or above"),
        ({"min_quality_score": 0.5}, "needs quality_classifier.examples"),
    ],
)
def test_impossible_settings_are_errors(fields, message):
    with pytest.raises(ValueError, match=message):
        laptop().replace(quality=fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stop_words": ("two words",)}, "stop word 'two words'"),
        ({"word_splitting": "letters"}, "Input should be 'treebank', 'spacy', 'spacy-de'"),
        ({"min_words_per_line": -1}, "greater than or equal to 0"),
    ],
)
def test_impossible_definitions_are_errors(fields, message):
    with pytest.raises(ValueError, match=message):
        laptop().replace(text_statistics=fields)


# -- the learned score -----------------------------------------------------------------------------------------------


def examples(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def labelled(count=60):
    w = NewWords(7)
    good = [{"text": f"The harbour lay quiet {w.phrase(8)} and the boats came home.", "label": 1} for _ in range(count)]
    return [
        *good,
        *[{"text": f"buy cheap pills now {w.phrase(8)} click here for free offer", "label": 0} for _ in range(count)],
    ]


def test_a_learned_score_separates_the_labels(tmp_path):
    classifier, numbers = train(
        read_examples(examples(tmp_path / "e.jsonl", labelled())), QualityClassifier(buckets=1 << 14)
    )
    assert numbers["held_out_right"] == numbers["held_out"] >= 5
    scores = classifier.score(pl.Series(["The boats lay quiet in the harbour.", "free pills, click now", ""]))
    assert scores[0] > 0.8 and scores[1] < 0.2 and 0 <= scores[2] <= 1


def test_the_order_of_examples_does_not_change_the_weights(tmp_path):
    rows = labelled(20)
    first, _ = train(read_examples(examples(tmp_path / "a.jsonl", rows)), QualityClassifier(buckets=1 << 12))
    second, _ = train(read_examples(examples(tmp_path / "b.jsonl", rows[::-1])), QualityClassifier(buckets=1 << 12))
    assert first.weights.tobytes() == second.weights.tobytes() and first.bias == second.bias


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "line 1"),
        ('{"text": "a", "label": 1}\n{"text": 3, "label": 1}', "line 2: needs `text`"),
        ('{"text": "a", "label": 2}', "`label`"),
        ('{"text": "a", "label": 1}', "at least two examples"),
        ("", "at least two examples"),
    ],
    ids=range(5),
)
def test_errors_for_bad_examples_name_the_line(tmp_path, content, message):
    (tmp_path / "e.jsonl").write_text(content)
    with pytest.raises(ExamplesError, match=message):
        read_examples(tmp_path / "e.jsonl")
    with pytest.raises(ExamplesError, match="no such file"):
        read_examples(tmp_path / "missing.jsonl")


def test_examples_may_hold_any_character_that_json_can(tmp_path):
    """Only a line feed ends a line of JSON Lines; half a surrogate pair (RFC 8259, section 8.2) becomes U+FFFD."""
    texts = ["a\u2028b", "c\x85d\u2029e", "plain"]
    lines = [f'{{"text": "{text}", "label": {label}}}' for text in texts for label in (0, 1)]
    lines += ['{"text": "x \\ud83d y", "label": 1}', '{"text": "x \\ud83d\\ude00", "label": 0}']
    (tmp_path / "e.jsonl").write_bytes("\ufeff".encode() + "\r\n".join(lines).encode() + b"\r\n")
    assert read_examples(tmp_path / "e.jsonl")["text"].unique(maintain_order=True).to_list() == [
        *texts,
        "x \ufffd y",
        "x 😀",
    ]


def test_the_identity_is_that_of_the_rules_that_apply_whatever_their_set_is_called():
    recipe = laptop()
    rules = QUALITY_FILTERED_TEXT.config(recipe, None)
    assert [rule.name for rule in rules.rules] == [rule.name for rule in recipe.quality.effective()]
    reworded = tuple(rule.replace(source="a paper", ratio=False) for rule in rules.rules)
    assert fingerprint(rules.replace(rules=reworded)) == fingerprint(rules)
    threshold = next(rule.threshold for rule in rules.rules if rule.name == "min_words")
    same = recipe.replace(name="other", quality=Quality(thresholds={"min_words": threshold}))
    assert fingerprint(QUALITY_FILTERED_TEXT.config(same, None)) == fingerprint(rules)
    other = recipe.replace(quality=Quality(thresholds={"min_words": threshold + 1}))
    assert fingerprint(QUALITY_FILTERED_TEXT.config(other, None)) != fingerprint(rules)
