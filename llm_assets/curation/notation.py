"""Formulas, superscripts and subscripts in a line of text.

A formula is its TeX source where the page has it (KaTeX, MathJax, MediaWiki, LaTeXML), without delimiters, and MathML
written in one line where it has not. An exponent is parted from its base, since 10 to the 6th is not 106. Marks of
notes are left out. Ordinals (1st), abbreviations and chemical formulas (CO2) are written as they are read.
"""

from __future__ import annotations

import re
from html import escape, unescape

# Bytes that `markup.py` writes: a mark, the kind of what follows, and its end.
MARK, MARK_END = 2, 3
FORMULA, TEX, SUPERSCRIPT, SUBSCRIPT, NOTE_MARK = b"$=^_n"
_FORMULA = re.compile("\x02([$=])([^\x02\x03]*)\x03")
_SCRIPT = re.compile("\x02([\\^_n])([^\x02\x03]*)\x03")
_STRAY = re.compile("\x02[$=^_n]|\x03")
_MAX_NESTING = 4  # of superscripts in superscripts
_CONTEXT = 16  # characters before and after a superscript that decide what it is
_MAX_NOTE, _MAX_SCRIPT = 6, 16  # characters; a longer superscript is text in small letters
_SIGNED = re.compile(r"[-+−–±]?\w+(?:[.,]\d+)?[-+−–]?")
# Superscripts of ordinals and abbreviations in English, French, Spanish, Portuguese, Italian, Catalan, Dutch.
_ABBREVIATED = frozenset(
    "st nd rd th er ers re res ère ème eme es de des os as mo ma me mes lle lles gr to te tm sm mr mrs dr ns sn".split()
)
_ORDINAL_LETTERS = frozenset("eoadrèªº")  # after a digit; after a capital, `_TITLE_LETTERS`
_TITLE_LETTERS = frozenset("reotas")
_TRADEMARKS = {"tm": "™", "sm": "℠"}
# Cents above the line: $19⁹⁹, 19⁹⁹ €.
_PRICE_BEFORE = re.compile(r"[$€£¥]\s?\d{1,3}(?:[.,]?\d{3})*$")
_CURRENCY_AFTER = re.compile(r"(?:\s|&nbsp;)*[€$£¥]")
_CENTS = re.compile(r"\d\d")
_TEN = re.compile(r"(?<![\d.,])10$")  # $10^12 is a power
_DENOMINATOR = re.compile("[/⁄]\x02_\\d")  # after a numerator, as in 3¹/₂

# An attribute's value may hold "<" and any text. These are possessive and never begin inside a run or a tag that they
# have passed, so that the time is linear in the formula.
_ANNOTATION = re.compile(r"<annotation\b([^>]*+)(?:>|\Z)", re.IGNORECASE)
_TEX_ENCODING = re.compile(r'\bencoding="(?=[^"]*?tex)', re.IGNORECASE)
_ANNOTATION_END = re.compile("</annotation", re.IGNORECASE)
_MATH = re.compile(r"<math\b[^>]*+")
_SOURCE = re.compile(r"<script([^>]*)>(.*?)(?:</script|$)", re.IGNORECASE | re.DOTALL)
_CDATA = re.compile(r"(?:%|(?<![%\s]))\s*+(?:<!\[CDATA\[|\]\]>)")
_STYLE = re.compile(r"\{?\\(?:display|text)style(?![a-zA-Z])\s*")
_MATHML = re.compile(r"<(/?+)([\w:-]++)([^<>]*+)>|([^<>]++)")
_INVISIBLE = str.maketrans("", "", "\u2061\u2062\u2063\u2064\u200b")
_ROWS = frozenset(["math", "mrow", "mstyle", "mtd", "msqrt", "mpadded", "menclose"])
_TIGHT = re.compile(r"([(\[{])\s++|(?<!\s)\s++([)\]},;.!])")
_FENCE = re.compile(r'\b(open|close)="([^"]*)"')


def write_out(text: str) -> str:
    """A block's text, still with references, with its marks written out."""
    text = _FORMULA.sub(lambda match: _write_formula(match[1], match[2]), text)
    for _ in range(_MAX_NESTING):
        if "\x02" not in text:
            break
        text = _SCRIPT.sub(_write_script, text)
    return _STRAY.sub("", text)


def _write_formula(kind: str, source: str) -> str:
    return escape(_clean_tex(unescape(source)) if kind == "=" else formula(source), quote=False)


def formula(markup: str) -> str:
    """The source of a formula: of a `math` element, or of MathJax's `script`."""
    script = _SOURCE.match(markup)
    if script and "mml" not in script[1]:
        return _clean_tex(_CDATA.sub("", script[2]))
    annotation = _tex_annotation(markup)
    if annotation is not None:
        return _clean_tex(unescape(annotation))
    alternative = _alternative(markup)
    if alternative.strip():
        return _clean_tex(unescape(alternative))
    return " ".join(_write_mathml(script[2] if script else markup).split())


def _tex_annotation(markup: str) -> str | None:
    """The content of the first annotation in TeX."""
    for tag in _ANNOTATION.finditer(markup):
        if _TEX_ENCODING.search(tag[1]):
            end = _ANNOTATION_END.search(markup, tag.end())
            return markup[tag.end() : end.start()] if end else None
    return None


def _alternative(markup: str) -> str:
    """The attribute alttext of the first `math` element that has one."""
    for tag in _MATH.finditer(markup):
        name = markup.rfind(' alttext="', tag.start(), tag.end())
        if name >= 0:
            return markup[name:].split('"', 2)[1]
    return ""


def _clean_tex(source: str) -> str:
    """TeX in one line, without delimiters and without MediaWiki's ``{\\displaystyle …}``."""
    source = " ".join(source.split())
    for opening, closing in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        if len(source) > 2 * len(opening) and source.startswith(opening) and source.endswith(closing):
            source = source[len(opening) : -len(closing)]
            break
    style = _STYLE.match(source)
    if style:
        source = source[style.end() :].removesuffix("}" if style[0].startswith("{") else "")
    return source.strip()


def _write_mathml(markup: str) -> str:
    """MathML in one line: a/b, x^2, x_i, √(x)."""
    elements: list[tuple[str, str, list[str]]] = [("", "", [])]
    for closes, name, attributes, text in _MATHML.findall(markup):
        if text:
            if text.strip():
                elements[-1][2].append(unescape(text).translate(_INVISIBLE).strip())
        elif not closes:
            elements.append((name.rpartition(":")[2].lower(), attributes, []))
        elif len(elements) > 1:
            element = elements.pop()
            elements[-1][2].append(_write_element(*element))
    while len(elements) > 1:
        element = elements.pop()
        elements[-1][2].append(_write_element(*element))
    return _join(elements[0][2])


def _write_element(name: str, attributes: str, parts: list[str]) -> str:
    pieces = [part for part in parts if part] if name in _ROWS else parts
    if name in ("mfrac", "msup", "msub", "mover", "munder", "mroot") and len(pieces) == 2:
        base, other = map(_group, pieces)
        if name == "mroot":
            return f"√[{pieces[1]}]{base}"
        return base + {"mfrac": "/", "msup": "^", "mover": "^"}.get(name, "_") + other
    if name in ("msubsup", "munderover") and len(pieces) == 3:
        return f"{_group(pieces[0])}_{_group(pieces[1])}^{_group(pieces[2])}"
    if name == "msqrt":
        return f"√{_group(_join(pieces))}"
    if name == "mfenced":
        fences = dict(_FENCE.findall(attributes))
        return f"{fences.get('open', '(')}{', '.join(pieces)}{fences.get('close', ')')}"
    if name in ("mtable", "mtr"):
        return ("; " if name == "mtable" else ", ").join(pieces)
    if name in ("annotation", "annotation-xml", "mphantom"):
        return ""
    if name == "semantics":
        return pieces[0] if pieces else ""
    return _join(pieces)


def _join(pieces: list[str]) -> str:
    """Tokens with spaces between, but not within brackets or before punctuation."""
    return _TIGHT.sub(lambda match: match[1] or match[2], " ".join(pieces))


def _group(part: str) -> str:
    return (
        part
        if len(part) <= 1 or part.isalnum() or (part[0] == "(" and part.find(")") == len(part) - 1)
        else f"({part})"
    )


def _write_script(match: re.Match[str]) -> str:
    """A superscript or subscript after its base."""
    kind, content = match[1], " ".join(unescape(match[2]).split())
    before, after = match.string[: match.start()].rstrip("\x03")[-_CONTEXT:], match.string[match.end() :][:_CONTEXT]
    base = before[-1:]
    if content.startswith(("[", "(")):
        return match[2]  # brackets part it from the word
    if kind == "n":
        return "" if len(content) <= _MAX_NOTE else f" {escape(content, quote=False)}"
    if (
        not content
        or not base
        or base.isspace()
        or len(content) > _MAX_SCRIPT
        or (" " in content and content[0].isalpha())
    ):
        return match[2]
    if kind == "^" and base.isdigit() and content.isdigit() and _DENOMINATOR.match(after):
        return f" {content}"
    if kind == "^" and base.isdigit() and _CENTS.fullmatch(content) and not _TEN.search(before):
        if _PRICE_BEFORE.search(before):
            return f".{content}"
        if _CURRENCY_AFTER.match(after):
            return f",{content}"
    written = _subscript(before, content) if kind == "_" else _superscript(before, content)
    if written[:1] in ("^", "_") and written[-1].isdigit() and after[:1].isdigit():
        written = f"{written[0]}({written[1:]})"  # 2^(3)5 is not 2^35
    return escape(written, quote=False)


def _superscript(before: str, content: str) -> str:
    base, lower = before[-1], content.rstrip(".").lower()
    if lower in _TRADEMARKS and base.isalnum() and len(before) > 1:
        return _TRADEMARKS[lower]
    if content.isalpha():
        if len(lower) > 1 and (lower in _ABBREVIATED or (before[-2:].isalpha() and len(before) > 1)):
            return content if lower in _ABBREVIATED else f" {content}"
        if (
            len(lower) == 1
            and content.islower()
            and (
                (base.isdigit() and lower in _ORDINAL_LETTERS)
                or (base.isupper() and lower in _TITLE_LETTERS)
                or (base in "nN" and lower in "oº")
            )
        ):
            return content
    if not any(character.isalnum() for character in content):
        return content  # an asterisk, a degree sign, a prime
    if base in ".,;:!?”»\"'" and content.replace(",", "").isdigit():
        return ""  # a note
    if not (base.isalnum() or base in ")]}|"):
        return content
    return f"^{content}" if _SIGNED.fullmatch(content) else f"^({content})"


def _subscript(before: str, content: str) -> str:
    base = before[-1]
    is_formula = base.isupper() or base in ")]" or (base.islower() and before[-2:-1].isupper())
    if content[0].isdigit() and is_formula and content.isalnum():
        return content  # CO2
    if not base.isalnum() and base not in ")]":
        return content
    return f"_{content}" if _SIGNED.fullmatch(content) else f"_({content})"
