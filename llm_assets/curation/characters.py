"""What each character is, as a table of flags that compiled code can index, and UTF-8 to and from code points."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np

from llm_assets.compute.compiled import compiled

ALPHA, SPACE, LINE_BREAK, SYMBOL, TERMINAL, DIGIT, UPPER, LOWER = (1 << bit for bit in range(8))
# What the word splitters ask.
AFFIX, QUOTE, CURRENCY, SENTENCE_END, SINGLE, CLOSER, ICON, MARK, BREAKS = (1 << bit for bit in range(8, 17))

# Characters that alone make no word. CCNet's list (arXiv:1911.00359, text_normalizer.py), which datatrove's rules share.
PUNCTUATION = "!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»"
CONTROLS = "".join(chr(c) for a, b in ((0, 9), (11, 13), (13, 32), (127, 160)) for c in range(a, b))

# Unicode's Sentence_Terminal property (PropList.txt) as fineweb-head uses it.
SENTENCE_TERMINAL = (
    "᪩？⁈𑩂．꩞𑅃﹗𑂾\u1b7d፧𑅂꡶꘎⁉࠾᪨𑊩𑱂᱿𖩮᥅\U00011f43\U00011f44﹒𑈹𑈸።܂؞꛳\U00010f88𑗍𐩖𑙂\u061d꩟᠉\u1b7e𑗗᰼𑻸؟𑪜꧉𑗉𐽙𖫵𖬷܀꓿᜵𑗏𑁇𑗓𑥄៖𑥆𑗑𑗒꯫۔𐩗\U00010f86꡷\u2e54｡៕߹⸮."
    "𑇅࠹𛲟꫰꤯𐽗᭞𑜼፨𑃁꣏𑇟𖬸𑪛𑜾࠷𝪈?𑃀𑗃！։꣎॥𑗖᭛᠃!၊𖺘⁇𑗌𑑋𖭄᭟𑅁𑙁⸼꩝𑗋。꧈꫱𑜽𐽖𑂿᙮។꛷\U00010f89៚᥄𑗕𑗎᪪᭚࠽𑇞𑗊𐽘\u2e53𑗔𖩯𑇍𑻷𐽕𑩃।𑗂𑇆𑁈။᱾𑱁꘏܁᜶‼𑈻‽᪫﹖𑑌𑈼\U00010f87𑗐៙᰻"
)

# spaCy 3.8, lang/punctuation.py and char_classes.py.
_SPACY_PUNCTUATION = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
_SPACY_QUOTES = "'\"”“`‘´’‚,„»«「」『』（）〔〕【】《》〈〉〈〉⟦⟧"
_SPACY_CURRENCY = "$£€¥฿₽﷼₴₠₡₢₣₤₥₦₧₨₩₪₫₭₮₯₰₱₲₳₵₶₷₸₹₺₻₼₾₿"
_SPACY_SENTENCE = "!.?։؟۔܀܁܂߹।॥၊။።፧፨᙮᜵᜶᠃᠉᥄᥅᪨᪩᪪᪫᭚᭛᭞᭟᰻᰼᱾᱿‼‽⁇⁈⁉⸮⸼꓿꘎꘏꛳꛷꡶꡷꣎꣏꤯꧈꧉꩝꩞꩟꫰꫱꯫﹒﹖﹗！．？｡。"
# NLTK 3.10, tokenize/destructive.py: marks that stand alone wherever they are, and those that may follow a full stop.
_TREEBANK_SINGLE = ';@#$%&?!*[](){}<>«“‘„»”’"‒–—―'
_CLOSERS = "])}>\"'»”’"

# The planes beyond hold unassigned code points, ideographs and private use only.
TABLE = 0x20000
IDEOGRAPHS_END = 0x323B0


@lru_cache(maxsize=1)
def kinds_table() -> np.ndarray:
    """uint32 (0x20000,): flags of every character of the first two planes (ideographs above are letters)."""
    table = np.zeros(TABLE, np.uint32)
    for code in range(TABLE):
        character = chr(code)
        category = unicodedata.category(character)
        if category[0] == "L":
            table[code] = ALPHA | (UPPER if category in ("Lu", "Lt") else LOWER if category == "Ll" else 0)
        elif category == "Nd":
            table[code] = DIGIT
        elif category == "So" and character != "°":
            table[code] = ICON
        elif category[0] == "P":
            table[code] = MARK
        if character.isspace():
            table[code] |= SPACE
    for bits, characters in (
        (LINE_BREAK, "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"),
        (SYMBOL, PUNCTUATION + CONTROLS),
        (TERMINAL, SENTENCE_TERMINAL),
        (AFFIX, _SPACY_PUNCTUATION),
        (QUOTE, _SPACY_QUOTES),
        (CURRENCY, _SPACY_CURRENCY),
        (SENTENCE_END, _SPACY_SENTENCE),
        (SINGLE | BREAKS, _TREEBANK_SINGLE),
        (CLOSER, _CLOSERS),
        (BREAKS, ".,:'`-"),
    ):
        for character in characters:
            table[ord(character)] |= bits
    return table


@compiled
def kinds_of(text, n, table, into):  # type: ignore[no-untyped-def]
    """The flags of `n` code points into `into` (uint32)."""
    for i in range(n):
        code = text[i]
        if code < TABLE:
            into[i] = table[code]
        else:
            into[i] = ALPHA if code < IDEOGRAPHS_END else 0


@compiled
def decode(data, start, end, into):  # type: ignore[no-untyped-def]
    """Code points of the UTF-8 bytes data[start:end] into `into` (uint32); returns their number."""
    at, n = start, 0
    while at < end:
        byte = np.uint32(data[at])
        if byte < 0x80:
            into[n] = byte
            at += 1
        elif byte < 0xE0 and at + 1 < end:
            into[n] = (byte & 0x1F) << 6 | np.uint32(data[at + 1]) & 0x3F
            at += 2
        elif byte < 0xF0 and at + 2 < end:
            into[n] = (byte & 0x0F) << 12 | (np.uint32(data[at + 1]) & 0x3F) << 6 | np.uint32(data[at + 2]) & 0x3F
            at += 3
        elif at + 3 < end:
            into[n] = (
                (byte & 0x07) << 18
                | (np.uint32(data[at + 1]) & 0x3F) << 12
                | (np.uint32(data[at + 2]) & 0x3F) << 6
                | np.uint32(data[at + 3]) & 0x3F
            )
            at += 4
        else:
            break
        n += 1
    return n


@compiled
def encode(text, n, into, at):  # type: ignore[no-untyped-def]
    """UTF-8 of `n` code points into `into` (uint8) from `at`; returns where it ends."""
    for i in range(n):
        code = text[i]
        if code < 0x80:
            into[at] = code
            at += 1
        elif code < 0x800:
            into[at] = 0xC0 | code >> 6
            into[at + 1] = 0x80 | code & 0x3F
            at += 2
        elif code < 0x10000:
            into[at] = 0xE0 | code >> 12
            into[at + 1] = 0x80 | code >> 6 & 0x3F
            into[at + 2] = 0x80 | code & 0x3F
            at += 3
        else:
            into[at] = 0xF0 | code >> 18
            into[at + 1] = 0x80 | code >> 12 & 0x3F
            into[at + 2] = 0x80 | code >> 6 & 0x3F
            into[at + 3] = 0x80 | code & 0x3F
            at += 4
    return at
