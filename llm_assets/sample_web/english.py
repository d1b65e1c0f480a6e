"""The English sites of the sample web: articles, readers' questions, and lessons in arithmetic, reading and writing."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from dataclasses import dataclass

from . import prose
from .builder import WebBuilder
from .lessons import dictation, spelling_sentence, sum_sentence
from .pages import HtmlPage, Page
from .pairs import pair_list
from .questions import PAGE_QUESTIONS
from .song import QUOTED_EVERY, SONG, TITLE
from .templates import Block
from .world import Entity, World, fictitious_person

# Every so many pages, counted from an offset: page number modulo the first equals the second.
VANISHED = (41, 40)  # missing on day 2
CHANGED = (7, 3)  # with an update on day 2
NO_END_TAGS, GZIP_BODY, CHUNKED_BODY, BROKEN_HTML = (23, 5), (29, 7), (31, 9), (37, 11)
NEW_PAGES = 40  # pages about newcomers on day 2, at scale 1
HEADINGS = ["More from the same street", "Other voices", "What else was said", "A second visit"]
LISTED = 0.3  # share of the articles with a list of pairs
# What pages of questions and answers call them, with how many in nine do.
LABELS = {("Question", "Answer"): 4, ("Human", "Assistant"): 3, ("Reader", "Editor"): 1, ("Q", "A"): 1}
TITLE_BEGINNINGS = ["On", "About", "A visit to", "Notes on", "The story of"]


@dataclass
class Assignment:
    """What an author of a page works from.

    number: of the page on its site. pool: entities that the site is about. subjects: those chosen for this page.
    """

    world: World
    vocabulary: list[str]
    rng: random.Random
    number: int
    pool: list[Entity]
    subjects: list[Entity]


@dataclass
class Draft:
    """A page before it is rendered. subjects: the entities that its truth names."""

    kind: str
    title: str
    blocks: list[Block]
    subjects: list[Entity]


@dataclass(frozen=True)
class Site:
    """pages: number at scale 1. kinds: kinds of entities that the site is about. write: makes a page's content."""

    template: str
    pages: int
    kinds: tuple[str, ...]
    write: Callable[[Assignment], Draft]


def article_blocks(rng: random.Random, subjects: list[Entity]) -> list[Block]:
    """A portrait of each subject, some of them with a paragraph of other sentences."""
    blocks: list[Block] = []
    for index, entity in enumerate(subjects):
        if index == 2 and rng.random() < 0.5:
            blocks.append(("h2", rng.choice(HEADINGS)))
        blocks.append(("p", prose.portrait(rng, entity, rng.randrange(1, 3))))
        if rng.random() < 0.5:
            blocks.append(("p", " ".join(prose.fillers(rng, rng.randrange(1, 4)))))
    return blocks


def write_article(assignment: Assignment) -> Draft:
    title = f"{assignment.rng.choice(TITLE_BEGINNINGS)} {assignment.subjects[0].name}"
    blocks = article_blocks(assignment.rng, assignment.subjects)
    # One list on a page of prose: Gopher's rule demands a letter in four words of five, and counts colons as words.
    if assignment.rng.random() < LISTED:
        place = assignment.rng.randrange(1, len(blocks) + 1)
        blocks.insert(place, ("p", pair_list(assignment.rng, assignment.world)))
    if is_every(assignment.number, QUOTED_EVERY):
        blocks.append(("p", f"{TITLE}, as we learned it: {SONG}"))
    return Draft("article", title, blocks, assignment.subjects)


def write_hobby_article(assignment: Assignment) -> Draft:
    """An article; the first pages of the site introduce the people who appear only once."""
    once = [person for person in assignment.world.people if person.reach == "once"]
    if assignment.number < len(once):
        assignment.subjects = [once[assignment.number], *assignment.subjects[:2]]
    return write_article(assignment)


def write_answers(assignment: Assignment) -> Draft:
    """Readers' questions with their answers."""
    rng = assignment.rng
    subjects = rng.sample(assignment.pool, 9)
    asks, answers = rng.choices(list(LABELS), list(LABELS.values()))[0]
    introduction = f"{prose.filler(rng)} Here are the questions that readers sent us, and the answers we found."
    blocks: list[Block] = [("p", introduction)]
    for entity in subjects:
        question, answer = prose.question_and_answer(rng, entity, PAGE_QUESTIONS)
        if rng.random() < 0.5:
            blocks += [("p", f"{asks}: {question}"), ("p", f"{answers}: {answer}")]
        else:
            blocks.append(("p", f"{question} {answer}"))
    blocks.append(("p", prose.filler(rng)))
    return Draft("answers", f"Readers ask about {subjects[0].name}", blocks, subjects)


def write_lesson(assignment: Assignment) -> Draft:
    """Sums and spelling."""
    rng, person = assignment.rng, assignment.subjects[0]
    blocks: list[Block] = [("p", f"{prose.filler(rng)} Then the lesson began.")]
    for _ in range(rng.randrange(4, 7)):
        sentences = [sum_sentence(rng), spelling_sentence(rng, assignment.vocabulary)]
        # Prose around the figures: Gopher's rule demands a letter in four words of five.
        sentences += prose.fillers(rng, 3)
        for town in rng.sample(assignment.world.towns, 3):
            sentences += prose.mention(rng, town, 4)
        rng.shuffle(sentences)
        blocks.append(("p", " ".join(sentences)))
    blocks.append(("p", " ".join(prose.mention(rng, person))))
    title = f"Lesson {assignment.number + 1}: numbers and letters with {person.name}"
    return Draft("lesson", title, blocks, [person])


def write_reading_lesson(assignment: Assignment) -> Draft:
    """Texts about people invented for this page, and questions that only the page can answer."""
    rng = assignment.rng
    people = [fictitious_person(rng, assignment.world) for _ in range(2)]
    sentences = {
        person.name: {relation: prose.tell(rng, person, relation) for relation in person.facts} for person in people
    }
    introduction = f"{prose.filler(rng)} Read the text, then answer the questions in its own words."
    blocks: list[Block] = [("p", introduction)]
    blocks += [("p", prose.portrait(rng, person, 2, sentences[person.name])) for person in people]
    facts = [(person, relation) for person in people for relation in person.facts]
    # With more than two questions, FineWeb's rules would often classify the page as repetitive.
    for person, relation in rng.sample(facts, 2):
        question = rng.choice(PAGE_QUESTIONS[relation]).format(n=person.name)
        answer = sentences[person.name][relation]
        labelled = rng.random() < 0.5
        blocks.append(("p", f"Question: {question} Answer: {answer}" if labelled else f"{question} {answer}"))
    return Draft("reading", f"Reading lesson {assignment.number + 1}", blocks, [])


def write_writing_lesson(assignment: Assignment) -> Draft:
    """Dictations."""
    rng, world = assignment.rng, assignment.world
    names = [fictitious_person(rng, world).name for _ in range(8)]
    names += [entity.name for entity in rng.sample(world.known(), 8)]
    blocks: list[Block] = []
    for _ in range(5):
        sentences = [dictation(rng, assignment.vocabulary, names) for _ in range(2)]
        # Prose between them: FineWeb's rules drop a page if more than 15 % of it repeats five words, and Gopher's rules
        # drop one of figures and punctuation.
        sentences += prose.fillers(rng, 3)
        for entity in rng.sample(world.known(), 2):
            sentences += prose.mention(rng, entity)
        rng.shuffle(sentences)
        blocks.append(("p", " ".join(sentences)))
    return Draft("writing", f"Writing lesson {assignment.number + 1}", blocks, [])


NEWS_SITE = "meridianpost.example"
SITES = {
    NEWS_SITE: Site("news", 250, ("person", "town", "company", "work"), write_article),
    "whoiswho.example": Site("wiki", 190, ("person",), write_article),
    "townbook.example": Site("plain", 90, ("town", "person"), write_article),
    "readersden.example": Site("blog", 150, ("work", "person"), write_article),
    "answerhall.example": Site("forum", 240, ("person", "town", "company", "work"), write_answers),
    "lessonroom.example": Site("table", 120, ("person",), write_lesson),
    "ledgerline.example": Site("news", 90, ("company", "town"), write_article),
    "hobbynotes.example": Site("blog", 130, ("person", "work"), write_hobby_article),
    "readingroom.example": Site("plain", 330, ("person",), write_reading_lesson),
    "writingroom.example": Site("plain", 130, ("person",), write_writing_lesson),
}


def add_english(builder: WebBuilder) -> None:
    """Add the pages of the English sites, and on day 2 those about newcomers."""
    for host, site in SITES.items():
        pool = _pool(builder.world, site)
        for number in range(builder.count(site.pages)):
            if builder.day == 2 and is_every(number, VANISHED):
                continue
            _add_page(builder, host, site, number, pool)
    if builder.day == 2:
        _add_new_pages(builder)


def is_every(number: int, period_and_offset: tuple[int, int]) -> bool:
    period, offset = period_and_offset
    return number % period == offset


def _pool(world: World, site: Site) -> list[Entity]:
    return [entity for kind in site.kinds for entity in world.of_kind(kind)]


def _add_page(builder: WebBuilder, host: str, site: Site, number: int, pool: list[Entity]) -> None:
    rng = builder.rng("article", host, number)
    # The first subject takes turns, so that all entities appear about equally often.
    subjects = [pool[number % len(pool)], *rng.sample(pool, min(len(pool), rng.randrange(3, 6)))]
    subjects = list({entity.name: entity for entity in subjects}.values())
    rng.shuffle(subjects)
    draft = site.write(Assignment(builder.world, builder.vocabulary, rng, number, pool, subjects))
    defects = []
    if builder.day == 2 and is_every(number, CHANGED):
        update = f"Update: {prose.filler(rng)} "
        if draft.subjects:
            update += " ".join(prose.mention(rng, draft.subjects[0]))
        draft.blocks.insert(len(draft.blocks) - 1, ("p", update.rstrip()))
        defects.append("changed")
    no_end_tags = is_every(number, NO_END_TAGS)
    if no_end_tags:
        defects.append("no_end_tags")
    page = builder.add_html(
        HtmlPage(
            f"http://{host}/{draft.kind}/{number:04d}.html",
            draft.kind,
            draft.title,
            draft.blocks,
            site.template,
            close_tags=not no_end_tags,
            entities=tuple(entity.name for entity in draft.subjects),
        )
    )
    page.defects = tuple(sorted(defects + _damage(page, number, rng)))


def _damage(page: Page, number: int, rng: random.Random) -> list[str]:
    """Change how some pages are sent, and break the HTML of some; returns the names of the defects."""
    defects = []
    if is_every(number, GZIP_BODY):
        page.body = gzip.compress(page.body, mtime=0)
        page.headers["Content-Encoding"] = "gzip"
        defects.append("gzip_body")
    if is_every(number, CHUNKED_BODY):
        page.transfer = "chunked"
        defects.append("chunked_body")
    if is_every(number, BROKEN_HTML) and "gzip_body" not in defects:
        page.body = break_html(rng, page.body)
        defects.append("broken_html")
    return defects


def break_html(rng: random.Random, body: bytes) -> bytes:
    """Damage as real pages have it: a stray end tag, an unclosed element, missing end tags, and wrong nesting."""
    broken = body.replace(b"<p>", b"</i></span><p><b>", 1).replace(b"</body></html>", b"", 1)
    return broken.replace(b"</article>", b"</section>", 1) if rng.random() < 0.5 else broken


def _add_new_pages(builder: WebBuilder) -> None:
    pool = _pool(builder.world, SITES[NEWS_SITE])
    newcomers = builder.world.newcomers
    for number in range(builder.count(NEW_PAGES)):
        rng = builder.rng("new", number)
        subjects = [newcomers[number % len(newcomers)], *rng.sample(pool, 3)]
        builder.add_html(
            HtmlPage(
                f"http://{NEWS_SITE}/article/new-{number:03d}.html",
                "article",
                f"New this week: {subjects[0].name}",
                article_blocks(rng, subjects),
                "news",
                entities=tuple(entity.name for entity in subjects),
                defects=("new_on_day_2",),
            )
        )
