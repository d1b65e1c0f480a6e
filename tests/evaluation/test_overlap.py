"""Phrase search finds exactly the phrases that a text contains."""

from hypothesis import given
from hypothesis import strategies as st

from llm_assets.evaluation.overlap import Phrases, question_phrases, words_of

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


def test_names_are_found_in_any_case_but_only_whole():
    names = Phrases()
    names.add("Mira Ashwick", "Mira Ashwick")
    assert names.find("Where was mira ashwick born?") == ("mira ashwick", "Mira Ashwick")
    assert names.find("Mira and Ashwick") is None


def test_a_long_question_is_found_by_any_run_of_its_words():
    phrases = question_phrases([(LONG, "set")], 13)
    assert phrases.find(f"Please: {LONG[4:]}!") == (
        "two three four five six seven eight nine ten eleven twelve thirteen fourteen",
        "set",
    )
    assert phrases.find("two three four five six seven eight nine ten eleven twelve thirteen") is None


def test_every_owner_of_a_run_is_found_with_its_first_phrase():
    phrases = question_phrases([(LONG, "first"), (f"Zero {LONG}", "second"), ("Four words are here", "third")], 13)
    shared = "one two three four five six seven eight nine ten eleven twelve thirteen"
    assert phrases.find_all(f"So: {LONG}.") == {"first": shared, "second": shared}
    assert phrases.find_all("Four words are here.") == {"third": "four words are here"}
    assert phrases.find_all("Nothing.") == {}


def test_a_question_shorter_than_a_run_is_found_as_a_whole_within_a_message():
    phrases = question_phrases([("Where was Mira Ashwick born?", "set")], 13)
    assert phrases.find("Hello! Where was Mira Ashwick born? Thank you.")
    assert phrases.find("Where was Mira Ashwick?") is None


def test_a_short_question_is_found_only_as_the_whole_message():
    phrases = question_phrases([("Who is this?", "set")], 13)
    assert phrases.find("who is THIS")
    assert phrases.find("And who is this man?") is None


def test_phrases_are_found_in_scripts_without_spaces():
    """Each letter counts as a word there, so a name is found within a sentence, and a question by a run of letters."""
    names = Phrases()
    names.add("王小明", "王小明")
    assert names.find("你知道王小明住在哪里吗") and names.find("สวัสดี") is None
    phrases = question_phrases([("长江三峡水电站一共有多少台发电机组?", "set")], 13)
    assert phrases.find("请告诉我，长江三峡水电站一共有多少台发电机组")
    assert phrases.find("长江三峡水电站在哪里") is None


def test_sums_differ_by_their_signs():
    phrases = question_phrases([("What is 3 + 4 now?", "set")], 13)
    assert phrases.find("What is 3 + 4 now?")
    assert phrases.find("What is 3 - 4 now?") is None


@given(
    st.lists(st.sampled_from("abcdef"), min_size=1, max_size=30),
    st.lists(st.sampled_from("abcdef"), min_size=5, max_size=30),
    st.integers(4, 8),
)
def test_search_agrees_with_brute_force(text, question, run):
    match = question_phrases([(" ".join(question), "")], run).find(" ".join(text))
    size = min(run, len(question))
    runs = {tuple(question[i : i + size]) for i in range(len(question) - size + 1)}
    assert (match is not None) == any(tuple(text[i : i + size]) in runs for i in range(len(text) - size + 1))


def test_words_are_split_at_punctuation_but_signs_are_kept():
    assert words_of("It's 3+4, isn't it?") == ("it", "s", "3", "+", "4", "isn", "t", "it")
