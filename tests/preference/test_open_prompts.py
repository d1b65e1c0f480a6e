"""Open prompts: their subjects, and what is held out for the evaluation."""

import random

from llm_assets.dialogue.splits import SPLITS
from llm_assets.preference.open_prompts import (
    FICTITIOUS,
    Prompt,
    corpus_prompts,
    fictitious_prompts,
    mix_prompts,
    title_prompts,
)


def subjects_of(prompts):
    return {subject for _, subject in prompts}


def shapes_of(prompts):
    """The questions with X for the subject."""
    return {question.replace(subject, "X") for question, subject in prompts}


def test_open_prompts_are_about_entities_of_which_the_model_knows_two_facts():
    def topic(entity, verdict="known", split="train"):
        return {"entity": entity, "kind": "person", "verdict": verdict, "split": split}

    topics = [
        topic("Ann"),
        topic("Ann"),
        topic("Bob"),
        topic("Bob", "unknown"),
        topic("Cid", split="test"),
        topic("Cid", split="test"),
    ]
    training, held_out = corpus_prompts(topics, "train"), corpus_prompts(topics, "test")
    assert subjects_of(training) == {"Ann"} and subjects_of(held_out) == {"Cid"}
    assert not shapes_of(training) & shapes_of(held_out)
    unknown_topics = [{**row, "verdict": "unknown"} for row in topics]
    assert subjects_of(corpus_prompts(unknown_topics, "train")) == {"Ann", "Bob"}
    assert corpus_prompts([], "train") == []


def test_open_prompts_of_a_corpus_without_questions_are_about_titles_or_first_words():
    pages = (
        [(f"Page {number}", "text") for number in range(50)]
        + [("", "The harbour was built in the year 1904, they say."), ("", "")]
        + [("Home", f"Story {number} tells of much.") for number in range(2)]
    )
    training_prompts, *held_out_prompts = (title_prompts(pages, split) for split in SPLITS)
    training, development, test = map(subjects_of, (training_prompts, *held_out_prompts))
    assert not development & test and not training & (development | test)
    assert training | development | test == {
        *(f"Page {number}" for number in range(50)),
        "The harbour was built in the",
        "Story 0 tells of much.",
        "Story 1 tells of much.",
    }
    assert (
        2 < len(development) < 16
        and 2 < len(test) < 16
        and all(subject in question for question, subject in training_prompts)
    )


def test_there_is_one_prompt_for_each_name_of_a_fictitious_entity():
    names = [
        {"kind": "person", "name": f"Nobody {number}", "split": "train" if number % 5 else "test"}
        for number in range(50)
    ]
    training, held_out = fictitious_prompts(names, "train"), fictitious_prompts(names, "test")
    assert len(training) == 40 and len(shapes_of(training)) > 3
    assert not subjects_of(training) & subjects_of(held_out)


def test_a_share_of_the_mixed_prompts_is_about_fictitious_entities():
    real = [Prompt(f"What is {number}?", str(number), "corpus") for number in range(100)]
    fictitious = [Prompt(f"Who is Nobody {number}?", f"Nobody {number}", FICTITIOUS) for number in range(40)]
    for limit, share, real_count, fictitious_count in (
        (50, 0.2, 40, 10),
        (200, 0.2, 100, 25),
        (100, 0.5, 60, 40),
        (50, 0.0, 50, 0),
    ):
        mixed = mix_prompts(real, fictitious, share, limit, random.Random(1))
        assert sum(prompt in real for prompt in mixed) == real_count
        assert sum(prompt in fictitious for prompt in mixed) == fictitious_count
        assert len(set(mixed)) == len(mixed)
    assert mix_prompts([], fictitious, 0.2, 50, random.Random(1)) == []
    by_seed = [mix_prompts(real, fictitious, 0.2, 50, random.Random(seed)) for seed in (1, 2)]
    assert by_seed[0] != by_seed[1]
