"""What each character is, as a table of flags that compiled code indexes; UTF-8 to code points and back."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np

from llm_assets.compiled import compiled

ALPHA, SPACE, LINE_BREAK, SYMBOL, TERMINAL, DIGIT, UPPER, LOWER = (1 << bit for bit in range(8))
# Flags of the word splitters.
AFFIX, QUOTE, CURRENCY, SENTENCE_END, SINGLE, CLOSER, ICON, MARK, BREAKS = (1 << bit for bit in range(8, 17))

# Characters that alone make no word: CCNet's list (arXiv:1911.00359, text_normalizer.py), as in datatrove's rules.
PUNCTUATION = "!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»"
CONTROLS = "".join(chr(c) for a, b in ((0, 9), (11, 13), (13, 32), (127, 160)) for c in range(a, b))

# Unicode's Sentence_Terminal property (PropList.txt) as fineweb-head uses it.
SENTENCE_TERMINAL = (
    "᪩？⁈𑩂．꩞𑅃﹗𑂾᭽፧𑅂꡶꘎⁉࠾᪨𑊩𑱂᱿𖩮᥅\U00011f43\U00011f44﹒𑈹𑈸።܂؞꛳𐾈𑗍𐩖𑙂؝꩟᠉᭾𑗗᰼𑻸؟𑪜꧉𑗉𐽙𖫵𖬷܀"
    "꓿᜵𑗏𑁇𑗓𑥄៖𑥆𑗑𑗒꯫۔𐩗𐾆꡷⹔｡៕߹⸮.𑇅࠹𛲟꫰꤯𐽗᭞𑜼፨𑃁꣏𑇟𖬸𑪛𑜾࠷𝪈?𑃀𑗃！։꣎॥𑗖᭛᠃!၊"
    "𖺘⁇𑗌𑑋𖭄᭟𑅁𑙁⸼꩝𑗋。꧈꫱𑜽𐽖𑂿᙮។꛷𐾉៚᥄𑗕𑗎᪪᭚࠽𑇞𑗊𐽘⹓𑗔𖩯𑇍𑻷𐽕𑩃।𑗂𑇆𑁈။᱾𑱁꘏܁᜶‼𑈻"
    "‽᪫﹖𑑌𑈼𐾇𑗐៙᰻"
)

# spaCy 3.8, lang/punctuation.py and char_classes.py.
_SPACY_PUNCTUATION = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
_SPACY_QUOTES = "'\"”“`‘´’‚,„»«「」『』（）〔〕【】《》〈〉〈〉⟦⟧"
_SPACY_CURRENCY = "$£€¥฿₽﷼₴₠₡₢₣₤₥₦₧₨₩₪₫₭₮₯₰₱₲₳₵₶₷₸₹₺₻₼₾₿"
_SPACY_SENTENCE = "!.?։؟۔܀܁܂߹।॥၊။።፧፨᙮᜵᜶᠃᠉᥄᥅᪨᪩᪪᪫᭚᭛᭞᭟᰻᰼᱾᱿‼‽⁇⁈⁉⸮⸼꓿꘎꘏꛳꛷꡶꡷꣎꣏꤯꧈꧉꩝꩞꩟꫰꫱꯫﹒﹖﹗！．？｡。"
# NLTK 3.10, tokenize/destructive.py: marks that are words wherever they are, and those that may follow a full stop.
_TREEBANK_SINGLE = ';@#$%&?!*[](){}<>«“‘„»”’"‒–—―'
_CLOSERS = "])}>\"'»”’"

# The planes above hold only unassigned code points, ideographs and private use.
TABLE_SIZE = 0x20000
IDEOGRAPHS_END = 0x323B0


@lru_cache(maxsize=1)
def kinds_table() -> np.ndarray:
    """uint32 (0x20000,): the flags of every character of the first two planes."""
    table = np.zeros(TABLE_SIZE, np.uint32)
    for code in range(TABLE_SIZE):
        character = chr(code)
        category = unicodedata.category(character)
        if category[0] == "L":
            table[code] = ALPHA
            if category in ("Lu", "Lt"):
                table[code] |= UPPER
            elif category == "Ll":
                table[code] |= LOWER
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
    """Write the flags of `n` code points to `into` (uint32). Ideographs beyond the table are letters."""
    for i in range(n):
        code = text[i]
        if code < TABLE_SIZE:
            into[i] = table[code]
        else:
            into[i] = ALPHA if code < IDEOGRAPHS_END else 0


@compiled
def decode(data, start, end, into):  # type: ignore[no-untyped-def]
    """Write the code points of the UTF-8 bytes data[start:end] to `into` (uint32); returns how many there are."""
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
    """Write the UTF-8 bytes of `n` code points to `into` (uint8) from `at` on; returns where they end."""
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
