"""Deduplication: normalisation, signatures, clusters, survivors, scope and memory."""

import random
import subprocess
import sys

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.artifacts.identity import fingerprint
from llm_assets.artifacts.tables import polars_schema
from llm_assets.curation import duplicate_clusters, signature_index
from llm_assets.curation.deduplication import DEDUPLICATED_TEXT
from llm_assets.curation.duplicate_clusters import find_clusters
from llm_assets.curation.duplicate_matching import match_pages
from llm_assets.curation.schemas import Cluster
from llm_assets.curation.signature_index import SignatureIndex
from llm_assets.curation.signatures import TEXT_SIGNATURES, Signatures, sign, signature_columns
from llm_assets.recipes import Deduplication, Recipe, WarcFiles, laptop
from tests.support.corpus import build_corpus, corpus_workspace
from tests.support.warcs import page, story
from tests.support.warcs import write as write_warc

RULES = Signatures.of(Deduplication())
WORDS = [
    f"{a}{b}{c}"
    for a in ("ka", "lo", "mi", "nu")
    for b in ("ra", "se", "ti", "vo", "xa")
    for c in ("ben", "dal", "fir", "gos", "hut")
]


def digests(*texts):
    return [int(value) for value in sign(pl.Series(texts), RULES)[0]]


def have_one_signature(*texts, ngram=1):
    """Whether all texts have the same bands; with an n-gram of 1, whether they have the same set of words."""
    _, bands, has_bands = sign(pl.Series(texts), RULES.model_copy(update={"ngram": ngram}))
    return bool((bands == bands[0]).all() and (has_bands == has_bands[0]).all())


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("The Cat sat", "the cat sat", True),
        ("  the  cat\n\tsat ", "the cat sat", True),
        ("the\u3000cat\u00a0sat", "the cat sat", True),
        ("ÉTÉ à Пари", "été À пари", True),
        ("the cat sat", "the catsat", False),
        ("the cat, sat!", "the cat sat", False),
        ("Café crème", "cafe creme", False),
        ("cost 1,234 today", "cost 7 today", False),
        ("room 12", "room", False),
        ("漢字 text", "漢詞 text", False),
        ("ab", "ba", False),
        ("", " \n", True),
        ("", "\x00", False),
    ],
    ids=range(13),
)
def test_texts_have_one_digest_if_they_are_equal_but_for_case_and_white_space(first, second, same):
    """`exact` is what a reader calls the same text: neither figures nor punctuation nor accents may differ."""
    a, b = digests(first, second)
    assert (a == b) == same


@given(st.lists(st.text(alphabet="aAbÉ 1.\n\u3000", max_size=24), min_size=2, max_size=2))
def test_the_digest_agrees_with_plain_python(texts):
    a, b = digests(*texts)
    assert (a == b) == (texts[0].lower().split() == texts[1].lower().split())


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 15, 16, 17, 40])
def test_every_character_counts_in_the_digest(length):
    texts = ["a" * length, *("a" * i + "b" + "a" * (length - i - 1) for i in range(length)), "a" * (length + 1)]
    assert len(set(digests(*texts))) == length + 2


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("The Cat sat", "the cat sat", True),
        ("the cat, sat!", "the cat sat", True),
        ("the  cat\n\tsat ", "the cat sat", True),
        ("Café crème", "cafe creme", True),
        ("cafe\u0301", "café", True),
        ("cost 1,234 today", "cost 7 today", True),
        ("cost 1,234.50 today", "cost 7 7 today", True),
        ("1|2|3", "0 0 0", True),
        ("room 12", "room", False),
        ("the cat sat", "the catsat", False),
        ("don't", "don t", True),
        ("漢字 text", "漢字 text.", True),
        ("漢字 text", "漢詞 text", False),
        ("٣ apples", "3 apples", True),
        ("", " .,!", True),
        ("\x00a\x07b", "a b", True),
        ("ሰላም፡ለዓለም", "ሰላም ለዓለም", True),
    ],
    ids=range(17),
)
def test_signatures_are_taken_of_the_normalised_text(first, second, same):
    assert have_one_signature(first, second) == same


def simplified(text):
    """FineWeb's normalisation in plain Python."""
    import re
    import unicodedata

    text = re.sub(r"\d+([.,،٫⎖⎗⎘]\d+)?", "0", text.lower())
    text = "".join(
        " "
        if unicodedata.category(c)[0] == "C"
        or c in "!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»"
        else c
        for c in text
    )
    return " ".join("".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn").split())


@given(st.lists(st.text(alphabet="aAbÉé 1.,-'\n", max_size=12), min_size=2, max_size=2))
def test_the_normalisation_is_that_of_fineweb(texts):
    assert have_one_signature(*texts) == (set(simplified(texts[0]).split()) == set(simplified(texts[1]).split()))


UNSPACED_TEXTS = {
    "Chinese": "春天的河水慢慢流过古老的石桥岸边柳树开始发芽孩子们在田野里放风筝老人坐门前晒太阳远处传来钟声",
    "Japanese": "山のふもとに小さな村があり、毎朝パン屋のかまどから煙が立ちのぼる。旅人はそこで休み歩き出す",
    "Thai": "ชาวประมงออกเรือตั้งแต่เช้ามืดเพื่อจับปลาในทะเลส่วนคนในหมู่บ้านช่วยกันซ่อมหลังคาโรงเรียนก่อนฝนจะตก",
    "Lao": "ຊາວນາປູກເຂົ້າຢູ່ທົ່ງນາໃກ້ແມ່ນ້ຳຂອງແລະເກັບກ່ຽວໃນລະດູໜາວເດັກນ້ອຍຊ່ວຍພໍ່ແມ່ລ້ຽງຄວາຍ",
    "Khmer": "កសិករធ្វើស្រែនៅជិតទន្លេហើយប្រមូលផលនៅរដូវប្រាំងក្មេងៗជួយឪពុកម្ដាយចិញ្ចឹមគោក្របី",
    "Burmese": "တောင်သူများသည်မြစ်နားတွင်စပါးစိုက်ကြပြီးဆောင်းရာသီတွင်ရိတ်သိမ်းကြသည်ကလေးများကကျွဲနွားကျောင်းကြသည်",
    "Tibetan": "ཞིང་པ་རྣམས་ཀྱིས་གཙང་པོའི་འགྲམ་དུ་ནས་འདེབས་ཤིང་སྟོན་ཁར་བསྡུ་རུབ་བྱེད།བྱིས་པ་ཚོས་ལུག་རྫི་བྱེད།",
}


def unspaced_text(language, rng, sentences=16, length=20):
    """Sentences of different characters of a language, drawn at random, without spaces."""
    letters = [c for c in UNSPACED_TEXTS[language] if c.isalpha()]
    return ["".join(rng.choice(letters) for _ in range(length)) for _ in range(sentences)], letters


@pytest.mark.parametrize("language", UNSPACED_TEXTS)
def test_near_duplicates_are_found_in_scripts_without_spaces(language, tmp_path):
    """A character is a word: UAX #29 leaves the words of these scripts to dictionaries.

    In 4 of 16 sentences of 20 characters one character is another: Jaccard 0.88 over 5-grams of characters, which 14
    bands of 8 rows find with probability 0.998. An unlike text of the same characters stays.
    """
    rng = random.Random(7)
    sentences, letters = unspaced_text(language, rng)
    changed = [
        s[:9] + rng.choice([c for c in letters if c != s[9]]) + s[10:] if i % 4 == 3 else s
        for i, s in enumerate(sentences)
    ]
    other, _ = unspaced_text(language, rng)
    table = clusters_of(
        tmp_path, [write(tmp_path / "a.parquet", ["。".join(text) for text in (sentences, changed, other)])]
    )
    assert table.select("warc_offset", "relation").rows() == [(0, "kept"), (1, "near")]


def test_scripts_are_told_apart_within_a_text():
    """Characters of Han and kana are words; Latin and Hangul, also in full width, are words up to the next space."""
    assert have_one_signature("我用Python写code。", "写 我 用 python CODE")
    assert have_one_signature("日々のコーヒー", "ー 々 の 日 コ ヒ")
    assert not have_one_signature("한국어", "한 국 어")
    assert not have_one_signature("ＡＢ", "Ａ Ｂ")
    assert have_one_signature("𠀀𠀁", "𠀁 𠀀")  # beyond the first two planes


def test_signatures_of_spaced_texts_do_not_change():
    """Stored signatures are compared with those of later crawls, so these bands may never change."""
    texts = ["The 12 cats, don't sit on Löwe's mat — twice: 3.5 times!", "Жили-были дед да баба, 한국어 문장"]
    _, bands, _ = sign(pl.Series(texts), RULES)
    assert [int(row[0]) for row in bands] == [17357565201313619428, 9421960731927406374]


def test_pages_that_differ_in_their_numbers_are_near_and_not_exact(tmp_path):
    """FineWeb's normalisation ignores numbers, so such pages may be near duplicates; they are never the same text."""
    rng = random.Random(8)
    first, second = (
        " ".join(
            f"The town had {rng.randrange(10**5)} inhabitants in {rng.randrange(1500, 1900)} and its budget was "
            f"{rng.randrange(10**6)} crowns for the {words} alone."
            for words in WORDS[:12]
        )
        for _ in range(2)
    )
    table = clusters_of(tmp_path, [write(tmp_path / "a.parquet", [first, second])])
    assert table.select("relation", "shared_bands").rows() == [("kept", 14), ("near", 14)]
    exact_only = RULES.model_copy(update={"near_duplicates": False})
    assert clusters_of(tmp_path, [write(tmp_path / "b.parquet", [first, second], rules=exact_only)]).is_empty()


def shingles(text):
    words = text.split()
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}


def jaccard(first, second):
    return len(first & second) / len(first | second)


def pair(similarity, rng):
    """Two texts whose sets of five-word shingles have about this Jaccard similarity."""
    words = [f"w{rng.randrange(10**9):x}" for _ in range(400)]
    other = list(words)
    while jaccard(shingles(" ".join(words)), shingles(" ".join(other))) > similarity:
        other[rng.randrange(len(other))] = f"x{rng.randrange(10**9):x}"
    return " ".join(words), " ".join(other)


@pytest.mark.parametrize(
    ("similarity", "least", "most"),
    [(0.95, 0.999, 1.0), (0.8, 0.86, 0.98), (0.72, 0.4, 0.78), (0.5, 0.0, 0.15), (0.2, 0.0, 0.02)],
)
def test_pairs_share_a_band_as_often_as_the_theory_says(similarity, least, most):
    """The probability 1 - (1 - s^8)^14 is 1.00 at 0.95, 0.92 at 0.8, 0.65 at 0.72 and 0.05 at 0.5.

    Words are hexadecimal numbers with letters for the digits, since digits would be normalised.
    """
    rng = random.Random(similarity)
    letters = str.maketrans("0123456789", "ghijklmnop")
    texts = [text.translate(letters) for _ in range(120) for text in pair(similarity, rng)]
    _, bands, has_bands = sign(pl.Series(texts), RULES)
    assert has_bands.all()
    share = (bands[::2] == bands[1::2]).any(axis=1).mean()
    assert least <= share <= most


def write(path, texts, crawl="c", urls=None, rules=RULES):
    """A signature file of these texts."""
    n = len(texts)
    urls = urls or [f"http://{path.stem}.example/{i:04d}" for i in range(n)]
    pages = pl.DataFrame(
        {
            "doc_id": [f"{abs(hash((crawl, url))) % 16**24:024x}" for url in urls],
            "url": urls,
            "crawl": [crawl] * n,
            "warc_file": [path.stem] * n,
            "warc_offset": list(range(n)),
        },
        schema_overrides={"doc_id": pl.String, "url": pl.String, "crawl": pl.String, "warc_file": pl.String},
    ).with_columns(pl.col("warc_offset").cast(pl.Int64))
    signatures = signature_columns(*sign(pl.Series(texts, dtype=pl.String), rules), rules.bands)
    pl.concat([pages, signatures], how="horizontal").write_parquet(path)
    return path


def text(rng, length=60):
    return " ".join(rng.choice(WORDS) for _ in range(length))


def clusters_of(tmp_path, new, earlier=(), memory=1 << 30):
    """The cluster table of these signature files, checked against its schema."""
    index = SignatureIndex.of(list(earlier), list(new))
    columns = polars_schema(Cluster)
    frames = find_clusters(index, RULES.bands, memory, tmp_path / "scratch")
    table = pl.concat([pl.DataFrame(schema=columns), *(frame.select(list(columns)) for frame in frames)])
    Cluster.to_schema().validate(table)
    assert not (tmp_path / "scratch").exists()
    return table


def test_the_page_with_the_shortest_url_survives_whatever_the_order(tmp_path):
    story = text(random.Random(1))
    urls = ["http://a.example/long/path/print", "http://b.example/x", "http://a.example/y"]
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        path = write(tmp_path / "a.parquet", [story] * 3, urls=[urls[i] for i in order])
        table = clusters_of(tmp_path, [path])
        # As short as the other, and first in order.
        assert table.filter("is_kept")["url"].to_list() == ["http://a.example/y"]
        assert table["size"].to_list() == [3, 3, 3] and set(table["relation"]) == {"kept", "exact"}


def test_short_texts_are_compared_by_their_digest_only(tmp_path):
    table = clusters_of(tmp_path, [write(tmp_path / "a.parquet", ["two words", "Two  words", "two words!", "", "\n"])])
    assert sorted(table["warc_offset"].to_list()) == [0, 1, 3, 4]
    assert set(table["shared_bands"]) == {0}


def test_two_pages_that_match_a_third_are_in_one_cluster(tmp_path):
    """A is near B and B is near C, so they are one cluster, though A and C share few shingles."""
    rng = random.Random(4)
    words = [rng.choice(WORDS) for _ in range(300)]
    chain = []
    for _ in range(8):
        chain.append(" ".join(words))
        words = words[12:] + [rng.choice(WORDS) for _ in range(12)]
    table = clusters_of(tmp_path, [write(tmp_path / "a.parquet", chain)])
    assert table["size"].max() >= 4 and table["cluster"].n_unique() <= 2


def test_pages_of_earlier_crawls_survive(tmp_path):
    rng = random.Random(2)
    shared, other = text(rng), text(rng)
    earlier = write(
        tmp_path / "old.parquet",
        [shared, other, other],
        crawl="b",
        urls=["http://old.example/a/very/long/address", "http://old.example/1", "http://old.example/2"],
    )
    new = write(
        tmp_path / "new.parquet", [shared, text(rng)], crawl="c", urls=["http://n.example/", "http://n.example/2"]
    )
    table = clusters_of(tmp_path, [new], [earlier])
    # Duplicates within the earlier crawl do not concern this one.
    assert table.select("crawl", "is_kept").rows() == [("b", True), ("c", False)]


def test_keys_on_disk_give_the_same_clusters(tmp_path):
    rng = random.Random(3)
    texts = [text(rng) for _ in range(400)]
    texts += [" ".join([*t.split()[:-2], "end", "here"]) for t in texts[:150]] + texts[150:200]
    paths = [write(tmp_path / f"{i}.parquet", texts[i::3]) for i in range(3)]
    in_memory = clusters_of(tmp_path, paths)
    assert in_memory["cluster"].n_unique() == 200
    assert clusters_of(tmp_path, paths, memory=1 << 15).equals(in_memory)


def test_a_cluster_is_in_memory_a_few_rows_at_a_time(tmp_path, monkeypatch):
    """One cluster has 195 pages, of a text and of another one that is near it, and 59 have three."""
    rng = random.Random(9)
    texts = [text(rng) for _ in range(60)]
    near = " ".join([*texts[0].split()[:-1], "end"])
    paths = [write(tmp_path / f"{i}.parquet", [*texts, *[texts[0], near] * 32]) for i in range(3)]
    whole = clusters_of(tmp_path, paths)
    assert whole["size"].max() == 195 and set(whole["relation"]) == {"kept", "exact", "near"}
    monkeypatch.setattr(signature_index, "_CHUNK_ROWS", 16)
    monkeypatch.setattr(duplicate_clusters, "FRAME_ROWS", 16)
    gathered, rows = duplicate_clusters._gathered, []

    def counted(frames):
        for frame in gathered(frames):
            rows.append(len(frame))
            yield frame

    monkeypatch.setattr(duplicate_clusters, "_gathered", counted)
    frames = list(find_clusters(SignatureIndex.of([], paths), RULES.bands, 1 << 30, tmp_path / "scratch"))
    assert sum(rows) == len(whole) and max(rows) < 32 and max(map(len, frames)) == 16
    assert pl.concat(frames).select(whole.columns).equals(whole)


def test_clusters_are_those_that_plain_python_ranks(tmp_path, monkeypatch):
    monkeypatch.setattr(duplicate_clusters, "FRAME_ROWS", 7)  # so that clusters go beyond their frames
    rng = random.Random(5)
    stories = [text(rng) for _ in range(12)]
    files = []
    for number in range(4):
        texts = [rng.choice(stories) for _ in range(30)]
        texts = [" ".join([*words.split()[: rng.choice([60, 59, 58])], rng.choice("xyz")]) for words in texts]
        urls = [f"http://{rng.choice('ab')}.example/{'é' * rng.randrange(4)}{rng.randrange(6)}" for _ in texts]
        files.append(write(tmp_path / f"{number}.parquet", texts, crawl="ab"[number // 2], urls=urls))
    index = SignatureIndex(
        files, np.arange(5) * 30, 60, np.zeros(120, bool), np.array([rng.random() < 0.3 for _ in range(120)])
    )
    rows = pl.concat(map(pl.read_parquet, files)).rows(named=True)
    pages, roots = match_pages(index, RULES.bands, 1 << 30, tmp_path / "s")
    expected = []
    for root in sorted(set(roots.tolist())):

        def rank(page):
            row = rows[page]
            place = (row["url"], row["warc_file"], row["warc_offset"])
            return (page >= 60, page if page < 60 else 0, not index.returning[page], len(row["url"]), *place)

        members = sorted((int(page) for page in pages[roots == root]), key=rank)
        survivor = rows[members[0]]
        for number in members:
            row = rows[number]
            same = "exact" if row["digest"] == survivor["digest"] else "near"
            relation = "kept" if number == members[0] else same
            shared = sum(a == b for a, b in zip(row["bands"], survivor["bands"], strict=True))
            expected.append(
                (survivor["doc_id"], len(members), row["url"], row["warc_offset"], relation, shared, survivor["url"])
            )
    frames = find_clusters(index, RULES.bands, 1 << 30, tmp_path / "s")
    columns = ["cluster", "size", "url", "warc_offset", "relation", "shared_bands", "kept_url"]
    assert pl.concat(frames).select(columns).rows() == expected and len(expected) > 60


def test_the_latest_capture_of_a_url_survives(tmp_path):
    """`fetched_at` is read from the text table of the same WARC file."""
    same = text(random.Random(3))
    index = SignatureIndex.of(
        [], [write(tmp_path / f"{name}.parquet", [same], urls=["http://h.example/"]) for name in ("a", "b", "c")]
    )
    for times in (["1", "2", "0"], ["0", "1", "2"]):
        files = []
        for name, time in zip("abc", times, strict=True):
            pl.DataFrame({"fetched_at": [time]}).write_parquet(tmp_path / f"texts-{name}.parquet")
            files.append(tmp_path / f"texts-{name}.parquet")
        (table,) = find_clusters(index, RULES.bands, 1 << 30, tmp_path / "scratch", files)
        assert table.filter("is_kept")["warc_file"].to_list() == ["abc"[times.index("2")]]


def test_matching_agrees_with_comparing_all_pairs(tmp_path):
    """The components over all pairs that share a digest or a band, computed in plain Python."""
    rng = random.Random(6)
    texts = [text(rng, 20) for _ in range(60)]
    texts += [" ".join([*rng.choice(texts).split()[:18], rng.choice(WORDS), "x"]) for _ in range(60)]
    text_digests, bands, _ = sign(pl.Series(texts), RULES)
    group = list(range(len(texts)))
    for i in range(len(texts)):
        for j in range(i):
            if (text_digests[i] == text_digests[j] or (bands[i] == bands[j]).any()) and group[i] != group[j]:
                group = [group[j] if g == group[i] else g for g in group]
    expected = {i: g for i, g in enumerate(group) if group.count(g) > 1}
    pages, roots = match_pages(
        SignatureIndex.of([], [write(tmp_path / "a.parquet", texts)]), RULES.bands, 1 << 30, tmp_path / "s"
    )
    assert set(pages.tolist()) == set(expected)
    ours = dict(zip(pages.tolist(), roots.tolist(), strict=True))
    assert all((ours[a] == ours[b]) == (expected[a] == expected[b]) for a in ours for b in ours)


def test_no_pages_have_no_clusters(tmp_path):
    assert clusters_of(tmp_path, [write(tmp_path / "a.parquet", [])]).is_empty()


_MEASURE = """
import resource, sys
from pathlib import Path
from llm_assets.curation.duplicate_matching import match_pages
from llm_assets.curation.signature_index import SignatureIndex
match_pages(SignatureIndex.of([], [Path(sys.argv[1])]), 14, 1 << 30, Path(sys.argv[3]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pages, _ = match_pages(SignatureIndex.of([], [Path(sys.argv[2])]), 14, int(sys.argv[4]), Path(sys.argv[3]))
print(len(pages), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10)
"""


def test_an_index_ten_times_larger_than_its_memory(tmp_path):
    """With a limit of 3.6 MB, matching 300,000 pages takes little more memory than matching 3,000 pages.

    300,000 pages have an index of 36 MB and keys of 72 MB.
    """
    rng = np.random.default_rng(1)

    def write_index(path, pages):
        bands = rng.integers(0, 1 << 63, size=(pages, 14), dtype=np.uint64)
        bands[1::1000, 3] = bands[::1000, 3]
        columns = {
            "doc_id": pa.array([f"{i:024x}" for i in range(pages)]),
            "url": pa.array([f"http://h/{i}" for i in range(pages)]),
            "crawl": pa.array(["c"] * pages),
            "warc_file": pa.array(["w"] * pages),
            "warc_offset": pa.array(range(pages), pa.int64()),
            "digest": pa.array(rng.integers(0, 1 << 63, size=pages, dtype=np.uint64)),
            "bands": pa.LargeListArray.from_arrays(
                pa.array(np.arange(pages + 1) * 14, pa.int64()), pa.array(bands.ravel())
            ),
        }
        pq.write_table(pa.table(columns), path, row_group_size=8_192)
        return path

    small, large = write_index(tmp_path / "small.parquet", 3_000), write_index(tmp_path / "large.parquet", 300_000)
    limit = 300_000 * 15 * 8 // 10
    process = subprocess.run(
        [sys.executable, "-c", _MEASURE, small, large, tmp_path / "scratch", str(limit)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    joined, taken = map(int, process.stdout.split())
    assert joined == 600
    assert taken < 24 << 20, f"{taken >> 20} MiB"  # the limit, a chunk of 8,192 rows, and parquet's buffers


@pytest.mark.parametrize(
    "fields", [{"scope": "all"}, {"bands": 0}, {"rows_per_band": 0}, {"ngram": 0}, {"memory_bytes": 10}]
)
def test_impossible_settings_are_errors(fields):
    assert set(fields) <= set(Deduplication.model_fields)
    with pytest.raises(ValueError, match=next(iter(fields))):
        laptop().replace(deduplication=fields)


def test_the_scope_decides_which_signatures_are_read(tmp_path):
    """With scope `corpus`, a page of an earlier crawl replaces its copy; with scope `crawl`, both stay."""
    for crawl in ("a", "b"):
        write_warc(tmp_path / crawl / "x.warc.gz", [page(f"http://{crawl}.example/story", story(1))])
    crawls = {crawl: WarcFiles(path=str(tmp_path / crawl)) for crawl in ("a", "b")}
    rejected = {}
    for scope in ("crawl", "corpus"):
        recipe = Recipe(name="t", crawls=crawls, deduplication=Deduplication(scope=scope))
        artifacts = build_corpus(corpus_workspace(recipe))
        artifact = artifacts["deduplicated_text/b"]
        assert ("text_signatures/a" in artifact.record.fields["inputs"]) is (scope == "corpus")
        rejected[scope] = pl.concat([pl.read_parquet(path) for path in artifact.table("rejects")])["value"].to_list()
    assert rejected == {"crawl": [], "corpus": ["same text as http://a.example/story"]}


def test_memory_is_not_part_of_the_identity_and_bands_are():
    recipe = laptop()
    assert DEDUPLICATED_TEXT.config(recipe, "c").bands == 14

    def identities(**fields):
        changed = recipe.replace(deduplication=Deduplication(**fields))
        return [fingerprint(stage.config(changed, "c")) for stage in (TEXT_SIGNATURES, DEDUPLICATED_TEXT)]

    signatures, matching = identities()
    assert identities(memory_bytes=1 << 20) == [signatures, matching]
    assert identities(scope="corpus") == [signatures, matching]
    assert identities(seed=2)[0] != signatures and identities(seed=2)[1] == matching
    assert identities(bands=7) != [signatures, matching]
