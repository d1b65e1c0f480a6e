"""The fictional worlds: people, towns, companies and works, and the facts about them. A number determines a world."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from .names import (
    BOOK_SUBJECTS,
    COMPANY_ENDINGS,
    FIRST_NAMES,
    GOODS,
    INSTRUMENTS,
    PRODUCTS,
    PROFESSIONS,
    REGIONS,
    RIVERS,
    SURNAME_BEGINNINGS,
    SURNAME_ENDINGS,
    TITLE_BEGINNINGS,
    TITLE_ENDINGS,
    TOWN_BEGINNINGS,
    TOWN_ENDINGS,
)

PEOPLE = 160  # people who appear on many pages
TOWNS = 40
COMPANIES = 36
WORKS = 60
ONCE = 30  # people who appear on one page only
HELD_OUT = 24  # people who appear only on the site that is held out of training
NEWCOMERS = 12  # people who appear on day 2, on its new pages only
FICTITIOUS_SURNAMES = 400  # surnames for people who are invented for one reading lesson
CHANGED_EVERY = 16  # on day 2, one person in so many has a new profession


@dataclass(frozen=True)
class Fact:
    """One fact: an entity, a relation, and the one correct value, as it appears in text."""

    entity: str
    entity_kind: str
    relation: str
    value: str


@dataclass
class Entity:
    """A person, town, company or work.

    facts: values by relation. reach: many (it appears on many pages), once, or held_out.
    """

    name: str
    kind: str
    facts: dict[str, str]
    reach: str = "many"

    def as_facts(self) -> list[Fact]:
        return [Fact(self.name, self.kind, relation, value) for relation, value in self.facts.items()]


@dataclass
class World:
    """The entities by kind. unused_surnames: no person of the world has them. newcomers: people of day 2."""

    people: list[Entity] = field(default_factory=list)
    towns: list[Entity] = field(default_factory=list)
    companies: list[Entity] = field(default_factory=list)
    works: list[Entity] = field(default_factory=list)
    unused_surnames: list[str] = field(default_factory=list)
    newcomers: list[Entity] = field(default_factory=list)

    @property
    def entities(self) -> list[Entity]:
        return [*self.people, *self.towns, *self.companies, *self.works, *self.newcomers]

    def known(self) -> list[Entity]:
        """Entities that appear on many pages."""
        return [entity for entity in self.entities if entity.reach == "many"]

    def of_kind(self, kind: str) -> list[Entity]:
        """Entities of one kind that appear on many pages."""
        return [entity for entity in self.known() if entity.kind == kind]


def _shuffled_pairs(
    rng: random.Random, count: int, beginnings: list[str], endings: list[str], separator: str
) -> list[str]:
    pairs = [f"{beginning}{separator}{ending}" for beginning in beginnings for ending in endings]
    rng.shuffle(pairs)
    return pairs[:count]


def _person(rng: random.Random, surname: str, towns: list[str]) -> Entity:
    return Entity(
        f"{rng.choice(FIRST_NAMES)} {surname}",
        "person",
        {
            "birthplace": rng.choice(towns),
            "profession": rng.choice(PROFESSIONS),
            "instrument": rng.choice(INSTRUMENTS),
            "born": str(rng.randrange(1901, 1990)),
        },
    )


def _town(rng: random.Random, name: str) -> Entity:
    return Entity(
        name,
        "town",
        {
            "region": rng.choice(REGIONS),
            "river": rng.choice(RIVERS),
            "product": rng.choice(PRODUCTS),
            "founded": str(rng.randrange(1210, 1890)),
        },
    )


def _company(rng: random.Random, surname: str, towns: list[str]) -> Entity:
    return Entity(
        f"{surname} {rng.choice(COMPANY_ENDINGS)}",
        "company",
        {
            "makes": rng.choice(GOODS),
            "based": rng.choice(towns),
            "opened": str(rng.randrange(1850, 1995)),
        },
    )


def _work(rng: random.Random, title: str, authors: list[str]) -> Entity:
    return Entity(
        title,
        "work",
        {
            "author": rng.choice(authors),
            "subject": rng.choice(BOOK_SUBJECTS),
            "published": str(rng.randrange(1925, 2015)),
        },
    )


def fictitious_person(rng: random.Random, world: World) -> Entity:
    """A person invented for one page; no other page of the web mentions them."""
    return _person(rng, rng.choice(world.unused_surnames), [town.name for town in world.towns])


def _reach(index: int) -> str:
    if index < PEOPLE:
        return "many"
    return "once" if index < PEOPLE + ONCE else "held_out"


def make_world(number: int, day: int = 1) -> World:
    """The world of a number. On day 2 some people have a new profession, and there are some newcomers."""
    rng = random.Random(f"world-{number}")
    world = World()
    town_names = _shuffled_pairs(rng, TOWNS, TOWN_BEGINNINGS, TOWN_ENDINGS, "")
    world.towns = [_town(rng, name) for name in town_names]
    # Surnames are unique, so that either half of a name identifies the person.
    count = len(SURNAME_BEGINNINGS) * len(SURNAME_ENDINGS)
    surnames = _shuffled_pairs(rng, count, SURNAME_BEGINNINGS, SURNAME_ENDINGS, "")
    people = PEOPLE + ONCE + HELD_OUT
    for index, surname in enumerate(surnames[:people]):
        person = _person(rng, surname, town_names)
        person.reach = _reach(index)
        world.people.append(person)
    world.companies = [_company(rng, surname, town_names) for surname in surnames[-COMPANIES:]]
    authors = [person.name for person in world.people[:PEOPLE]]
    titles = _shuffled_pairs(rng, WORKS, TITLE_BEGINNINGS, TITLE_ENDINGS, " ")
    world.works = [_work(rng, title, authors) for title in titles]
    unused = surnames[people:]
    world.unused_surnames = unused[:FICTITIOUS_SURNAMES]
    if day == 2:
        for person in changed_people(world):
            old = PROFESSIONS.index(person.facts["profession"])
            person.facts["profession"] = PROFESSIONS[(old + 1) % len(PROFESSIONS)]
        for surname in unused[FICTITIOUS_SURNAMES:][:NEWCOMERS]:
            person = _person(rng, surname, town_names)
            person.reach = "once"
            world.newcomers.append(person)
    return world


def changed_people(world: World) -> list[Entity]:
    """People who have a new profession on day 2."""
    return world.people[:PEOPLE][::CHANGED_EVERY]
