"""What the attributes of an element say: that it is hidden, raised, part of a page's frame or body, or a formula.

Compiled code reads them as the parser writes them (values in double quotes). One function decides for block elements
and inline elements alike. It reads no style sheets, so an element is hidden only by attributes or by class names that
mean nothing else:

* ``hidden``, except ``hidden="until-found"``, whose text a search in the page finds (HTML standard, 6.1);
* ``display: none`` and ``visibility: hidden`` in ``style``, and the styles for screen readers only that stand there:
  off screen (``left: -9999px``) or clipped to nothing (WebAIM, "Invisible Content Just for Screen Readers");
* class names of CSS frameworks for text that no one sees, such as ``d-none`` (without a breakpoint at which the element
  appears), and for text that only screen readers read, such as ``sr-only``;
* class names of the dialogs of consent managers, which are hidden until a script asks the reader;
* ``aria-hidden="true"``, because what it hides stands elsewhere in the page (WAI-ARIA 1.2). Where that is an inline
  element for screen readers next to it, this one is kept in its place.
"""

from __future__ import annotations

import numpy as np

from llm_assets.compiled import compiled, inlined

from .name_tables import FNV_OFFSET, extended, hash_of, hash_table, in_lower_case, look_up

# What `read_attributes` gives, as flags.
FRAME, BODY, BODY_EXACT, HIDDEN, ARIA_HIDDEN, FOR_SCREEN_READERS = 1, 2, 4, 8, 16, 32
RENDERED_FORMULA, FORMULA_TEXT, FORMULA_IMAGE, NOTE, FRAGMENT = 64, 128, 256, 512, 1024
IS_OPEN, MATH_SCRIPT = 2048, 4096
RENDERED_MATHJAX = 8192  # where the element is a span
SIDEBAR = 1 << 14  # a column of the page, or a box in a text
# Further flags of words.
_ABOUT, _UTILITY, _BREAKPOINT, _DISPLAY = 1 << 15, 1 << 16, 1 << 17, 1 << 18
RAISED, LOWERED = 1 << 19, 1 << 20  # a superscript or subscript
LINE_NUMBERS = 1 << 21  # of a listing, where the element is a cell
CONSENT = 1 << 22  # the dialog of a consent manager

# Names (of class, id, role) that site builders give to a page's frame, as whole words between separators.
FRAME_WORDS = (
    "gutter linenos lineno line-numbers linenumbers ad ads advert advertisement advertising adbox adslot banner "
    "breadcrumb breadcrumbs byline bylines caption captions cite comment comments commentlist commentlisting "
    "complementary contentinfo copyright cookie cookies credit credits dateline disqus dropdown feedback filed "
    "footer footnav jumplinks legal lightbox login masthead menu meta metadata modal mostread mostpopular "
    "nav navbar navigation newsletter newsletters outbrain overlay pager pagination paging popular popup postmeta "
    "print promo promotion promos promoted pullquote rail recirc recommend recommended recommendations related "
    "relatedlinks respond rss share sharebar sharebox sharedaddy sharethis sharing shares shopping "
    "sidebars gallery slideshow carousel slider signup skip social sociable sponsor sponsored subscribe "
    "subscription subnav supplemental taboola tag tags taglist teaser teasers timestamp toc toolbar toolbox tools "
    "topbar tweet trending upsell utility widget widgets wp-caption yarpp zergnet noprint navbox mw-editsection "
    "editsection reflist catlinks printfooter author-bio authorbox "
    "aboutauthor author-info keywords rating ratings reactions"
).split()
BODY_WORDS = (
    "article articlebody article-body articletext body bodytext content entry entry-content entrycontent hentry "
    "main maincontent page post post-content postcontent post-body story storybody story-body storytext text blog"
).split()
# Blog engines put an article's tags and author into its own class list: tag-x, author-y.
_ABOUT_ARTICLE = "tag tags author category type status format".split()
# Utility classes that a breakpoint class may undo: `hidden md:block`, `d-none d-md-block`.
# The frameworks with names of their own: Drupal's element-hidden, jQuery UI, Salesforce's Lightning, UIkit, W3.CSS.
_UTILITIES = (
    "hidden d-none display-none invisible is-hidden u-hidden uk-hidden is-invisible uk-invisible tw-hidden u-d-none "
    "element-hidden ui-helper-hidden slds-hide w3-hide"
).split()
# Among them Bulma, Font Awesome, GOV.UK, jQuery UI, Lightning, Elementor, PatternFly, Primer and Carbon.
_SCREEN_READERS = (
    "sr-only visually-hidden visuallyhidden visually_hidden screen-reader-text screen-reader-only screenreader-text "
    "screen-reader screenreader sr-text srt usa-sr-only u-visually-hidden is-visually-hidden cdk-visually-hidden "
    "a11y-hidden assistive-text element-invisible show-for-sr offscreen off-screen sr-only-focusable "
    "visually-hidden-focusable is-sr-only fa-sr-only tw-sr-only sr_only govuk-visually-hidden nhsuk-u-visually-hidden "
    "ui-helper-hidden-accessible slds-assistive-text elementor-screen-only pf-u-screen-reader pf-v5-u-screen-reader "
    "bx--visually-hidden cds--visually-hidden c-visually-hidden o-visually-hidden h-visually-hidden "
    "u-hiddenvisually hidden-visually is-hidden-visually accessibly-hidden mw-hidden-visually"
).split()
# Of Complianz, CookieYes, Cookie Notice, Osano, Borlabs, Moove, iubenda, Quantcast and Didomi.
_CONSENT = (
    "cmplz-cookiebanner cmplz-body cookie-law-info-bar cky-consent-container cky-modal cookie-notice-container "
    "cc-window osano-cm-window borlabs-cookie moove_gdpr_cookie_info_bar iubenda-cs-container qc-cmp2-container "
    "didomi-popup-container"
).split()
_DISPLAYS = "block inline inline-block flex inline-flex grid inline-grid table table-row table-cell contents".split()
# Classes of KaTeX, MathJax 2, MediaWiki and others. A rendered formula has a source beside it.
_WORD_FLAGS = (
    (FRAME_WORDS, FRAME),
    (["sidebar"], FRAME | SIDEBAR),
    (BODY_WORDS, BODY | BODY_EXACT),
    (_ABOUT_ARTICLE, _ABOUT),
    (_UTILITIES, _UTILITY),
    (_SCREEN_READERS, FOR_SCREEN_READERS),
    (_CONSENT, CONSENT),
    ("gutter linenos lineno line-numbers linenumbers rouge-gutter".split(), LINE_NUMBERS),
    (_DISPLAYS, _DISPLAY),
    ([f"d-{size}-{display}" for size in ("sm", "md", "lg", "xl", "xxl") for display in _DISPLAYS], _BREAKPOINT),
    ("mathjax mathjax_preview mathjax_svg mathjax_chtml".split(), RENDERED_MATHJAX),
    ("mathjax_display mathjax_svg_display".split(), HIDDEN),
    (["superscript"], RAISED),
    (["subscript"], LOWERED),
    (["katex-html"], RENDERED_FORMULA),
    ("mwe-math-mathml-inline mwe-math-mathml-display mwe-math-mathml-a11y".split(), FORMULA_TEXT),
    (
        "mwe-math-fallback-image-inline mwe-math-fallback-image-display tex latex math eeimg ql-img-inline-formula "
        "ql-img-displayed-equation".split(),
        FORMULA_IMAGE,
    ),
    (
        "reference footnote footnote-ref footnote-reference fn fnref noteref note-ref endnote cite_ref".split(),
        NOTE,
    ),
)
_QUOTE, _EQUALS, _SPACE, _COLON, _HYPHEN, _UNDERSCORE, _SEMICOLON, _NUMBER_SIGN = 34, 61, 32, 58, 45, 95, 59, 35


def _word_flags() -> dict[str, int]:
    flags: dict[str, int] = {}
    for words, flag in _WORD_FLAGS:
        for word in words:
            flags[word] = flags.get(word, 0) | flag
    return flags


WORD_TABLE = hash_table(_word_flags(), 2048)
_NAMES, _STYLE, _HIDDEN_NAME, _ARIA, _OPEN_NAME, _HREF, _TYPE, _ID = range(1, 9)
NAME_TABLE = hash_table(
    {
        **dict.fromkeys("class role itemprop data-component data-testid".split(), _NAMES),
        "id": _ID,
        "style": _STYLE,
        "hidden": _HIDDEN_NAME,
        "aria-hidden": _ARIA,
        "open": _OPEN_NAME,
        "href": _HREF,
        "type": _TYPE,
    },
    64,
)


@compiled
def read_attributes(data, start, end, name_hashes, names, word_hashes, words):  # type: ignore[no-untyped-def]
    """Flags of the attributes in data[start:end]."""
    flags = 0
    at = start
    while at < end:
        code = np.uint32(FNV_OFFSET)
        while at < end and data[at] != _EQUALS and data[at] > _SPACE:
            code = extended(code, data[at])
            at += 1
        if at + 1 >= end or data[at] != _EQUALS or data[at + 1] != _QUOTE:
            at += 1
            continue
        value = at + 2
        at = value
        while at < end and data[at] != _QUOTE:
            at += 1
        name = look_up(name_hashes, names, code)
        if name in (_NAMES, _ID):
            flags |= _read_names(data, value, at, word_hashes, words, name == _NAMES)
        elif name == _STYLE:
            flags |= style_flags(data, value, at)
        elif name == _HIDDEN_NAME:
            if not (at - value == 11 and data[value] | 32 == 117):  # until-found
                flags |= HIDDEN
        elif name == _ARIA:
            if at - value == 4 and data[value] | 32 == 116:  # true
                flags |= ARIA_HIDDEN
        elif name == _OPEN_NAME:
            flags |= IS_OPEN
        elif name == _HREF:
            if value < at and data[value] == _NUMBER_SIGN:
                flags |= FRAGMENT
                if _names_note(data, value + 1, at):
                    flags |= NOTE
        elif name == _TYPE and at - value > 5 and data[value] == 109 and data[value + 4] == 47:  # m...h/
            flags |= MATH_SCRIPT
        at += 1
    if flags & _UTILITY and not flags & _BREAKPOINT:
        flags |= HIDDEN
    return flags


@compiled
def _names_note(data, start, end):  # type: ignore[no-untyped-def]
    """Whether a fragment is that of a note: 3, n3, fn3, _ftn3, footnote, note, cite_note, ref, endnote, en3."""
    while start < end and data[start] == _UNDERSCORE:
        start += 1
    if start >= end:
        return False
    first, second = data[start], data[start + 1]
    if 48 <= first <= 57:
        return True
    first, letter = first | 32, second | 32
    if first == 110:  # n
        return 48 <= second <= 57 or letter == 111
    if first == 102:  # f
        return letter in (110, 111, 116)  # n o t
    return (first == 99 and letter == 105) or (first == 114 and letter == 101) or (first == 101 and letter == 110)


@compiled
def _read_names(data, start, end, word_hashes, words, is_class):  # type: ignore[no-untyped-def]
    """Flags of the names in a class list or the like. An id says nothing of visibility."""
    flags = 0
    at = start
    while at < end:
        if data[at] <= _SPACE:
            at += 1
            continue
        # Hashes of the name, of its first and last piece, and of what follows the last colon. Pieces end at "-", "_"
        # and before the capitals of camelCase.
        whole = first = piece = last = variant = np.uint32(FNV_OFFSET)
        pieces, in_piece, variants, before = 0, False, 0, np.uint8(0)
        while at < end and data[at] > _SPACE:
            byte = data[at]
            lower = in_lower_case(byte)
            whole = extended(whole, lower)
            variant = extended(variant, lower)
            if byte == _COLON:
                variant = np.uint32(FNV_OFFSET)
                variants += 1
            is_separator = byte in (_HYPHEN, _UNDERSCORE)
            if in_piece and (is_separator or (byte != lower and 97 <= before <= 122)):
                first = piece if pieces == 0 else first
                last = piece
                pieces += 1
                in_piece = False
                piece = np.uint32(FNV_OFFSET)
            if not is_separator:
                piece = extended(piece, lower)
                in_piece = True
            before = byte
            at += 1
        if in_piece and pieces > 0:
            last = piece
            pieces += 1
        flags |= _name_flags(whole, first, last, pieces, variant, variants, word_hashes, words, is_class)
    return flags


@inlined
def _name_flags(  # type: ignore[no-untyped-def]
    whole, first, last, pieces, variant, variants, word_hashes, words, is_class
):
    flags = look_up(word_hashes, words, whole)
    if variants and look_up(word_hashes, words, variant) & _DISPLAY:
        flags |= _BREAKPOINT
    if not flags & (FRAME | BODY) and pieces > 0:
        first_flags, last_flags = look_up(word_hashes, words, first), look_up(word_hashes, words, last)
        if last_flags & FRAME or (first_flags & FRAME and not first_flags & _ABOUT):
            flags |= FRAME
        elif (first_flags | last_flags) & BODY:
            flags |= BODY
    return flags if is_class else flags & (FRAME | BODY | BODY_EXACT)


@compiled
def style_flags(data, start, end):  # type: ignore[no-untyped-def]
    """HIDDEN, RAISED, LOWERED or 0 for a style. Of several declarations of a property, the last one counts (CSS)."""
    no_display = no_visibility = is_placed = is_off_screen = is_clipped = is_cut = False
    script = 0
    at = start
    while at < end:
        while at < end and (data[at] <= _SPACE or data[at] == _SEMICOLON):
            at += 1
        name = np.uint32(FNV_OFFSET)
        while at < end and data[at] != _COLON and data[at] != _SEMICOLON and data[at] > _SPACE:
            name = extended(name, data[at] | 32)
            at += 1
        while at < end and (data[at] <= _SPACE or data[at] == _COLON):
            at += 1
        first = at
        value = np.uint32(FNV_OFFSET)
        while at < end and data[at] != _SEMICOLON and data[at] > _SPACE and data[at] != 33:
            value = extended(value, data[at] | 32)
            at += 1
        if name == _DISPLAY_CODE:
            no_display = value == _NONE_CODE
        elif name == _VISIBILITY_CODE:
            no_visibility = value in (_HIDDEN_CODE, _COLLAPSE_CODE)
        elif name == _VERTICAL_ALIGN_CODE:
            script = RAISED if value == _SUPER_CODE else LOWERED if value == _SUB_CODE else 0
        elif name == _POSITION_CODE:
            is_placed = value in (_ABSOLUTE_CODE, _FIXED_CODE)
        elif name in (_LEFT_CODE, _TOP_CODE):
            is_off_screen |= _is_far_below_zero(data, first, at)
        elif name == _CLIP_CODE:
            is_clipped = _is_empty_rectangle(data, first, end)
        elif name == _CLIP_PATH_CODE:
            is_cut = value in (_HALF_CODE, _WHOLE_CODE)
        while at < end and data[at] != _SEMICOLON:
            at += 1
    if no_display or no_visibility or is_cut or (is_placed and (is_off_screen or is_clipped)):
        return HIDDEN
    return script


@compiled
def _is_far_below_zero(data, start, end):  # type: ignore[no-untyped-def]
    """Whether a length is -999 or less, in whatever unit."""
    if start >= end or data[start] != _HYPHEN:
        return False
    number = 0
    at = start + 1
    while at < end and 48 <= data[at] <= 57 and number < 999:
        number = 10 * number + data[at] - 48
        at += 1
    return number >= 999


@compiled
def _is_empty_rectangle(data, start, end):  # type: ignore[no-untyped-def]
    """Whether a value is a rectangle of numbers 0 and 1 only: ``rect(0,0,0,0)``, ``rect(1px 1px 1px 1px)``."""
    if start + 5 >= end or data[start] | 32 != 114 or data[start + 4] != 40:  # r...(
        return False
    at = start + 5
    while at < end and data[at] != 41 and data[at] != _SEMICOLON:
        if not (data[at] <= _SPACE or data[at] in (44, 48, 49, 112, 120)):  # , 0 1 p x
            return False
        if 48 <= data[at] <= 49 and 48 <= data[at - 1] <= 49:  # 100px
            return False
        at += 1
    return True


(
    _DISPLAY_CODE,
    _NONE_CODE,
    _VISIBILITY_CODE,
    _HIDDEN_CODE,
    _COLLAPSE_CODE,
    _VERTICAL_ALIGN_CODE,
    _SUPER_CODE,
    _SUB_CODE,
    _POSITION_CODE,
    _ABSOLUTE_CODE,
    _FIXED_CODE,
    _LEFT_CODE,
    _TOP_CODE,
    _CLIP_CODE,
    _CLIP_PATH_CODE,
    _HALF_CODE,
    _WHOLE_CODE,
) = (
    hash_of(name)
    for name in (
        b"display none visibility hidden collapse vertical-align super sub position absolute fixed left top clip "
        b"clip-path inset(50%) inset(100%)"
    ).split()
)
