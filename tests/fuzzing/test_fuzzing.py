"""Every fuzz target holds on its seeds, past findings among them, and on a bounded number of mutated ones."""

import random
import signal

import pytest

from .mutation import mutated
from .targets import all_targets

CPU_SECONDS = 10  # of one input; each takes milliseconds
TARGETS = all_targets()


@pytest.fixture(autouse=True)
def no_input_hangs():
    def stop(*_):
        raise AssertionError(f"an input takes more than {CPU_SECONDS} CPU-seconds")

    before = signal.signal(signal.SIGVTALRM, stop)
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)


@pytest.mark.parametrize("name", TARGETS)
def test_the_properties_of_a_parser_hold_on_mutated_inputs(name):
    target = TARGETS[name]
    seeds, rng = target.seeds(), random.Random(f"fuzzing-{name}")
    target.run(seeds[0])  # imports and compiles what it needs, which has no limit
    for data in [*seeds, *(mutated(seeds, rng) for _ in range(target.runs))]:
        signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
        try:
            target.run(data)
        except Exception as error:
            pytest.fail(f"{name}: {type(error).__name__}: {error}\ninput: {data!r}")
