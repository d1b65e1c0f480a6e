"""Page templates of the sample web: the same content inside six kinds of boilerplate."""

from __future__ import annotations

import random
from html import escape

Block = tuple[str, str]  # (p, h2, li, pre), text

_NAV = ["Home", "About us", "Archive", "Topics", "Newsletter", "Contact", "Shop", "Events", "Map", "Members"]
_COOKIE = (
    "We use cookies to make this site work. By going on you agree to our privacy notice. Accept all Reject all Settings"
)
_FOOT = ["Imprint", "Privacy", "Terms of use", "Accessibility", "Jobs", "Press", "RSS"]
_COMMENTS = [
    "Thanks for this, I had been looking for it.",
    "First!",
    "My grandmother told this quite differently.",
    "Please fix the second picture.",
    "Could somebody post the recipe?",
    "I was there too, great day.",
    "Does anyone know the opening hours?",
]
_NAMES = ["rosebud77", "T. Miller", "anon", "night_owl", "Karin P.", "oldtimer"]


def body_html(blocks: list[Block], close: bool = True) -> str:
    """The blocks as HTML; without end tags for ``<p>`` and ``<li>`` when `close` is false (which HTML allows)."""
    out, items = [], False
    for kind, text in blocks:
        if items and kind != "li":
            out.append("</ul>")
            items = False
        if kind == "li":
            out.append(f"{'' if items else '<ul>'}<li>{escape(text)}{'</li>' if close else ''}")
            items = True
        elif kind == "pre":
            out.append(f"<pre><code>{escape(text)}</code></pre>")
        else:
            out.append(f"<{kind}>{escape(text)}{f'</{kind}>' if close or kind != 'p' else ''}")
    if items:
        out.append("</ul>")
    return "\n".join(out)


def main_text(blocks: list[Block]) -> str:
    """What an extractor should give."""
    return "\n".join(text for _, text in blocks)


def links_html(links: list[tuple[str, str]], joint: str = "") -> str:
    return joint.join(f'<li><a href="{escape(url)}">{escape(text)}</a></li>' for url, text in links)


def nav(rng: random.Random, site: str) -> str:
    return "".join(
        f'<li><a href="/{escape(name.lower().replace(" ", "-"))}.html" rel="nofollow">{name}</a></li>'
        for name in rng.sample(_NAV, 6)
    )


def render(
    template: str,
    rng: random.Random,
    site: str,
    language: str,
    charset_meta: str | None,
    title: str,
    blocks: list[Block],
    related: list[tuple[str, str]],
    closed: bool = True,
) -> str:
    """One page of the given template. `related` are (URL, text) links to further pages."""
    meta = f'<meta charset="{charset_meta}">' if charset_meta else ""
    head = f'<!DOCTYPE html>\n<html lang="{language}"><head>{meta}<title>{escape(title)} | {escape(site)}</title><meta name="viewport" content="width=device-width"><script>var page = "<p>not text</p>"; function track(a) {{ return a && a < 3; }}</script><style>body {{ margin: 0 }}</style></head>'
    menu = nav(rng, site)
    more = links_html(related)
    foot = " ".join(f'<a href="/{name.lower().replace(" ", "-")}.html" rel="nofollow">{name}</a>' for name in _FOOT)
    content = body_html(blocks, closed)
    comments = "".join(
        f'<div class="comment"><span class="comment-author">{rng.choice(_NAMES)}</span><p>{rng.choice(_COMMENTS)}</p><a class="reply" href="#" rel="nofollow">Reply</a></div>'
        for _ in range(rng.randrange(2, 5))
    )
    share = '<div class="share-buttons"><a href="#" rel="nofollow">Tweet</a> <a href="#" rel="nofollow">Share</a> <a href="#" rel="nofollow">Mail</a></div>'
    if template == "news":
        return f'{head}<body><div id="cookie-banner" class="cookie-consent">{_COOKIE}</div><header><div class="logo">{site}</div><nav><ul>{menu}</ul></nav></header><main><article><h1>{escape(title)}</h1><div class="byline">By the editors</div>{share}<div class="article-body">{content}</div></article><aside class="related"><h3>Read more</h3><ul>{more}</ul></aside></main><footer><p>© {site}. All rights reserved.</p>{foot}</footer></body></html>'
    if template == "blog":
        return f'{head}<body class="single"><div id="page"><div id="header"><h1 class="site-title">{site}</h1><ul class="menu">{menu}</ul></div><div id="content"><div class="post"><h2 class="entry-title">{escape(title)}</h2><div class="entry-content">{content}</div><div class="post-tags">Tags: <a href="#" rel="nofollow">notes</a>, <a href="#" rel="nofollow">people</a></div></div><div id="comments"><h3>Comments</h3>{comments}</div></div><div id="sidebar"><div class="widget"><h3>Recent posts</h3><ul>{more}</ul></div><div class="widget"><h3>Subscribe</h3><p>Get new posts by mail. No spam, ever.</p></div></div><div id="footer">{foot} Powered by pencil and paper.</div></div></body></html>'
    if template == "table":
        return f'{head}<body bgcolor="#ffffff"><table width="100%"><tr><td colspan="2"><b>{site}</b></td></tr><tr><td valign="top" width="150"><ul>{menu}</ul><hr><font size="1">Links</font><ul>{more}</ul></td><td valign="top"><font size="5"><b>{escape(title)}</b></font>{content}</td></tr><tr><td colspan="2" align="center"><font size="1">{foot}</font></td></tr></table></body></html>'
    if template == "wiki":
        return f'{head}<body><div id="mw-page-base"></div><div id="content" role="main"><h1 id="firstHeading">{escape(title)}</h1><div id="toc" class="toc"><h2>Contents</h2><ul><li><a href="#a">1 Life</a></li><li><a href="#b">2 Work</a></li></ul></div><div id="bodyContent">{content}</div><div id="catlinks">Categories: <a href="#" rel="nofollow">People</a> | <a href="#" rel="nofollow">Places</a></div></div><div id="mw-navigation" role="navigation"><ul>{menu}</ul><h3>See also</h3><ul>{more}</ul></div><div id="footer" role="contentinfo">This page was last edited in autumn. {foot}</div></body></html>'
    if template == "forum":
        return f'{head}<body><div class="topbar"><a href="/login.html" rel="nofollow">Log in</a> <a href="/register.html" rel="nofollow">Register</a></div><div class="breadcrumb"><a href="/index.html">{site}</a> » Questions</div><div class="thread"><h1>{escape(title)}</h1><div class="post-content">{content}</div></div><div class="sidebar-box"><h4>Similar threads</h4><ul>{more}</ul></div><div class="footer">{foot}</div></body></html>'
    return f'{head}<body><div class="nav">{menu}</div><h1>{escape(title)}</h1>{content}<hr><div class="links">{more}</div><p class="copyright">© {site}</p></body></html>'


TEMPLATES = ["news", "blog", "table", "wiki", "forum", "plain"]
