"""The sample web: deterministic, large enough, every defect there and countable."""

import json
import re
from collections import Counter

import polars as pl
import pytest

from llm_assets.artifacts.tables import validate
from llm_assets.recipes import SampleWeb
from llm_assets.sample_web import LANGUAGES, TruthFacts, TruthPages, make_web, truth_facts, truth_pages
from llm_assets.sample_web.asking import ASKED, PAGE_QUESTIONS, SENTENCES, questions
from llm_assets.sample_web.pages import ARCHIVE, HELD_OUT_SITE, iban, luhn_number
from llm_assets.sample_web.prose import WORDINGS, number_word


@pytest.fixture(scope="module")
def web():
    return make_web()


def test_the_same_seed_gives_the_same_bytes():
    first = {url: page.body for url, page in make_web(7, 0.1).pages.items()}
    make_web.cache_clear()
    assert {url: page.body for url, page in make_web(7, 0.1).pages.items()} == first
    assert {url: page.body for url, page in make_web(8, 0.1).pages.items()} != first


def test_it_is_as_large_as_promised(web):
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
def test_every_defect_can_be_counted(web, defect):
    assert sum(defect in page.defects for page in web.pages.values()) >= 1


def test_the_truth_tables_obey_their_schemas():
    source = SampleWeb(scale=0.1)
    validate(TruthPages, truth_pages(source))
    validate(TruthFacts, truth_facts(source))


def test_facts_are_told_in_many_wordings_over_many_pages(web):
    facts = truth_facts(SampleWeb())
    many = facts.filter(pl.col("reach") == "many")
    assert many["entity"].n_unique() >= 250
    assert many.group_by("entity_kind").agg(pl.col("pages").mean())["pages"].min() >= 15
    person = next(entity for entity in web.world.people if entity.reach == "many")
    sentences = {
        line
        for page in web.pages.values()
        if person.name in page.entities
        for text in page.text.split("\n")
        for line in text.split(". ")
        if person.name in line
    }
    assert len(sentences) >= 40


def test_some_things_stand_on_one_page_and_some_only_on_the_site_kept_out(web):
    facts = truth_facts(SampleWeb()).unique("entity")
    assert facts.filter((pl.col("reach") == "once") & (pl.col("pages") == 1)).height >= 25
    held_out = {entity.name for entity in web.world.people if entity.reach == "held_out"}
    text = "\n".join(page.text for url, page in web.pages.items() if HELD_OUT_SITE not in url)
    assert len(held_out) >= 20
    assert not any(name in text for name in held_out)


def test_the_archive_is_in_the_crawl_by_its_own_seed_alone(web):
    """A recipe that keeps its host out of training trains on what it would without the site."""
    assert ARCHIVE in web.seeds and web.seeds[0] != ARCHIVE
    archive = {url for url in web.pages if url.split("/")[2] == HELD_OUT_SITE}
    assert len(archive) > 40 and all(web.pages[url].in_crawl for url in archive)
    elsewhere = b"".join(page.body for url, page in web.pages.items() if url not in archive)
    assert HELD_OUT_SITE.encode() not in elsewhere
    assert not any(page.duplicate_of in archive for url, page in web.pages.items() if url not in archive)
    truth = truth_pages(SampleWeb()).filter(pl.col("url").is_in(sorted(archive)))
    assert truth["in_crawl"].all() and set(truth["url"]) == archive


def test_questions_sums_and_spelling_stand_in_running_text(web):
    text = "\n".join(page.text for page in web.pages.values())
    assert text.count("Question: ") > 300 and text.count("Answer: ") > 300
    assert (
        text.count(" is spelled ") > 50 and len(re.findall(r"\b(?:[a-z]-){2,}[a-z]\b", text)) > 250
    )  # words spelled out, in all ways of saying it
    assert text.count("What is ") > 100
    assert set(ASKED) == set(WORDINGS) == set(SENTENCES)


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


def test_planted_numbers_pass_their_checks():
    import random

    for seed in range(50):
        digits = [int(ch) for ch in luhn_number(random.Random(seed)) if ch.isdigit()]
        doubled = [d if i % 2 else sum(divmod(2 * d, 10)) for i, d in enumerate(digits)]
        assert sum(doubled) % 10 == 0
        number = iban(random.Random(seed))
        assert int("".join(str(int(ch, 36)) for ch in number[4:] + number[:4])) % 97 == 1


def test_the_next_day_changes_adds_and_drops_pages(web):
    day2 = make_web(day=2)
    both = web.pages.keys() & day2.pages.keys()
    changed = [url for url in both if web.pages[url].text != day2.pages[url].text]
    assert len(changed) >= 100
    assert len(day2.pages.keys() - web.pages.keys()) >= 40
    assert len(web.pages.keys() - day2.pages.keys()) >= 25
    assert all("changed" in day2.pages[url].defects for url in changed)
    assert json.loads(truth_pages(SampleWeb(day=2, scale=0.1))["defects"][0]) is not None


def test_kept_wordings_are_of_words_that_pages_have_and_stand_on_none(web):
    text = "\n".join(page.text for url, page in web.pages.items() if page.in_crawl and HELD_OUT_SITE not in url)
    words = set(re.findall(r"\w+", text.lower()))
    for person in [*web.world.people[:2], *web.world.towns[:2], *web.world.companies[:2], *web.world.works[:2]]:
        for fact in person.as_facts():
            wordings = questions(fact)
            assert sum(kept for _, kept in wordings) >= 8 and len({wording for wording, _ in wordings}) == len(wordings)
            kept = [wording for wording, is_kept in wordings if is_kept]
            assert not any(wording in text for wording in kept)
            # But for the carrying phrases, which belong to conversations.
            direct, indirect = ASKED[fact.relation]
            asked = f"{direct[-1]} {indirect[-1]}".format(n=person.name)
            assert [word for word in re.findall(r"\w+", asked.lower()) if not {word, f"{word}s"} & words] == []


def test_pages_ask_in_no_words_of_a_statement():
    assert all(not wording.startswith("{n}") for wordings in PAGE_QUESTIONS.values() for wording in wordings)
