"""The simulation of a step's tasks on many cores: bounds that hold for any tasks, and cases with a known end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.compute.simulation import Schedule, TaskLoad, simulate

SECONDS = st.lists(st.floats(0.0, 1e4), min_size=1, max_size=40)


@given(SECONDS, st.integers(1, 12))
def test_the_end_is_within_the_bounds_of_any_order(seconds, cores):
    """No schedule is shorter than the mean load or the longest task; a greedy one is no longer than both together."""
    schedule = simulate(map(TaskLoad, seconds), cores)
    mean, longest = sum(seconds) / cores, max(seconds)
    assert max(mean, longest) <= schedule.seconds * (1 + 1e-9) + 1e-9
    assert schedule.seconds <= (mean + longest) * (1 + 1e-9) + 1e-9
    assert schedule.straggling == pytest.approx(schedule.seconds - mean, abs=1e-6)


@given(SECONDS, st.floats(1.0, 1e3), st.integers(1, 12))
def test_a_network_moves_no_more_than_it_can(seconds, moved, cores):
    rate = 10.0
    schedule = simulate([TaskLoad(value, moved) for value in seconds], cores, rate)
    assert schedule.seconds * (1 + 1e-9) >= len(seconds) * moved / rate
    assert schedule.seconds * (1 + 1e-9) >= simulate(map(TaskLoad, seconds), cores).seconds


def test_known_schedules():
    assert simulate(map(TaskLoad, [3.0, 2.0, 1.0, 1.0]), 2) == Schedule(4.0, 0.5)
    assert simulate(map(TaskLoad, [1.0, 1.0, 4.0]), 2) == Schedule(5.0, 2.0)
    assert simulate([], 3) == Schedule(0.0, 0.0)
    # The second transfer waits for the first, and the third for a core.
    assert simulate([TaskLoad(5.0, 20.0)] * 3, 2, 10.0).seconds == 14.0
