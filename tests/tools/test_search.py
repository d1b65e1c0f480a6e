"""Search: splitting into passages loses nothing, an index finds its rows, and its bytes are reproducible."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.tools.search import NOTHING_FOUND, SearchError, SearchIndex, SearchTool, split_passages, write_index

ROWS = [
    ("http://a.example/1", "Mira Ashwick was born in Fenford. She plays the harp."),
    ("http://a.example/2", "Toven Belbrook was born in Fenford."),
    ("http://b.example/3", "The café of Élodie is closed on Mondays."),
    ("http://b.example/4", "Fenford lies on the river Anner. Fenford, Fenford."),
]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    path = tmp_path_factory.mktemp("index") / "index.sqlite"
    assert write_index(path, ROWS) == len(ROWS)
    return SearchIndex(path)


def test_match_all_needs_every_word_in_a_passage(index):
    assert [passage.url for passage in index.search("Mira Ashwick")] == [ROWS[0][0]]
    assert index.search("Mira Belbrook") == []


def test_match_any_needs_one_word_in_a_passage(index):
    assert {passage.url for passage in index.search("Mira Belbrook", match="any")} == {ROWS[0][0], ROWS[1][0]}


def test_the_best_passage_comes_first(index):
    assert index.search("Fenford")[0].url == ROWS[3][0]


def test_case_and_accents_do_not_matter(index):
    assert index.search("ELODIE cafe")[0].url == ROWS[2][0]


def test_segments_find_what_one_index_finds(tmp_path):
    """Scores differ, since each segment has its own counts of words; here no word is in two segments."""
    folder = tmp_path / "segments"
    folder.mkdir()
    for number in range(2):
        write_index(folder / f"index-{number:05d}.sqlite", ROWS[2 * number : 2 * number + 2])
    segments = SearchIndex(folder)
    for url, text in ROWS:
        assert segments.search(text)[0].url == url
    assert {passage.url for passage in segments.search("Fenford", 3)} == {ROWS[0][0], ROWS[1][0], ROWS[3][0]}
    assert len(segments.search("Fenford", 2)) == 2 and segments.search("Fenford Mondays") == []
    with pytest.raises(SearchError, match="no such file"):
        SearchIndex(tmp_path)


def test_the_number_of_results_is_limited(index):
    assert len(index.search("Fenford", 2)) == 2


@pytest.mark.parametrize(
    "query",
    [
        "",
        "  ",
        "?!",
        '"',
        "a AND",
        "NEAR(",
        "x*",
        "^",
        "url:a",
        "-born",
        "'; DROP TABLE passages; --",
        "\x00",
        "\ud800",
        "a" * 100_000,
    ],
)
def test_hostile_queries_are_no_error(index, query):
    assert isinstance(index.search(query), list)


@given(st.text(max_size=60))
def test_any_text_is_a_valid_query(index, query):
    assert isinstance(SearchTool(index)(query), str)


def test_results_have_the_form_that_the_model_reads(index):
    assert SearchTool(index, results=1)("Toven Belbrook") == f"{ROWS[1][1]} ({ROWS[1][0]})"
    assert SearchTool(index)("Nobody") == NOTHING_FOUND


def test_the_same_rows_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_index(tmp_path / name, ROWS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_missing_and_damaged_indexes_are_named(tmp_path):
    with pytest.raises(SearchError, match="no such file"):
        SearchIndex(tmp_path / "none")
    (tmp_path / "broken").write_bytes(b"no database" * 100)
    with pytest.raises(SearchError, match=r"^search index broken: "):  # without its folder, as clients see it
        SearchIndex(tmp_path / "broken").search("x")


@given(st.lists(st.text(alphabet="abc .!?\n", max_size=300), max_size=4).map("\n".join), st.integers(5, 80))
def test_passages_lose_no_word_and_keep_within_their_length(text, characters):
    passages = list(split_passages(text, characters))
    assert all(0 < len(passage) <= characters for passage in passages)
    assert "".join("".join(passages).split()) == "".join(text.split())


def test_long_paragraphs_are_cut_between_sentences():
    assert list(split_passages("One two three. Four five six. Seven.", 20)) == [
        "One two three.",
        "Four five six.",
        "Seven.",
    ]


def test_an_index_is_opened_in_a_folder_of_any_name(tmp_path):
    # SQLite's URIs (sqlite.org/uri.html) escape "?", "#" and "%" of a path.
    path = tmp_path / "a [b]" / "50%20? #1 {x}" / "index.sqlite"
    path.parent.mkdir(parents=True)
    write_index(path, ROWS)
    assert [passage.url for passage in SearchIndex(path).search("Ashwick")] == [ROWS[0][0]]
