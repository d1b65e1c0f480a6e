"""Pages with planted personal data, and with numbers that only look like it."""

from __future__ import annotations

import random

from . import prose
from .builder import WebBuilder
from .english import article_blocks
from .pages import HtmlPage
from .world import PEOPLE

PAGES = 40  # at scale 1


def add_personal_data(builder: WebBuilder) -> None:
    for number in range(builder.count(PAGES)):
        rng = builder.rng("pii", number)
        person = rng.choice(builder.world.people[:PEOPLE])
        planted = _planted_sentences(rng, person.name.lower().replace(" ", "."))
        kinds = rng.sample(sorted(planted), 2)
        blocks = article_blocks(rng, [person, *rng.sample(builder.world.towns, 3)])
        for kind in kinds:
            blocks.insert(rng.randrange(len(blocks)), ("p", f"{prose.filler(rng)} {planted[kind]}"))
        lookalikes = _lookalikes(rng)
        blocks.insert(rng.randrange(len(blocks)), ("p", rng.choice(lookalikes)))
        builder.add_html(
            HtmlPage(
                f"http://contactpages.example/person/{number:03d}.html",
                "personal_data",
                f"How to reach {person.name}",
                blocks,
                "wiki",
                defects=("personal_data",),
                pii=dict.fromkeys(kinds, 1),
                entities=(person.name,),
            )
        )


def _planted_sentences(rng: random.Random, address: str) -> dict[str, str]:
    """A sentence with one item of personal data, by type."""
    host = rng.choice(["mailhouse", "postbox"])
    phone = f"+1 212 {rng.randrange(200, 999)} {rng.randrange(1000, 9999)}"
    ip_address = f"93.184.{rng.randrange(1, 254)}.{rng.randrange(1, 254)}"
    ssn = f"{rng.randrange(100, 665)}-{rng.randrange(10, 99)}-{rng.randrange(1000, 9999)}"
    return {
        "email": f"Write to {address}@{host}.example for more.",
        "phone": f"The telephone number is {phone}.",
        "ip_address": f"The server answered from {ip_address} that night.",
        "ssn": f"On the form stood the social security number {ssn}.",
        "credit_card": f"The receipt shows the card {luhn_number(rng)}.",
        "iban": f"Please pay to the account {iban(rng)}.",
    }


def _lookalikes(rng: random.Random) -> list[str]:
    """Sentences with numbers that look like personal data and are none."""
    version = f"4.{rng.randrange(20)}.{rng.randrange(20)}.{rng.randrange(200)}"
    date = f"2019-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}"
    isbn = f"978-0-306-{rng.randrange(40000, 49999)}-7"
    private_address = f"192.168.{rng.randrange(256)}.{rng.randrange(1, 255)}"
    reference = f"2026-{rng.randrange(100, 999)}-{rng.randrange(10, 99)}"
    return [
        f"Version {version} of the catalogue came out on {date}.",
        f"The book bears the number ISBN {isbn} and costs 12.50 a copy.",
        f"In the cellar the router answers at {private_address}, and nowhere else.",
        f"Reference {reference} was stamped at 10:{rng.randrange(10, 60)} on 12/11/2019.",
        f"The meter stood at {rng.randrange(10**9, 10**10)} that winter.",
    ]


def luhn_number(rng: random.Random) -> str:
    """A 16-digit number that passes the Luhn check (ISO/IEC 7812-1), from the range of test cards."""
    digits = [4, *(rng.randrange(10) for _ in range(14))]
    doubled = [digit if index % 2 else sum(divmod(digit * 2, 10)) for index, digit in enumerate(digits)]
    digits.append((10 - sum(doubled) % 10) % 10)
    text = "".join(map(str, digits))
    return " ".join(text[start : start + 4] for start in range(0, 16, 4))


def iban(rng: random.Random) -> str:
    """A German IBAN with valid check digits (ISO 13616: remainder 1 modulo 97)."""
    account = "".join(str(rng.randrange(10)) for _ in range(18))
    check = 98 - int(f"{account}131400") % 97
    return f"DE{check:02d}{account}"
