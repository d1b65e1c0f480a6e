"""The controls change one setting of the default, and their table shows both."""

from benchmarks.controls import random_refusals, replay_only, shuffled_rewards, table
from llm_assets.recipes import laptop


def test_each_control_changes_one_setting_only():
    base = laptop()
    for control, section in ((random_refusals(), "conversations"), (replay_only(), "reinforcement")):
        assert control.replace(name=base.name, **{section: getattr(base, section)}) == base
    assert {recipe.reinforcement.rewards for recipe in (base, replay_only(), shuffled_rewards())} == {
        "earned",
        "none",
        "shuffled",
    }


def test_a_row_shows_the_default_beside_the_control():
    def stats(share):
        return {"figures": {"problems": {"arithmetic": {"pass@1": {"sft": 0.1, "rl": share}}}}}

    rows = table({"rl_evaluation": stats(0.6)}, {"replay only": ("rl_evaluation", stats(0.25))}).splitlines()
    assert rows[2] == "| replay only | arithmetic, pass@1 | 60.0 % | 25.0 % |"
