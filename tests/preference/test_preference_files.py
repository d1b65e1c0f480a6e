"""Preference data in the layouts in common use becomes rankings; a row that is none is rejected with its reason."""

import json
from collections import Counter

import pytest

from llm_assets.preference.human_rankings import rankings_of_files
from llm_assets.preference.open_prompts import PreferenceError
from llm_assets.preference.preference_files import read_rankings
from llm_assets.recipes.preference import RankingFile

GOOD = {"question": "Tea?", "first": "A drink.", "second": "It is tea.", "preferred": "second", "labeller": "file"}
USER, BETTER, WORSE = (
    {"role": role, "content": text}
    for role, text in (("user", "Tea?"), ("assistant", "It is tea."), ("assistant", "A drink."))
)


def read(tmp_path, *rows) -> list:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(read_rankings(path, "file"))


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Tea?", "chosen": "It is tea.", "rejected": "A drink."},
        {"prompt": [USER], "chosen": [BETTER], "rejected": [WORSE]},
        {"prompt": "Tea?", "chosen": [USER, BETTER], "rejected": [USER, WORSE]},
        {"chosen": [USER, BETTER], "rejected": [USER, WORSE], "score_chosen": 2.0},
        {"messages": [USER], "chosen": BETTER, "rejected": WORSE},
        {
            "conversations": [{"from": "human", "value": "Tea?"}],
            "chosen": {"from": "gpt", "value": "It is tea."},
            "rejected": {"from": "gpt", "value": "A drink."},
        },
        {
            "chosen": "\n\nHuman: Tea?\n\nAssistant: It is tea.",
            "rejected": "\n\nHuman: Tea?\n\nAssistant: A drink.",
        },
    ],
)
def test_a_pair_of_every_layout_is_read(tmp_path, row):
    assert read(tmp_path, row) == [(1, GOOD)]


def test_the_preferred_answer_has_no_place_of_its_own(tmp_path):
    swapped = {"prompt": "Tea?", "chosen": "A drink.", "rejected": "It is tea."}
    assert read(tmp_path, swapped) == [(1, {**GOOD, "preferred": "first"})]


def test_several_turns_are_one_question(tmp_path):
    turns = "\n\nHuman: Tea?\n\nAssistant: Yes.\n\nHuman: Which?\n\nAssistant:"
    [(_, ranking)] = read(tmp_path, {"chosen": f"{turns} Green.", "rejected": f"{turns} Black."})
    assert ranking["question"] == "user: Tea?\nassistant: Yes.\nuser: Which?" and ranking["preferred"] == "second"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "Tea?", "chosen": "Yes.", "rejected": " Yes."}, "both answers are the same"),
        ({"prompt": "Tea?", "chosen": "Yes."}, "rejected is missing"),
        ({"chosen": "Yes.", "rejected": "No."}, "there is no question"),
        ({"prompt": " ", "chosen": "Yes.", "rejected": "No."}, "there is no question"),
        ({"prompt": 3, "chosen": "Yes.", "rejected": "No."}, "prompt must be text or messages, not int"),
        ({"prompt": "Tea?", "chosen": "", "rejected": "No."}, "chosen does not end with an answer"),
        ({"prompt": "Tea?", "chosen": [USER], "rejected": "No."}, "chosen does not end with an answer"),
        (
            {"chosen": "\n\nHuman: A?\n\nAssistant: Yes.", "rejected": "\n\nHuman: B?\n\nAssistant: No."},
            "differ before their last answers",
        ),
        ({"prompt": "Tea?", "completion": "Yes.", "label": "good"}, "label is 'good'; it must be true or false"),
        ({"prompt": "Tea?", "label": True}, "completion is missing"),
        ({"prompt": "Tea?", "completion": "Yes.", "label": True}, "no answer of this prompt is labelled false"),
        ([1], "a list, not an object"),
    ],
)
def test_a_row_that_is_no_ranking_is_rejected_with_its_reason(tmp_path, row, reason):
    valid = {"prompt": "Tea?", "chosen": "It is tea.", "rejected": "A drink."}
    results = read(tmp_path, row, valid)
    assert (2, GOOD) in results
    [(number, problem)] = [result for result in results if isinstance(result[1], str)]
    assert number == 1 and reason in problem


def test_labelled_answers_of_a_prompt_are_paired_in_order(tmp_path):
    answers = [("good 1", True), ("good 2", True), ("bad 1", False), ("bad 2", 0), ("bad 3", False)]
    results = read(tmp_path, *({"prompt": "Tea?", "completion": text, "label": label} for text, label in answers))
    pairs = [(row["second"], row["first"]) for _, row in results if isinstance(row, dict)]
    assert pairs == [("good 1", "bad 1"), ("good 2", "bad 2")]
    assert [number for number, row in results if isinstance(row, str)] == [5]


def test_a_file_with_other_columns_is_one_error_that_names_it_and_them(tmp_path):
    with pytest.raises(PreferenceError, match=r"rows\.jsonl: its columns are better, worse; a row needs question"):
        read(tmp_path, {"better": "a", "worse": "b"})


@pytest.mark.parametrize(
    ("name", "used", "rejected"), [("hh_harmless_train", 1594, 6), ("dpo_en", 240, 0), ("kto_en", 1, 298)]
)
def test_real_preference_files_lose_no_row(shared_data, name, used, rejected):
    results = list(read_rankings(shared_data / "posttraining" / f"{name}.jsonl.gz", name))
    assert Counter(isinstance(row, dict) for _, row in results) == Counter({True: used, False: rejected})
    assert all(isinstance(row, str) or row["first"] != row["second"] for _, row in results)


def test_rankings_of_a_file_are_named_after_it(tmp_path):
    path = tmp_path / "dpo.jsonl"
    path.write_text(json.dumps({"prompt": "Tea?", "chosen": "It is tea.", "rejected": "A drink."}) + "\n{}\n")
    by_key, rejects, replaced = rankings_of_files([RankingFile(name="dpo", path=str(path))])
    [ranking] = by_key.values()
    assert (ranking["labeller"], ranking["source"], ranking["simulated"]) == ("dpo", "dpo", False)
    assert rejects == [{"file": "dpo", "line": 2, "reason": "question is missing or empty"}] and replaced == 0
