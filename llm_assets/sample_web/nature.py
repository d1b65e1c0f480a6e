"""Sentences about sky, sea, weather and fields: put together from parts, so that few of them occur twice."""

from __future__ import annotations

import random

# What a thing is like, in the order of how often pages say so.
STATES: dict[str, list[str]] = {
    "the sky": ["blue", "grey", "clear", "red", "dark", "pale", "full of stars", "full of clouds", "white"],
    "the sea": ["calm", "blue", "grey", "rough", "green", "cold", "dark", "wide"],
    "the grass": ["green", "wet", "tall", "yellow", "dry", "soft"],
    "the snow": ["white", "deep", "soft", "fresh", "grey"],
    "the sun": ["warm", "low", "bright", "red", "high"],
    "the moon": ["full", "pale", "bright", "thin", "yellow"],
    "the wind": ["cold", "strong", "mild", "sharp", "warm"],
    "the lake": ["still", "blue", "frozen", "deep", "clear"],
    "the forest": ["quiet", "green", "dark", "bare", "cool"],
    "the rain": ["heavy", "cold", "fine", "warm"],
    "the air": ["fresh", "cold", "clear", "damp", "warm"],
    "the strawberry field": ["red", "ripe", "green", "wet"],
    "the raspberry hedge": ["red", "ripe", "bare", "green"],
    "the butterfly": ["yellow", "blue", "white", "still"],
    "the ocean": ["deep", "blue", "wide", "grey"],
}
PLACES = [
    "in summer",
    "in the evening",
    "before the rain",
    "after a storm",
    "at noon",
    "over the hills",
    "in the morning",
    "early in the year",
    "by the coast",
    "most days of May",
    "when the bells ring",
    "late in autumn",
]
BEGINNINGS = ["Today", "In this picture", "On such days", "For once", "From the window one sees that", "Outside"]


def nature_sentence(rng: random.Random) -> str:
    """A sentence about one or two things of nature, in a random wording; the sky is the most frequent of them."""
    subjects = list(STATES)
    first, second = rng.choices(subjects, [4] + [1] * (len(subjects) - 1))[0], rng.choice(subjects)
    place, pattern = rng.choice(PLACES), rng.randrange(6)
    capital = first[0].upper() + first[1:]
    if pattern == 0:
        return f"{capital} is {_state(rng, first)}."
    if pattern == 1:
        return f"{capital} is {_state(rng, first)} {place}."
    if pattern == 2:
        return f"{capital} is {_state(rng, first)} and {second} is {_state(rng, second)}."
    if pattern == 3:
        return f"{rng.choice(BEGINNINGS)} {first} is {_state(rng, first)} {place}."
    if pattern == 4:
        return f"{capital} was {_state(rng, first)} {place}, and {second} was {_state(rng, second)}."
    return f"When {first} is {_state(rng, first)}, {second} is {_state(rng, second)}."


def _state(rng: random.Random, thing: str) -> str:
    """What a thing is like; the first of its states most often."""
    states = STATES[thing]
    return rng.choices(states, [1 / (place + 1) for place in range(len(states))])[0]
