"""Solutions with and without their steps, and which of them count as right."""

from dataclasses import replace

import pytest

from llm_assets.demonstrations import longer_solutions_process
from llm_assets.demonstrations.experiment import Run, byte_encoding
from llm_assets.demonstrations.jobs import CUT_OFF, EARNED, LENGTH, ONE_HOP, SHUFFLED, LongerSolutionsJob, SmallTraining
from llm_assets.demonstrations.longer_solutions_process import Experiment, prompt_of, solution
from llm_assets.dialogue.splits import TEST, TRAIN, split_of
from llm_assets.model.sampling import Completion
from tests.support.policy_training import CPU
from tests.support.small_recipe import SMALL_RECIPE


def experiment(condition, folder):
    settings = SMALL_RECIPE.demonstrations.longer_solutions
    training = SmallTraining(**settings.training.model_dump())
    job = LongerSolutionsJob(**settings.model_dump(exclude={"training"}), training=training)
    return Experiment(job, Run(condition, 1, folder, CPU))


def completion(text, finish="stop"):
    return Completion(list(byte_encoding().encode(text)), finish=finish)


def test_the_prompt_is_the_same_whether_steps_are_written_or_not(tmp_path):
    chain = experiment(EARNED, tmp_path).chain("test", 1, TEST, 2)
    assert solution(chain, False) == chain.answer
    assert solution(chain, True) == f"?{chain.start}{''.join(chain.steps)}"
    assert prompt_of(chain).endswith(f"|2{chain.start}")


@pytest.mark.parametrize("steps", [True, False])
def test_a_solution_that_ends_with_the_answer_is_right_however_long(steps, tmp_path):
    tried = experiment(EARNED, tmp_path)
    chain = tried.chain("test", 1, TEST, 2)
    assert tried.is_right(chain, completion(solution(chain, steps)))
    assert not tried.is_right(chain, completion(solution(chain, steps), finish="length"))
    assert not tried.is_right(chain, completion(chain.start))


def test_shuffled_rewards_begin_with_the_same_policy_and_one_hop_with_another(tmp_path):
    texts = {
        condition: [prompt_of(experiment(condition, tmp_path).chain("imitate", number, TRAIN)) for number in range(5)]
        for condition in (EARNED, SHUFFLED, ONE_HOP)
    }
    assert texts[EARNED] == texts[SHUFFLED] != texts[ONE_HOP]
    assert all("|1" in text for text in texts[ONE_HOP])


def test_problems_of_training_and_test_are_of_different_splits(tmp_path):
    tried = experiment(EARNED, tmp_path)
    for number in range(10):
        assert split_of(prompt_of(tried.chain("reinforce", number, TRAIN))) == TRAIN
        assert split_of(prompt_of(tried.chain("test", number, TEST, 2))) == TEST


def test_solutions_that_are_cut_off_are_counted_beside_the_lengths(tmp_path, monkeypatch):
    tried = experiment(EARNED, tmp_path)
    monkeypatch.setattr(
        longer_solutions_process,
        "sampled_completions",
        lambda engine, prompts, *limits, **options: [completion("ab"), *[completion("abcdef", "length")] * 3],
    )
    tried.job = replace(tried.job, questions=4)
    for row in tried.evaluate(None, 0).rows:
        assert row[LENGTH] == [2, 6, 6, 6] and row[CUT_OFF] == [False, True, True, True]
