"""Suffix arrays: sorted, the same from any blocks, and broken files named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.tracing.suffix_array import Segment, SegmentError, sorted_suffixes, write_segment


@given(st.lists(st.sampled_from([0, 1, 255, 256, 65_535]), min_size=1, max_size=60), st.sampled_from([2, 4]))
def test_suffixes_are_in_the_order_of_their_tokens(tokens, width):
    positions = sorted_suffixes(np.array(tokens, f">u{width}"))
    assert positions.tolist() == sorted(range(len(tokens)), key=lambda place: tokens[place:])


def test_a_segment_depends_on_its_tokens_alone(tmp_path):
    tokens = np.random.default_rng(0).integers(0, 5, 1000)
    for name, pieces in (("a", 1), ("b", 7)):
        write_segment(tmp_path, name, np.array_split(tokens, pieces), 1000, 2)
    for ending in ("-tokens.npy", "-suffixes.npy"):
        assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()


@pytest.mark.parametrize("ending", ["-tokens.npy", "-suffixes.npy"])
def test_a_missing_or_cut_file_is_named(tmp_path, ending):
    write_segment(tmp_path, "a", [np.arange(10)], 10, 2)
    (tmp_path / f"a{ending}").write_bytes((tmp_path / f"a{ending}").read_bytes()[:20])
    with pytest.raises(SegmentError, match=f"a{ending}.*rebuild trace_index"):
        Segment(tmp_path, "a")
    (tmp_path / f"a{ending}").unlink()
    with pytest.raises(SegmentError, match=f"a{ending}"):
        Segment(tmp_path, "a")


def test_files_that_do_not_fit_each_other_are_refused(tmp_path):
    write_segment(tmp_path, "a", [np.arange(10)], 10, 2)
    np.save(tmp_path / "a-suffixes.npy", np.arange(9, dtype=np.uint32))
    with pytest.raises(SegmentError, match="9 suffixes of 10 tokens"):
        Segment(tmp_path, "a")
