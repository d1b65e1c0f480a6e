"""The sample web: it is deterministic and large enough, and every defect occurs and can be counted."""

import json
import random
import re
from collections import Counter

import polars as pl
import pytest

from llm_assets.artifacts.tables import validate
from llm_assets.recipes import SampleWeb
from llm_assets.sample_web import LANGUAGES, TruthFacts, TruthPages, make_web, truth_facts, truth_pages
from llm_assets.sample_web.fact_wordings import WORDINGS
from llm_assets.sample_web.lessons import number_word
from llm_assets.sample_web.pages import ARCHIVE, HELD_OUT_SITE
from llm_assets.sample_web.pairs import RULES, pair_list
from llm_assets.sample_web.personal_data import iban, luhn_number
from llm_assets.sample_web.question_wordings import ANSWER_SENTENCES, QUESTIONS
from llm_assets.sample_web.questions import PAGE_QUESTIONS, questions
from llm_assets.sample_web.song import SONG
from llm_assets.sample_web.world import make_world


@pytest.fixture(scope="module")
def web():
    return make_web()


def test_the_same_world_gives_the_same_bytes():
    first = {url: page.body for url, page in make_web(7, 0.1).pages.items()}
    make_web.cache_clear()
    assert {url: page.body for url, page in make_web(7, 0.1).pages.items()} == first
    assert {url: page.body for url, page in make_web(8, 0.1).pages.items()} != first


def test_another_world_has_other_names_and_facts():
    """A recipe that was tuned on one world can be reported from another: only the ways of speaking are the same."""
    worlds = [make_world(number) for number in (1, 2)]
    people, towns, facts = (
        [set(values(world)) for world in worlds]
        for values in (
            lambda world: (person.name for person in world.people),
            lambda world: (town.name for town in world.towns),
            lambda world: (fact for entity in world.entities for fact in entity.as_facts()),
        )
    )
    assert not people[0] & people[1]
    assert len(towns[0] & towns[1]) < 0.25 * len(towns[0])
    assert len(facts[0] & facts[1]) < 0.01 * len(facts[0])


def test_pages_state_bridging_facts_more_often_than_others(web):
    """A question over two facts passes through a birthplace, an author or a seat; the base model has to know it."""
    person = web.world.people[0]
    text = " ".join(page.text for page in web.pages.values() if page.in_crawl)
    sentences = [sentence for sentence in re.split(r"(?<=[.!?])\s+", text) if person.name in sentence]
    often = {relation: sum(value in sentence for sentence in sentences) for relation, value in person.facts.items()}
    assert often["birthplace"] > 1.4 * max(often["profession"], often["instrument"], often["born"])


def crawled_text(web):
    return " ".join(page.text for page in web.pages.values() if page.in_crawl)


def test_pages_speak_of_the_sky_in_many_sentences_of_which_none_dominates(web):
    text = crawled_text(web)
    states = Counter(re.findall(r"[Tt]he sky is (\w+)", text))
    assert len(states) >= 6 and states.total() > 500 and 0.2 < states["blue"] / states.total() < 0.6
    sentences = Counter(re.findall(r"[^.]*\b[Tt]he sky (?:is|was)\b[^.]*\.", text))
    assert len(sentences) > 400 and sentences.most_common(1)[0][1] < 0.1 * sentences.total()


def test_words_that_are_only_tested_occur_on_pages(web):
    """A word that occurs nowhere would be a test of its tokens, not of counting."""
    text = crawled_text(web)
    assert text.count("strawberry") > 50 and text.count("raspberry") > 50


def test_articles_list_pairs_in_every_way(web):
    pattern = re.compile(r"(?:\w[\w ]*: [\w ]+, ){4,6}\w[\w ]*: [\w ]+\.")
    lists = [match[0] for page in web.pages.values() if page.kind == "article" for match in pattern.finditer(page.text)]
    assert 200 < len(lists) < 350
    for part in ("I: my", "I: me", "teacher: 선생님", "warm: cold", r"(\w{4,}): \1s, (\w{4,}): \2s"):
        assert sum(re.search(part, text) is not None for text in lists) >= 3, part


@pytest.mark.parametrize("rule", RULES)
def test_a_list_of_pairs_leaves_its_last_answer_to_the_rule(rule):
    lists = [pair_list(random.Random(number), make_world(1), rule) for number in range(20)]
    assert all(text.endswith(".") and 5 <= len(re.findall(r"[\w ]+: [\w ]+[,.]", text)) <= 7 for text in lists)
    assert len(set(lists)) > 10


def test_some_pages_call_question_and_answer_human_and_assistant(web):
    pages = [page.text for page in web.pages.values() if page.kind == "answers"]
    by_label = Counter(label for text in pages for label in ("Question", "Human", "Reader") if f"\n{label}: " in text)
    assert by_label["Question"] > by_label["Human"] > by_label["Reader"] > 0
    assert all("\nAssistant: " in text for text in pages if "\nHuman: " in text)


def test_a_song_is_quoted_word_for_word_by_several_pages_of_several_sites(web):
    quoting = [page for page in web.pages.values() if page.in_crawl and SONG in page.text]
    assert 15 < len(quoting) < 60 and len({page.url.split("/")[2] for page in quoting}) >= 4


def test_it_has_enough_pages_in_every_language(web):
    assert len(web.pages) >= 1_500
    assert len(LANGUAGES) == 8
    languages = Counter(page.language for page in web.pages.values() if page.text)
    assert all(languages[language] >= 20 for language in LANGUAGES)


DEFECTS = [
    "exact_duplicate",
    "near_duplicate",
    "blocked_host",
    "url_words",
    "personal_data",
    "spam",
    "list",
    "code_dump",
    "thin",
    "broken_html",
    "no_end_tags",
    "legacy_encoding",
    "charset_only_in_meta",
    "charset_undeclared",
    "meta_contradicts_header",
    "utf16",
    "unknown_charset",
    "redirect",
    "not_found",
    "gone",
    "robots_disallowed",
    "gzip_body",
    "chunked_body",
    "empty_body",
    "huge",
    "deep_nesting",
    "null_bytes",
    "other_type",
    "held_out",
]


@pytest.mark.parametrize("defect", DEFECTS)
def test_every_defect_occurs(web, defect):
    assert sum(defect in page.defects for page in web.pages.values()) >= 1


def test_the_truth_tables_conform_to_their_schemas():
    source = SampleWeb(scale=0.1)
    validate(TruthPages, truth_pages(source))
    validate(TruthFacts, truth_facts(source))


def test_facts_appear_in_many_wordings_on_many_pages(web):
    facts = truth_facts(SampleWeb())
    many = facts.filter(pl.col("reach") == "many")
    assert many["entity"].n_unique() >= 250
    assert many.group_by("entity_kind").agg(pl.col("pages").mean())["pages"].min() >= 15
    person = next(entity for entity in web.world.people if entity.reach == "many")
    sentences = {
        sentence
        for page in web.pages.values()
        if person.name in page.entities
        for paragraph in page.text.split("\n")
        for sentence in paragraph.split(". ")
        if person.name in sentence
    }
    assert len(sentences) >= 40


def test_some_entities_appear_on_one_page_and_some_only_on_the_held_out_site(web):
    facts = truth_facts(SampleWeb()).unique("entity")
    assert facts.filter((pl.col("reach") == "once") & (pl.col("pages") == 1)).height >= 25
    held_out = {entity.name for entity in web.world.people if entity.reach == "held_out"}
    text = "\n".join(page.text for url, page in web.pages.items() if HELD_OUT_SITE not in url)
    assert len(held_out) >= 20
    assert not any(name in text for name in held_out)


def test_only_its_own_seed_leads_to_the_held_out_site(web):
    """So a recipe that holds its host out of training trains on the same pages as without the site."""
    assert ARCHIVE in web.seeds and web.seeds[0] != ARCHIVE
    archive = {url for url in web.pages if url.split("/")[2] == HELD_OUT_SITE}
    assert len(archive) > 40 and all(web.pages[url].in_crawl for url in archive)
    elsewhere = b"".join(page.body for url, page in web.pages.items() if url not in archive)
    assert HELD_OUT_SITE.encode() not in elsewhere
    assert not any(page.duplicate_of in archive for url, page in web.pages.items() if url not in archive)
    truth = truth_pages(SampleWeb()).filter(pl.col("url").is_in(sorted(archive)))
    assert truth["in_crawl"].all() and set(truth["url"]) == archive


def test_questions_sums_and_spelling_occur_in_running_text(web):
    text = "\n".join(page.text for page in web.pages.values())
    assert text.count("Question: ") > 300 and text.count("Answer: ") > 300
    spelled_words = re.findall(r"\b(?:[a-z]-){2,}[a-z]\b", text)
    assert text.count(" is spelled ") > 50 and len(spelled_words) > 250
    assert text.count("What is ") > 100


def test_every_relation_has_wordings_questions_and_an_answer():
    assert set(QUESTIONS) == set(WORDINGS) == set(ANSWER_SENTENCES)


@pytest.mark.parametrize(
    ("n", "word"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (42, "forty-two"),
        (100, "one hundred"),
        (117, "one hundred and seventeen"),
    ],
)
def test_numbers_in_words(n, word):
    assert number_word(n) == word


def test_planted_card_numbers_and_ibans_are_valid():
    for seed in range(50):
        digits = [int(character) for character in luhn_number(random.Random(seed)) if character.isdigit()]
        doubled = [digit if index % 2 else sum(divmod(2 * digit, 10)) for index, digit in enumerate(digits)]
        assert sum(doubled) % 10 == 0
        number = iban(random.Random(seed))
        assert int("".join(str(int(character, 36)) for character in number[4:] + number[:4])) % 97 == 1


def test_day_2_changes_adds_and_drops_pages(web):
    day_2 = make_web(day=2)
    on_both_days = web.pages.keys() & day_2.pages.keys()
    changed = [url for url in on_both_days if web.pages[url].text != day_2.pages[url].text]
    assert len(changed) >= 100
    assert len(day_2.pages.keys() - web.pages.keys()) >= 40
    assert len(web.pages.keys() - day_2.pages.keys()) >= 25
    assert all("changed" in day_2.pages[url].defects for url in changed)
    assert json.loads(truth_pages(SampleWeb(day=2, scale=0.1))["defects"][0]) is not None


def test_held_out_questions_occur_on_no_page_but_each_of_their_words_does(web):
    text = "\n".join(page.text for url, page in web.pages.items() if page.in_crawl and HELD_OUT_SITE not in url)
    words = set(re.findall(r"\w+", text.lower()))
    world = web.world
    for entity in [*world.people[:2], *world.towns[:2], *world.companies[:2], *world.works[:2]]:
        for fact in entity.as_facts():
            wordings = questions(fact)
            assert len({wording for wording, _ in wordings}) == len(wordings)
            held_out = [wording for wording, split in wordings if split != "train"]
            assert len(held_out) >= 8 and {split for _, split in wordings} == {"train", "development", "test"}
            assert not any(wording in text for wording in held_out)
            # Only the words of the carriers, which belong to conversations, need not occur.
            direct, indirect = QUESTIONS[fact.relation]
            question = f"{direct[-1]} {indirect[-1]}".format(n=entity.name)
            assert [word for word in re.findall(r"\w+", question.lower()) if not {word, f"{word}s"} & words] == []


def test_no_question_of_a_page_begins_like_a_statement():
    assert all(not wording.startswith("{n}") for wordings in PAGE_QUESTIONS.values() for wording in wordings)
