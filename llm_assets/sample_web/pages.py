"""Every page of the sample web, with its ground truth. Deterministic in (seed, scale, day)."""

from __future__ import annotations

import gzip
import hashlib
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

from . import prose
from .asking import PAGE_QUESTIONS
from .languages import LEGACY, TEXTS, page_text
from .templates import TEMPLATES, Block, main_text, render
from .world import Entity, Fact, World, make_world, stranger

CLOCKS = {1: datetime(2026, 10, 5, 6, 0, tzinfo=UTC), 2: datetime(2026, 10, 12, 6, 0, tzinfo=UTC)}
PORTAL = "webring.example"
HELD_OUT_SITE = "quietarchive.example"  # no other page links to it; a recipe keeps it out of training by its host
ARCHIVE = f"http://{HELD_OUT_SITE}/index.html"

# site → (template, pages at scale 1)
ENGLISH = {
    "meridianpost.example": ("news", 250),
    "whoiswho.example": ("wiki", 190),
    "townbook.example": ("plain", 90),
    "readersden.example": ("blog", 150),
    "answerhall.example": ("forum", 240),
    "lessonroom.example": ("table", 120),
    "ledgerline.example": ("news", 90),
    "hobbynotes.example": ("blog", 130),
    "readingroom.example": ("plain", 330),
    "writingroom.example": ("plain", 130),
}
FOREIGN = {
    "de": "tageblatt.example",
    "fr": "lejournal.example",
    "es": "lavoz.example",
    "it": "gazzetta.example",
    "pt": "folha.example",
    "ru": "vestnik.example",
    "ja": "shimbun.example",
}
FOREIGN_PAGES = 26
BLOCKED = {
    "velvetnights.example": "adult",
    "luckywheel.example": "gambling",
    "adfarm.example": "ads",
    "freecodecs.example": "malware",
}
WORD_PATHS = [
    ("/gallery/xxx-evening.html", "hard_word"),
    ("/Gallery/XXX-Morning.html", "hard_word"),
    ("/clips/Porn-study.html", "hard_word"),
    ("/night/sexy-casino.html", "soft_word"),
    ("/night/Hot-Babes-weekly.html", "soft_word"),
    ("/offers/poker-bonus-jackpot.html", "soft_word"),
    ("/go/myonlinecasino2026.html", "substring"),
    ("/go/BestFreePornlinks.html", "substring"),
    ("/food/hot-soup.html", "keep"),
    ("/essex/county-news.html", "keep"),
    ("/teen/school-choir.html", "keep"),
]


@dataclass
class Page:
    """One URL of the web: what the server answers, and the truth about it.

    verdict is keep, or the rule that should reject the URL or answer (a reject's ``rule``); text is the main content
    that an extractor should give (empty where there is none); defects is a sorted tuple of words; in_crawl says whether
    a crawl should hold an answer for it.
    """

    url: str
    kind: str
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    verdict: str = "keep"
    language: str = ""
    encoding: str = ""
    title: str = ""
    text: str = ""
    defects: tuple[str, ...] = ()
    duplicate_of: str = ""
    pii: dict[str, int] = field(default_factory=dict)
    entities: tuple[str, ...] = ()
    in_crawl: bool = True
    transfer: str = ""  # "chunked" where the server should send it so


@dataclass
class Web:
    """All pages by URL, robots.txt by host, the world behind them."""

    world: World
    pages: dict[str, Page]
    robots: dict[str, str]
    seeds: tuple[str, ...]
    facts: list[tuple[Fact, str, int]]  # fact, reach, number of pages that tell of its entity
    clock: datetime  # the time at which this day's crawl is said to be made


class _Builder:
    def __init__(self, seed: int, scale: float, day: int):
        self.seed, self.scale, self.day = seed, scale, day
        self.world = make_world(seed, day)
        self.pages: dict[str, Page] = {}
        self.robots: dict[str, str] = {}
        self.linked: dict[str, list[str]] = {}
        self.vocabulary = prose.vocabulary(self.world)

    def rng(self, *parts: object) -> random.Random:
        return random.Random("-".join(map(str, (self.seed, *parts))))

    def count(self, at_scale_1: int) -> int:
        return max(1, round(at_scale_1 * self.scale))

    def add(self, page: Page) -> Page:
        assert page.url not in self.pages, page.url
        if page.status == 200 and page.verdict == "keep" and not page.encoding and page.text:
            page.encoding = "utf-8"
        self.pages[page.url] = page
        host = page.url.split("/")[2]
        if page.kind != "held_out":
            self.linked.setdefault(host, []).append(page.url)
        return page

    def html_page(
        self,
        url: str,
        kind: str,
        title: str,
        blocks: list[Block],
        template: str,
        language: str = "en",
        encoding: str = "utf-8",
        header_charset: str | None = "utf-8",
        meta_charset: str | None = "utf-8",
        closed: bool = True,
        **truth: object,
    ) -> Page:
        host = url.split("/")[2]
        rng = self.rng("page", url)
        others = [
            u
            for u in self.linked.get(host, [])
            if self.pages[u].kind in ("article", "answers", "lesson", "reading", "writing")
        ]
        related = [(u, self.pages[u].title) for u in rng.sample(others, min(4, len(others)))]
        html = render(
            template, rng, host.removesuffix(".example").title(), language, meta_charset, title, blocks, related, closed
        )
        body = html.encode(encoding, "xmlcharrefreplace")
        headers = {"Content-Type": "text/html" + (f"; charset={header_charset}" if header_charset else "")}
        return self.add(
            Page(
                url,
                kind,
                body,
                headers=headers,
                language=language,
                encoding=encoding,
                title=title,
                text=main_text(blocks),
                **truth,
            )
        )  # type: ignore[arg-type]

    # -- English articles -------------------------------------------------------------------------------------------

    def article_blocks(self, rng: random.Random, subjects: list[Entity]) -> list[Block]:
        blocks: list[Block] = []
        for i, entity in enumerate(subjects):
            if i == 2 and rng.random() < 0.5:
                blocks.append(
                    (
                        "h2",
                        rng.choice(
                            ["More from the same street", "Other voices", "What else was said", "A second visit"]
                        ),
                    )
                )
            blocks.append(("p", prose.portrait(rng, entity, fillers=rng.randrange(1, 3))))
            if rng.random() < 0.5:
                blocks.append(("p", " ".join(prose.filler(rng) for _ in range(rng.randrange(1, 4)))))
        return blocks

    def qa_blocks(self, rng: random.Random, subjects: list[Entity]) -> list[Block]:
        blocks: list[Block] = [
            ("p", f"{prose.filler(rng)} Here are the questions that readers sent us, and the answers we found.")
        ]
        for entity in subjects:
            question, answer = prose.question_and_answer(rng, entity, PAGE_QUESTIONS)
            if rng.random() < 0.5:
                blocks += [("p", f"Question: {question}"), ("p", f"Answer: {answer}")]
            else:
                blocks.append(("p", f"{question} {answer}"))
        blocks.append(("p", prose.filler(rng)))
        return blocks

    def lesson_blocks(self, rng: random.Random, entity: Entity) -> list[Block]:
        blocks: list[Block] = [("p", f"{prose.filler(rng)} Then the lesson began.")]
        for _ in range(rng.randrange(4, 7)):
            sentences = [prose.sum_sentence(rng), prose.spelling_sentence(rng, self.vocabulary)]
            # Words around the figures: Gopher's rule wants four words in five with a letter in them.
            sentences += [prose.filler(rng) for _ in range(3)] + [
                fact for town in rng.sample(self.world.towns, 3) for fact in prose.mention(rng, town, 4)
            ]
            rng.shuffle(sentences)
            blocks.append(("p", " ".join(sentences)))
        blocks.append(("p", " ".join(prose.mention(rng, entity))))
        return blocks

    def reading_blocks(self, rng: random.Random) -> list[Block]:
        """Texts on people made up for this page, and questions that only the page can answer."""
        people = [stranger(rng, self.world) for _ in range(2)]
        told = {
            person.name: {relation: prose.tell(rng, person, relation) for relation in person.facts} for person in people
        }
        blocks: list[Block] = [("p", f"{prose.filler(rng)} Read the text, then answer the questions in its own words.")]
        blocks += [("p", prose.portrait(rng, person, 2, told[person.name])) for person in people]
        asked = [(person, relation) for person in people for relation in person.facts]
        # Of more than two, FineWeb's rules would often see a page that repeats itself.
        for person, relation in rng.sample(asked, 2):
            question, answer = rng.choice(PAGE_QUESTIONS[relation]).format(n=person.name), told[person.name][relation]
            blocks.append(
                ("p", f"Question: {question} Answer: {answer}" if rng.random() < 0.5 else f"{question} {answer}")
            )
        return blocks

    def writing_blocks(self, rng: random.Random) -> list[Block]:
        """Dictations."""
        names = [
            *(stranger(rng, self.world).name for _ in range(8)),
            *(entity.name for entity in rng.sample(self.world.known(), 8)),
        ]
        blocks: list[Block] = []
        for _ in range(5):
            sentences = [prose.dictation(rng, self.vocabulary, names) for _ in range(2)]
            # Prose between them: FineWeb's rules drop a page of which more than 15 % repeat five words, Gopher's one of figures and marks.
            sentences += [prose.filler(rng) for _ in range(3)] + [
                fact for entity in rng.sample(self.world.known(), 2) for fact in prose.mention(rng, entity)
            ]
            rng.shuffle(sentences)
            blocks.append(("p", " ".join(sentences)))
        return blocks

    def english(self) -> None:
        everything = {
            kind: [e for e in self.world.known() if e.kind == kind] for kind in ("person", "town", "company", "work")
        }
        pools = {
            "meridianpost.example": everything["person"]
            + everything["town"]
            + everything["company"]
            + everything["work"],
            "whoiswho.example": everything["person"],
            "townbook.example": everything["town"] + everything["person"],
            "readersden.example": everything["work"] + everything["person"],
            "answerhall.example": self.world.known(),
            "lessonroom.example": everything["person"],
            "ledgerline.example": everything["company"] + everything["town"],
            "hobbynotes.example": everything["person"] + everything["work"],
            "readingroom.example": everything["person"],
            "writingroom.example": everything["person"],
        }
        once = [e for e in self.world.people if e.reach == "once"]
        for host, (template, pages) in ENGLISH.items():
            for i in range(self.count(pages)):
                rng = self.rng("article", host, i)
                # Each thing in turn is the first subject, so that all are told about equally often.
                pool = pools[host]
                subjects = [pool[i % len(pool)], *rng.sample(pool, min(len(pool), rng.randrange(3, 6)))]
                subjects = list({entity.name: entity for entity in subjects}.values())
                rng.shuffle(subjects)
                if self.day == 2 and i % 41 == 40:
                    continue  # vanished
                if host == "answerhall.example":
                    subjects = rng.sample(pool, 9)
                    kind, title, blocks = (
                        "answers",
                        f"Readers ask about {subjects[0].name}",
                        self.qa_blocks(rng, subjects),
                    )
                elif host == "lessonroom.example":
                    kind, title, blocks = (
                        "lesson",
                        f"Lesson {i + 1}: numbers and letters with {subjects[0].name}",
                        self.lesson_blocks(rng, subjects[0]),
                    )
                    subjects = subjects[:1]
                elif host == "readingroom.example":
                    kind, title, blocks, subjects = "reading", f"Reading lesson {i + 1}", self.reading_blocks(rng), []
                elif host == "writingroom.example":
                    kind, title, blocks, subjects = "writing", f"Writing lesson {i + 1}", self.writing_blocks(rng), []
                else:
                    if host == "hobbynotes.example" and i < len(once):
                        subjects = [once[i], *subjects[:2]]
                    kind, title, blocks = (
                        "article",
                        f"{rng.choice(['On', 'About', 'A visit to', 'Notes on', 'The story of'])} {subjects[0].name}",
                        self.article_blocks(rng, subjects),
                    )
                defects = []
                if self.day == 2 and i % 7 == 3:
                    blocks.insert(
                        len(blocks) - 1,
                        (
                            "p",
                            f"Update: {prose.filler(rng)} {' '.join(prose.mention(rng, subjects[0])) if subjects else ''}".rstrip(),
                        ),
                    )
                    defects.append("changed")
                closed = True
                if i % 23 == 5:
                    closed = False
                    defects.append("no_end_tags")
                page = self.html_page(
                    f"http://{host}/{kind}/{i:04d}.html",
                    kind,
                    title,
                    blocks,
                    template,
                    closed=closed,
                    entities=tuple(e.name for e in subjects),
                )
                if i % 29 == 7:
                    page.body = gzip.compress(page.body, mtime=0)
                    page.headers["Content-Encoding"] = "gzip"
                    defects.append("gzip_body")
                if i % 31 == 9:
                    page.transfer = "chunked"
                    defects.append("chunked_body")
                if i % 37 == 11:
                    page.body = break_html(rng, page.body) if "gzip_body" not in defects else page.body
                    defects += [] if "gzip_body" in defects else ["broken_html"]
                page.defects = tuple(sorted(defects))
        if self.day == 2:
            for i in range(self.count(40)):
                rng = self.rng("new", i)
                newcomer = self.world.newcomers[i % len(self.world.newcomers)]
                subjects = [newcomer, *rng.sample(pools["meridianpost.example"], 3)]
                self.html_page(
                    f"http://meridianpost.example/article/new-{i:03d}.html",
                    "article",
                    f"New this week: {subjects[0].name}",
                    self.article_blocks(rng, subjects),
                    "news",
                    entities=tuple(e.name for e in subjects),
                    defects=("new_on_day_2",),
                )

    # -- other languages, encodings ---------------------------------------------------------------------------------

    def foreign(self) -> None:
        for language, host in FOREIGN.items():
            for i in range(self.count(FOREIGN_PAGES)):
                rng = self.rng("foreign", language, i)
                title, paragraphs = page_text(rng, language, self.world)
                encoding, header, meta, defects = "utf-8", "utf-8", "utf-8", []
                if i % 4 == 1:
                    encoding = LEGACY[language]
                    header, meta = encoding, encoding
                    defects.append("legacy_encoding")
                elif i % 4 == 2:
                    encoding = LEGACY[language]
                    header, meta = None, encoding
                    defects.append("charset_only_in_meta")
                elif i % 8 == 3:
                    encoding = LEGACY[language]
                    header, meta = None, None
                    defects.append("charset_undeclared")
                elif i % 8 == 7:
                    header, meta = "utf-8", LEGACY[language]
                    defects.append("meta_contradicts_header")
                self.html_page(
                    f"http://{host}/{language}/{i:03d}.html",
                    "article",
                    title,
                    [("p", p) for p in paragraphs],
                    TEMPLATES[i % len(TEMPLATES)],
                    language,
                    encoding,
                    header,
                    meta,
                    defects=tuple(defects),
                )
        for i in range(self.count(6)):
            rng = self.rng("utf16", i)
            self.html_page(
                f"http://townbook.example/wide/{i}.html",
                "article",
                f"Wide letters {i}",
                [("p", prose.portrait(rng, e, 2)) for e in rng.sample(self.world.towns, 4)],
                "plain",
                encoding="utf-16",
                header_charset=None,
                meta_charset=None,
                defects=("utf16",),
            )
        for i in range(self.count(6)):
            rng = self.rng("unknown-charset", i)
            self.html_page(
                f"http://townbook.example/odd/{i}.html",
                "article",
                f"Odd label {i}",
                [("p", prose.portrait(rng, e, 2)) for e in rng.sample(self.world.towns, 4)],
                "plain",
                header_charset="x-klingon-8",
                meta_charset=None,
                defects=("unknown_charset",),
            )

    # -- duplicates -------------------------------------------------------------------------------------------------

    def duplicates(self) -> None:
        # Articles that neither change nor vanish on day 2 (see english), so that a copy stays a copy.
        articles = [
            (int(p.url[-9:-5]), p)
            for p in self.pages.values()
            if p.url.startswith("http://meridianpost.example/article/0") and not p.defects
        ]
        originals = [page for i, page in articles if i % 7 != 3 and i % 41 != 40]
        for page in originals[: self.count(45)]:
            self.add(
                Page(
                    f"http://mirrorpost.example{page.url.split('.example', 1)[1]}",
                    "mirror",
                    page.body,
                    headers=dict(page.headers),
                    language="en",
                    encoding="utf-8",
                    title=page.title,
                    text=page.text,
                    defects=("exact_duplicate",),
                    duplicate_of=page.url,
                    entities=page.entities,
                )
            )
        for i, page in enumerate(originals[self.count(45) : self.count(110)]):
            rng = self.rng("near", i)
            blocks: list[Block] = [("p", text) for text in page.text.split("\n")]
            blocks.append(("p", f"This story first appeared in the Meridian Post. {prose.filler(rng)}"))
            self.html_page(
                f"http://newswire.example/story/{i:03d}.html",
                "near_duplicate",
                page.title,
                blocks,
                "blog",
                defects=("near_duplicate",),
                duplicate_of=page.url,
                entities=page.entities,
            )

    # -- what a filter should drop ----------------------------------------------------------------------------------

    def blocked(self) -> None:
        for host, category in BLOCKED.items():
            for i in range(self.count(8)):
                rng = self.rng("blocked", host, i)
                sub = "www." if i % 3 == 1 else ""
                self.html_page(
                    f"http://{sub}{host}/offer/{i}.html",
                    "blocked_host",
                    f"Offer {i}",
                    [("p", " ".join(prose.filler(rng) for _ in range(6)))],
                    "plain",
                    verdict=category,
                    defects=("blocked_host",),
                )
        for i, (path, verdict) in enumerate(WORD_PATHS):
            rng = self.rng("words", i)
            defects = ("url_words",) if verdict != "keep" else ("harmless_url_words",)
            self.html_page(
                f"http://hobbynotes.example{path}",
                "url_words",
                f"A page called {i}",
                [("p", prose.portrait(rng, e, 3)) for e in rng.sample(self.world.towns, 3)],
                "blog",
                verdict=verdict,
                defects=defects,
            )

    def poor(self) -> None:
        for i in range(self.count(20)):
            rng = self.rng("spam", i)
            words = rng.sample(
                ["cheap", "best", "offer", "discount", "buy", "now", "deal", "free", "shipping", "price"], 5
            )
            text = " ".join(rng.choice(words) for _ in range(300))
            self.html_page(
                f"http://hobbynotes.example/spam/{i}.html",
                "spam",
                "Best price",
                [("p", text)],
                "blog",
                defects=("spam",),
            )
            items = [("li", f"{rng.choice(self.vocabulary)} {rng.randrange(100)}") for _ in range(80)]
            self.html_page(
                f"http://ledgerline.example/list/{i}.html", "list", f"Price list {i}", items, "table", defects=("list",)
            )  # type: ignore[arg-type]
            code = "\n".join(
                f"{'    ' * rng.randrange(3)}x{k} = f(x{rng.randrange(k + 1)}, {rng.randrange(99)}); // {{{k}}}"
                for k in range(60)
            )
            self.html_page(
                f"http://hobbynotes.example/code/{i}.html",
                "code",
                f"Listing {i}",
                [("pre", code)],
                "blog",
                defects=("code_dump",),
            )
            self.html_page(
                f"http://hobbynotes.example/thin/{i}.html",
                "thin",
                f"Soon {i}",
                [("p", "Coming soon.")],
                "blog",
                defects=("thin",),
            )
        for i in range(self.count(3)):
            self.add(
                Page(
                    f"http://hobbynotes.example/empty/{i}.html",
                    "empty",
                    b"",
                    headers={"Content-Type": "text/html"},
                    verdict="empty_body",
                    defects=("empty_body",),
                )
            )

    def personal_data(self) -> None:
        for i in range(self.count(40)):
            rng = self.rng("pii", i)
            person = rng.choice(self.world.people[:160])
            name = person.name.lower().replace(" ", ".")
            planted = {
                "email": f"Write to {name}@{rng.choice(['mailhouse', 'postbox'])}.example for more.",
                "phone": f"The telephone number is +1 212 {rng.randrange(200, 999)} {rng.randrange(1000, 9999)}.",
                "ip_address": f"The server answered from 93.184.{rng.randrange(1, 254)}.{rng.randrange(1, 254)} that night.",
                "ssn": f"On the form stood the social security number {rng.randrange(100, 665)}-{rng.randrange(10, 99)}-{rng.randrange(1000, 9999)}.",
                "credit_card": f"The receipt shows the card {luhn_number(rng)}.",
                "iban": f"Please pay to the account {iban(rng)}.",
            }
            kinds = rng.sample(sorted(planted), 2)
            blocks = self.article_blocks(rng, [person, *rng.sample(self.world.towns, 3)])
            for kind in kinds:
                blocks.insert(rng.randrange(len(blocks)), ("p", f"{prose.filler(rng)} {planted[kind]}"))
            # What looks like personal data and is none.
            traps = [
                f"Version 4.{rng.randrange(20)}.{rng.randrange(20)}.{rng.randrange(200)} of the catalogue came out on 2019-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}.",
                f"The book bears the number ISBN 978-0-306-{rng.randrange(40000, 49999)}-7 and costs 12.50 a copy.",
                f"In the cellar the router answers at 192.168.{rng.randrange(256)}.{rng.randrange(1, 255)}, and nowhere else.",
                f"Reference 2026-{rng.randrange(100, 999)}-{rng.randrange(10, 99)} was stamped at 10:{rng.randrange(10, 60)} on 12/11/2019.",
                f"The meter stood at {rng.randrange(10**9, 10**10)} that winter.",
            ]
            blocks.insert(rng.randrange(len(blocks)), ("p", rng.choice(traps)))
            self.html_page(
                f"http://contactpages.example/person/{i:03d}.html",
                "personal_data",
                f"How to reach {person.name}",
                blocks,
                "wiki",
                defects=("personal_data",),
                pii=dict.fromkeys(kinds, 1),
                entities=(person.name,),
            )

    # -- HTTP -------------------------------------------------------------------------------------------------------

    def http_cases(self) -> None:
        for i in range(self.count(30)):
            target = f"/article/{i:04d}.html"
            self.add(
                Page(
                    f"http://meridianpost.example/old/{i}.html",
                    "redirect",
                    b"",
                    301 if i % 2 else 302,
                    {"Location": target, "Content-Type": "text/html"},
                    verdict="status",
                    defects=("redirect",),
                )
            )
            self.add(
                Page(
                    f"http://meridianpost.example/lost/{i}.html",
                    "not_found",
                    b"<html><body><h1>Not found</h1><p>This page does not exist.</p></body></html>",
                    404,
                    {"Content-Type": "text/html"},
                    verdict="status",
                    defects=("not_found",),
                )
            )
        for i in range(self.count(4)):
            self.add(
                Page(
                    f"http://ledgerline.example/gone/{i}.html",
                    "gone",
                    b"<h1>Gone</h1>",
                    410,
                    {"Content-Type": "text/html"},
                    verdict="status",
                    defects=("gone",),
                )
            )
        for i in range(self.count(20)):
            self.html_page(
                f"http://hobbynotes.example/private/{i}.html",
                "robots_disallowed",
                f"Private {i}",
                [("p", "Not for robots.")],
                "blog",
                verdict="robots",
                defects=("robots_disallowed",),
                in_crawl=False,
            )
        others = [
            ("/logo.png", "image/png", b"\x89PNG\r\n\x1a\n" + bytes(64)),
            ("/style.css", "text/css", b"body { color: black }"),
            ("/notes.txt", "text/plain", b"A plain text file."),
            ("/paper.pdf", "application/pdf", b"%PDF-1.4\n%%EOF"),
            ("/data.json", "application/json", b"{}"),
        ]
        for host in sorted(ENGLISH)[:4]:
            for path, mime, body in others:
                # The crawler does not follow links to pictures, style sheets and PDF files.
                stored = path.endswith((".txt", ".json"))
                self.add(
                    Page(
                        f"http://{host}/files{path}",
                        "other_type",
                        body,
                        headers={"Content-Type": mime},
                        verdict="mime",
                        defects=("other_type",),
                        in_crawl=stored,
                    )
                )
        self.html_page(
            "http://ledgerline.example/huge.html",
            "huge",
            "A huge page",
            [("p", "All work and no play makes a long page. " * 40_000)],
            "plain",
            verdict="too_large",
            defects=("huge",),
            in_crawl=False,
        )
        self.html_page(
            "http://ledgerline.example/deep.html",
            "deep",
            "A deep page",
            [("p", "At the bottom of it all lies one sentence about a cellar.")],
            "plain",
            defects=("deep_nesting",),
        )
        deep = self.pages["http://ledgerline.example/deep.html"]
        deep.body = deep.body.replace(b"<p>At", b"<div>" * 5_000 + b"<p>At")
        nul = self.html_page(
            "http://ledgerline.example/nul.html",
            "article",
            "Null bytes",
            [
                ("p", prose.portrait(self.rng("nul"), self.world.towns[0], 4)),
                ("p", prose.portrait(self.rng("nul2"), self.world.towns[1], 4)),
            ],
            "plain",
            defects=("null_bytes",),
        )
        nul.body = nul.body.replace(b"<p>", b"\x00\x00<p>", 1)

    def held_out(self) -> None:
        people = [e for e in self.world.people if e.reach == "held_out"]
        for i, person in enumerate(people * 2):
            rng = self.rng("held", i)
            blocks = self.article_blocks(rng, [person, person])
            url, title = f"http://{HELD_OUT_SITE}/person/{i:03d}.html", f"The papers of {person.name}"
            self.html_page(url, "held_out", title, blocks, "wiki", entities=(person.name,), defects=("held_out",))

    # -- links ------------------------------------------------------------------------------------------------------

    def indexes(self) -> None:
        """A front page a host, in steps of 60 links, so that the crawler reaches everything; and a portal."""
        hosts = sorted(self.linked)
        for host in hosts:
            urls = self.linked[host]
            steps = [urls[i : i + 60] for i in range(0, len(urls), 60)]
            for number, links in enumerate(steps):
                name = "index.html" if number == 0 else f"index-{number}.html"
                items = "".join(
                    f'<li><a href="{u}">{self.pages[u].title or u.rsplit("/", 1)[-1]}</a></li>' for u in links
                )
                following = f'<a href="/index-{number + 1}.html">next</a>' if number + 1 < len(steps) else ""
                html = f"<!DOCTYPE html><html><head><meta charset=utf-8><title>{host}</title></head><body><h1>{host}</h1><ul>{items}</ul>{following}</body></html>"
                self.pages[f"http://{host}/{name}"] = Page(
                    f"http://{host}/{name}",
                    "index",
                    html.encode(),
                    headers={"Content-Type": "text/html; charset=utf-8"},
                    language="en",
                    encoding="utf-8",
                    verdict=BLOCKED.get(host.removeprefix("www."), "keep"),
                )
        papers = "".join(f'<li><a href="{u}">{p.title}</a></li>' for u, p in self.pages.items() if p.kind == "held_out")
        html = f"<!DOCTYPE html><html><head><title>{HELD_OUT_SITE}</title></head><body><ul>{papers}</ul></body></html>"
        headers = {"Content-Type": "text/html; charset=utf-8"}
        self.pages[ARCHIVE] = Page(
            ARCHIVE, "index", html.encode(), headers=headers, language="en", encoding="utf-8", defects=("held_out",)
        )
        items = "".join(f'<li><a href="http://{host}/index.html">{host}</a></li>' for host in hosts)
        self.pages[f"http://{PORTAL}/"] = Page(
            f"http://{PORTAL}/",
            "index",
            f"<!DOCTYPE html><html><head><title>Web ring</title></head><body><ul>{items}</ul></body></html>".encode(),
            headers={"Content-Type": "text/html; charset=utf-8"},
            language="en",
            encoding="utf-8",
        )

    def finish(self) -> Web:
        if self.day == 2:
            self._mark_changed(make_web(self.seed, self.scale).pages)
        for page in self.pages.values():
            if page.status == 200:
                page.headers["ETag"] = f'"{hashlib.sha256(page.body).hexdigest()[:16]}"'
                page.headers["Last-Modified"] = (
                    "Mon, 28 Sep 2026 06:00:00 GMT"
                    if "changed" not in page.defects and "new_on_day_2" not in page.defects
                    else "Sat, 10 Oct 2026 06:00:00 GMT"
                )
        robots = {"hobbynotes.example": "User-agent: *\nDisallow: /private/\n"}
        told: dict[str, int] = {}
        for page in self.pages.values():
            for name in set(page.entities):
                told[name] = told.get(name, 0) + 1
        facts = [
            (fact, entity.reach, told.get(entity.name, 0))
            for entity in self.world.entities
            for fact in entity.as_facts()
        ]
        return Web(self.world, self.pages, robots, (f"http://{PORTAL}/", ARCHIVE), facts, CLOCKS[self.day])

    def _mark_changed(self, before: dict[str, Page]) -> None:
        """Pages that say something else than on day 1: those with an update, and those that tell a changed fact."""
        for url, page in self.pages.items():
            if url in before and page.text != before[url].text and "changed" not in page.defects:
                page.defects = tuple(sorted((*page.defects, "changed")))


def break_html(rng: random.Random, body: bytes) -> bytes:
    """Damage as found in the wild: a stray end tag, an unclosed attribute-less element, a bare ampersand, wrong nesting."""
    broken = body.replace(b"<p>", b"</i></span><p><b>", 1).replace(b"</body></html>", b"", 1)
    return broken.replace(b"</article>", b"</section>", 1) if rng.random() < 0.5 else broken


def luhn_number(rng: random.Random) -> str:
    """A 16-digit number that passes the Luhn check (ISO/IEC 7812-1), from the range of test cards."""
    digits = [4, *(rng.randrange(10) for _ in range(14))]
    total = sum(d if i % 2 else (d * 2 - 9 if d * 2 > 9 else d * 2) for i, d in enumerate(digits))
    digits.append((10 - total % 10) % 10)
    text = "".join(map(str, digits))
    return " ".join(text[i : i + 4] for i in range(0, 16, 4))


def iban(rng: random.Random) -> str:
    """A German IBAN whose check digits are right (ISO 13616: remainder 1 modulo 97)."""
    account = "".join(str(rng.randrange(10)) for _ in range(18))
    check = 98 - int(f"{account}131400") % 97
    return f"DE{check:02d}{account}"


@lru_cache(maxsize=4)
def make_web(seed: int = 1, scale: float = 1.0, day: int = 1) -> Web:
    """The whole web. About two seconds at scale 1."""
    builder = _Builder(seed, scale, day)
    builder.english()
    builder.foreign()
    builder.duplicates()
    builder.blocked()
    builder.poor()
    builder.personal_data()
    builder.http_cases()
    builder.held_out()
    builder.indexes()
    return builder.finish()


LANGUAGES = ("en", *TEXTS)
