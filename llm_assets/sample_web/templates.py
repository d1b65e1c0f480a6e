"""Page templates of the sample web: the same content inside six kinds of boilerplate."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

Block = tuple[str, str]  # (element: p, h2, li or pre; text)

NAVIGATION = ["Home", "About us", "Archive", "Topics", "Newsletter", "Contact", "Shop", "Events", "Map", "Members"]
NAVIGATION_LINKS = 6
COOKIE_NOTICE = (
    "We use cookies to make this site work. By going on you agree to our privacy notice. Accept all Reject all Settings"
)
FOOTER = ["Imprint", "Privacy", "Terms of use", "Accessibility", "Jobs", "Press", "RSS"]
COMMENTS = [
    "Thanks for this, I had been looking for it.",
    "First!",
    "My grandmother told this quite differently.",
    "Please fix the second picture.",
    "Could somebody post the recipe?",
    "I was there too, great day.",
    "Does anyone know the opening hours?",
]
COMMENT_AUTHORS = ["rosebud77", "T. Miller", "anon", "night_owl", "Karin P.", "oldtimer"]


@dataclass(frozen=True)
class Content:
    """What a template is filled with.

    charset: of the meta element; None for a page without one. related: (URL, text) links to further pages. close_tags:
    False omits the end tags of ``<p>`` and ``<li>``, which HTML allows.
    """

    site: str
    language: str
    charset: str | None
    title: str
    blocks: list[Block]
    related: list[tuple[str, str]]
    close_tags: bool = True


@dataclass(frozen=True)
class _Parts:
    """The pieces of one page as HTML."""

    site: str
    head: str
    menu: str
    title: str
    content: str
    comments: str
    related: str
    footer: str


def body_html(blocks: list[Block], close_tags: bool = True) -> str:
    """The blocks as HTML."""
    lines, in_list = [], False
    for element, text in blocks:
        if in_list and element != "li":
            lines.append("</ul>")
            in_list = False
        if element == "li":
            lines.append(f"{'' if in_list else '<ul>'}<li>{escape(text)}{'</li>' if close_tags else ''}")
            in_list = True
        elif element == "pre":
            lines.append(f"<pre><code>{escape(text)}</code></pre>")
        else:
            end_tag = f"</{element}>" if close_tags or element != "p" else ""
            lines.append(f"<{element}>{escape(text)}{end_tag}")
    if in_list:
        lines.append("</ul>")
    return "\n".join(lines)


def main_text(blocks: list[Block]) -> str:
    """The text that an extractor should find."""
    return "\n".join(text for _, text in blocks)


def links_html(links: list[tuple[str, str]]) -> str:
    return "".join(f'<li><a href="{escape(url)}">{escape(text)}</a></li>' for url, text in links)


def _menu_html(rng: random.Random) -> str:
    return "".join(
        f'<li><a href="/{escape(name.lower().replace(" ", "-"))}.html" rel="nofollow">{name}</a></li>'
        for name in rng.sample(NAVIGATION, NAVIGATION_LINKS)
    )


def _footer_html() -> str:
    return " ".join(f'<a href="/{name.lower().replace(" ", "-")}.html" rel="nofollow">{name}</a>' for name in FOOTER)


def _comments_html(rng: random.Random) -> str:
    return "".join(
        f'<div class="comment"><span class="comment-author">{rng.choice(COMMENT_AUTHORS)}</span>'
        f'<p>{rng.choice(COMMENTS)}</p><a class="reply" href="#" rel="nofollow">Reply</a></div>'
        for _ in range(rng.randrange(2, 5))
    )


def _head_html(content: Content) -> str:
    meta = f'<meta charset="{content.charset}">' if content.charset else ""
    return (
        f'<!DOCTYPE html>\n<html lang="{content.language}"><head>{meta}'
        f"<title>{escape(content.title)} | {escape(content.site)}</title>"
        '<meta name="viewport" content="width=device-width">'
        '<script>var page = "<p>not text</p>"; function track(a) { return a && a < 3; }</script>'
        "<style>body { margin: 0 }</style></head>"
    )


def _news(page: _Parts) -> str:
    share = (
        '<div class="share-buttons"><a href="#" rel="nofollow">Tweet</a> <a href="#" rel="nofollow">Share</a> '
        '<a href="#" rel="nofollow">Mail</a></div>'
    )
    return (
        f'{page.head}<body><div id="cookie-banner" class="cookie-consent">{COOKIE_NOTICE}</div>'
        f'<header><div class="logo">{page.site}</div><nav><ul>{page.menu}</ul></nav></header>'
        f'<main><article><h1>{page.title}</h1><div class="byline">By the editors</div>{share}'
        f'<div class="article-body">{page.content}</div></article>'
        f'<aside class="related"><h3>Read more</h3><ul>{page.related}</ul></aside></main>'
        f"<footer><p>© {page.site}. All rights reserved.</p>{page.footer}</footer></body></html>"
    )


def _blog(page: _Parts) -> str:
    return (
        f'{page.head}<body class="single"><div id="page">'
        f'<div id="header"><h1 class="site-title">{page.site}</h1><ul class="menu">{page.menu}</ul></div>'
        f'<div id="content"><div class="post"><h2 class="entry-title">{page.title}</h2>'
        f'<div class="entry-content">{page.content}</div>'
        '<div class="post-tags">Tags: <a href="#" rel="nofollow">notes</a>, <a href="#" rel="nofollow">people</a>'
        f'</div></div><div id="comments"><h3>Comments</h3>{page.comments}</div></div>'
        f'<div id="sidebar"><div class="widget"><h3>Recent posts</h3><ul>{page.related}</ul></div>'
        '<div class="widget"><h3>Subscribe</h3><p>Get new posts by mail. No spam, ever.</p></div></div>'
        f'<div id="footer">{page.footer} Powered by pencil and paper.</div></div></body></html>'
    )


def _table(page: _Parts) -> str:
    return (
        f'{page.head}<body bgcolor="#ffffff"><table width="100%"><tr><td colspan="2"><b>{page.site}</b></td></tr>'
        f'<tr><td valign="top" width="150"><ul>{page.menu}</ul><hr><font size="1">Links</font>'
        f'<ul>{page.related}</ul></td><td valign="top"><font size="5"><b>{page.title}</b></font>{page.content}</td>'
        f'</tr><tr><td colspan="2" align="center"><font size="1">{page.footer}</font></td></tr></table></body></html>'
    )


def _wiki(page: _Parts) -> str:
    return (
        f'{page.head}<body><div id="mw-page-base"></div><div id="content" role="main">'
        f'<h1 id="firstHeading">{page.title}</h1><div id="toc" class="toc"><h2>Contents</h2>'
        '<ul><li><a href="#a">1 Life</a></li><li><a href="#b">2 Work</a></li></ul></div>'
        f'<div id="bodyContent">{page.content}</div><div id="catlinks">Categories: '
        '<a href="#" rel="nofollow">People</a> | <a href="#" rel="nofollow">Places</a></div></div>'
        f'<div id="mw-navigation" role="navigation"><ul>{page.menu}</ul><h3>See also</h3><ul>{page.related}</ul></div>'
        '<div id="footer" role="contentinfo">This page was last edited in autumn. '
        f"{page.footer}</div></body></html>"
    )


def _forum(page: _Parts) -> str:
    return (
        f'{page.head}<body><div class="topbar"><a href="/login.html" rel="nofollow">Log in</a> '
        '<a href="/register.html" rel="nofollow">Register</a></div>'
        f'<div class="breadcrumb"><a href="/index.html">{page.site}</a> » Questions</div>'
        f'<div class="thread"><h1>{page.title}</h1><div class="post-content">{page.content}</div></div>'
        f'<div class="sidebar-box"><h4>Similar threads</h4><ul>{page.related}</ul></div>'
        f'<div class="footer">{page.footer}</div></body></html>'
    )


def _plain(page: _Parts) -> str:
    return (
        f'{page.head}<body><div class="nav">{page.menu}</div><h1>{page.title}</h1>{page.content}<hr>'
        f'<div class="links">{page.related}</div><p class="copyright">© {page.site}</p></body></html>'
    )


_RENDERERS: dict[str, Callable[[_Parts], str]] = {
    "news": _news,
    "blog": _blog,
    "table": _table,
    "wiki": _wiki,
    "forum": _forum,
    "plain": _plain,
}
TEMPLATES = list(_RENDERERS)


def render(template: str, content: Content, rng: random.Random) -> str:
    """One page in one of TEMPLATES, as HTML. Every template draws the same numbers from the random generator."""
    menu = _menu_html(rng)
    comments = _comments_html(rng)
    parts = _Parts(
        site=content.site,
        head=_head_html(content),
        menu=menu,
        title=escape(content.title),
        content=body_html(content.blocks, content.close_tags),
        comments=comments,
        related=links_html(content.related),
        footer=_footer_html(),
    )
    return _RENDERERS[template](parts)
