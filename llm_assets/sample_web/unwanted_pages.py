"""Pages that the URL and quality rules should reject, and some that only look like it."""

from __future__ import annotations

from . import prose
from .builder import WebBuilder
from .pages import BLOCKED_HOSTS, HtmlPage, Page
from .templates import Block

BLOCKED_PAGES, POOR_PAGES, EMPTY_PAGES = 8, 20, 3  # at scale 1, of each host or kind
URL_WORDS = [  # path, verdict
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
SPAM_WORDS = ["cheap", "best", "offer", "discount", "buy", "now", "deal", "free", "shipping", "price"]


def add_unwanted_urls(builder: WebBuilder) -> None:
    """Add pages on blocked hosts, and pages with blocked or harmless words in their URLs."""
    for host, category in BLOCKED_HOSTS.items():
        for number in range(builder.count(BLOCKED_PAGES)):
            rng = builder.rng("blocked", host, number)
            subdomain = "www." if number % 3 == 1 else ""
            builder.add_html(
                HtmlPage(
                    f"http://{subdomain}{host}/offer/{number}.html",
                    "blocked_host",
                    f"Offer {number}",
                    [("p", " ".join(prose.fillers(rng, 6)))],
                    "plain",
                    verdict=category,
                    defects=("blocked_host",),
                )
            )
    for number, (path, verdict) in enumerate(URL_WORDS):
        rng = builder.rng("words", number)
        builder.add_html(
            HtmlPage(
                f"http://hobbynotes.example{path}",
                "url_words",
                f"A page called {number}",
                [("p", prose.portrait(rng, town, 3)) for town in rng.sample(builder.world.towns, 3)],
                "blog",
                verdict=verdict,
                defects=("harmless_url_words",) if verdict == "keep" else ("url_words",),
            )
        )


def add_poor_pages(builder: WebBuilder) -> None:
    """Add pages of spam, price lists, code listings, pages with hardly any text, and empty answers."""
    hobby_site, ledger_site = "http://hobbynotes.example", "http://ledgerline.example"
    for number in range(builder.count(POOR_PAGES)):
        rng = builder.rng("spam", number)
        words = rng.sample(SPAM_WORDS, 5)
        spam: list[Block] = [("p", " ".join(rng.choice(words) for _ in range(300)))]
        _add_poor_page(builder, f"{hobby_site}/spam/{number}.html", "Best price", spam, "spam")
        items = [("li", f"{rng.choice(builder.vocabulary)} {rng.randrange(100)}") for _ in range(80)]
        _add_poor_page(builder, f"{ledger_site}/list/{number}.html", f"Price list {number}", items, "list")
        code = "\n".join(
            f"{'    ' * rng.randrange(3)}x{line} = f(x{rng.randrange(line + 1)}, {rng.randrange(99)}); // {{{line}}}"
            for line in range(60)
        )
        _add_poor_page(builder, f"{hobby_site}/code/{number}.html", f"Listing {number}", [("pre", code)], "code")
        thin: list[Block] = [("p", "Coming soon.")]
        _add_poor_page(builder, f"{hobby_site}/thin/{number}.html", f"Soon {number}", thin, "thin")
    for number in range(builder.count(EMPTY_PAGES)):
        builder.add(
            Page(
                f"{hobby_site}/empty/{number}.html",
                "empty",
                b"",
                headers={"Content-Type": "text/html"},
                verdict="empty_body",
                defects=("empty_body",),
            )
        )


def _add_poor_page(builder: WebBuilder, url: str, title: str, blocks: list[Block], kind: str) -> None:
    defect = "code_dump" if kind == "code" else kind
    template = "table" if kind == "list" else "blog"
    builder.add_html(HtmlPage(url, kind, title, blocks, template, defects=(defect,)))
