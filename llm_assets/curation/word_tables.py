"""Words that the word splitters treat specially, and how compiled code looks them up and records a word."""

from __future__ import annotations

import numpy as np

from llm_assets.compiled import compiled, inlined

# Abbreviations after which a full stop ends no sentence, lower case: the frequent ones of Punkt's English model.
ABBREVIATIONS = frozenset(
    (
        "mr mrs ms dr prof st vs etc e.g i.e cf inc ltd co corp jr sr rev gen gov sen rep hon capt col lt sgt maj "
        "u.s u.k u.n a.m p.m d.c ph.d m.d b.a m.a jan feb mar apr jun jul aug sept sep oct nov dec "
        "fig figs eq eqs ref refs no nos vol vols pp ed eds al approx dept est bros ave blvd"
    ).split()
)
# spaCy's list of units that a number may carry without a space.
_UNITS = (
    "km m dm cm mm ha nm yd in ft kg g mg t lb oz mph Pa hPa mbar mb MB kb KB gb GB tb TB T G M K % "
    "km² km³ m² m³ cm² cm³ mm² mm³ µm µg m/s km/h"
).split()
# Tokens with a mark in them that spaCy's blank German and Spanish do not split (3.8, tokenizer_exceptions.py).
_GERMAN = (
    "'S 's S' s' 'n 'ne 'nen 'nem ’S ’s S’ s’ ’n ’ne ’nen ’nem d' L' d’ L’ CDU/CSU c/o "
    "Abb. Abk. Abs. Abt. Apr. Aug. Bd. Betr. Bf. Bhf. Biol. Bsp. Chr. Cie. Dez. Di. Dipl. Dipl.-Ing. Do. Dr. Fa. Fam. "
    "Feb. Fr. Frl. Gebr. Hbf. Hg. Hr. Hrn. Hrsg. Ing. Inc. Jan. Jh. Jhd. Jr. Jul. Jun. Mi. Mio. Mo. Mr. Mrd. Mrz. "
    "MwSt. Mär. Nov. Nr. Okt. Orig. Pkt. Prof. Red. Sa. Sep. Sept. So. St. Std. Str. Tel. Tsd. Univ. Vol. "
    "abzgl. adv. al. allg. betr. biol. bspw. bzgl. bzw. ca. co. Co. dgl. ebd. ehem. eigtl. engl. entspr. erm. etc. ev. "
    "evtl. frz. geb. gegr. gem. ggf. ggfs. ggü. hrsg. incl. inkl. insb. jr. jun. jur. kath. lat. lt. max. min. mind. "
    "mtl. nat. orig. pers. phil. rer. röm. sen. sog. std. stellv. tägl. usf. usw. uvm. vgl. vllt. vlt. vs. wiss. zzgl. "
    "österr. A.C. A.D. A.G. B.A. B.Sc. D.C. G.m.b.H. K.O. L.A. M.A. M.Sc. N.Y. N.Y.C. O.K. P.S. R.I.P. U.S. U.S.A. "
    "U.S.S. a.D. a.M. a.Z. d.h. e.V. e.g. h.c. i.A. i.G. i.O. i.Tr. i.V. i.d.R. i.e. m.E. n.Chr. o.a. o.g. o.k. o.ä. "
    "p.a. p.s. q.e.d. s.o. u.U. u.a. u.s.w. u.v.m. v.Chr. v.a. v.l.n.r. z.B. z.Bsp. z.T. z.Z. z.Zt. z.b. "
    "I. II. III. IV."
).split()
_SPANISH = (
    "n° °C aprox. dna. dpto. ej. esq. pág. p.ej. Ud. Vd. Uds. Vds. vol. a.C. a.J.C. d.C. d.J.C. apdo. Av. Avda. Cía. "
    "Dr. Dra. EE.UU. Ee.Uu. etc. fig. Gob. Gral. Ing. J.C. km/h Lic. m.n. núm. P.D. Prof. Profa. q.e.p.d. Q.E.P.D. "
    "S.A. S.L. S.R.L. s.s.s. Sr. Sra. Srta."
).split()
_HASH_BASE = 1_000_003


def _word_hash(word: str) -> int:
    value = 0
    for character in word:
        value = (value * _HASH_BASE + ord(character) + 1) & 0xFFFFFFFFFFFFFFFF
    return value


ABBREVIATION_HASHES = np.array(sorted(_word_hash(word) for word in ABBREVIATIONS), np.uint64)
UNIT_HASHES = np.array(sorted(_word_hash(unit) for unit in _UNITS), np.uint64)
GERMAN_HASHES = np.array(sorted(_word_hash(word) for word in _GERMAN), np.uint64)
SPANISH_HASHES = np.array(sorted(_word_hash(word) for word in _SPANISH), np.uint64)
# Two words that are written as one ("can not", "gim me", …); the first has three letters.
_JOINED = np.array([_word_hash(word) for word in ("cannot", "gimme", "gonna", "gotta", "lemme", "wanna")], np.uint64)
JOINED_FIRST_LETTERS = 3


@inlined
def lower(code):  # type: ignore[no-untyped-def]
    """ASCII letters in lower case, other code points as they are."""
    return code | np.uint32(32) if 65 <= code <= 90 else code


@compiled
def hash_lower(text, start, end):  # type: ignore[no-untyped-def]
    """Hash of text[start:end] with ASCII letters in lower case."""
    value = np.uint64(0)
    for i in range(start, end):
        value = value * np.uint64(_HASH_BASE) + np.uint64(lower(text[i])) + np.uint64(1)
    return value


@compiled
def hash_exact(text, start, end):  # type: ignore[no-untyped-def]
    """Hash of text[start:end] as it is written."""
    value = np.uint64(0)
    for i in range(start, end):
        value = value * np.uint64(_HASH_BASE) + np.uint64(text[i]) + np.uint64(1)
    return value


@compiled
def contains(hashes, value):  # type: ignore[no-untyped-def]
    """Whether a sorted array holds the value."""
    low, high = 0, len(hashes)
    while low < high:
        middle = (low + high) // 2
        if hashes[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low < len(hashes) and hashes[low] == value


@inlined
def is_joined(text, start, end):  # type: ignore[no-untyped-def]
    """Whether text[start:end] is two words written as one ("cannot"). All of these have five or six letters."""
    value = hash_lower(text, start, end)
    joined = False
    for i in range(len(_JOINED)):
        joined = joined or value == _JOINED[i]
    return joined


@inlined
def add_word(start, end, starts, ends, count):  # type: ignore[no-untyped-def]
    """Record text[start:end] as word number `count` unless it is empty; returns the new number of words."""
    if end > start:
        starts[count] = start
        ends[count] = end
        return count + 1
    return count
