"""Local benchmark files: published columns are read; what does not fit is one error that names file and field."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.evaluation.figures import MODELS
from llm_assets.recipes import BenchmarkFile, Benchmarks, BenchmarkTask
from llm_assets.recipes.benchmarks import BenchmarkedModel
from llm_assets.release.benchmark_files import FORMATS, BenchmarkError, read_benchmark
from tests.support.benchmark_files import ARC, GSM8K, HELLASWAG, MMLU, ROWS, write_rows


def file_of(folder, kind, rows, **fields):
    return BenchmarkFile(name="own", path=write_rows(folder / "rows.jsonl", rows), format=kind, **fields)


def problem_of(file):
    with pytest.raises(BenchmarkError) as raised:
        read_benchmark(file)
    return str(raised.value)


@pytest.mark.parametrize("kind", FORMATS)
def test_rows_are_the_same_from_jsonl_and_parquet(tmp_path, kind):
    pl.DataFrame(ROWS[kind]).write_parquet(tmp_path / "rows.parquet")
    from_json = read_benchmark(file_of(tmp_path, kind, ROWS[kind], shots=0))
    from_parquet = read_benchmark(BenchmarkFile(name="own", path="rows.parquet", format=kind, shots=0))
    assert from_json == from_parquet and len(from_json[0]) == len(ROWS[kind])


@pytest.mark.parametrize(
    ("kind", "row", "change", "problem"),
    [
        ("arc", ARC[0], {"answerKey": None}, "no answerKey; the format arc has the columns question, choices"),
        ("arc", ARC[0], {"answerKey": "D"}, "answerKey is 'D'; the labels are A, B"),
        ("arc", ARC[0], {"choices": {"text": ["ice"], "label": ["A"]}}, "choices has 1 texts and 1 labels"),
        ("arc", ARC[0], {"choices": ["ice", "iron"]}, "choices must be an object with text and label"),
        ("arc", ARC[0], {"question": {"stem": "Which?"}}, "question is .*; it must be text"),
        ("mmlu", MMLU[0], {"choices": ["a", "b", "c"]}, "choices has 3 options; the format has 4"),
        ("mmlu", MMLU[0], {"answer": "A"}, "answer is 'A'; it must be the place of the right choice, 0 to 3"),
        ("mmlu", MMLU[0], {"answer": True}, "answer is True"),
        ("mmlu", MMLU[0], {"subject": "a/b"}, "subject is 'a/b'; it must be a name"),
        ("hellaswag", HELLASWAG[0], {"label": ""}, "label is ''; .* the published test split has no labels"),
        ("hellaswag", HELLASWAG[0], {"endings": "one"}, "endings must be a list of texts"),
        ("gsm8k", GSM8K[0], {"answer": "It is 7."}, "answer ends with 'It is 7.'; it must end with #### and a number"),
    ],
)
def test_a_field_that_does_not_fit_is_named_with_file_and_row(tmp_path, kind, row, change, problem):
    file = file_of(tmp_path, kind, [row, {**row, **change}], shots=0)
    with pytest.raises(BenchmarkError, match=rf"benchmarks.files 'own': .*rows.jsonl, row 2: {problem}"):
        read_benchmark(file)


def test_files_without_rows_or_examples_are_errors(tmp_path):
    assert problem_of(file_of(tmp_path, "arc", [])).endswith("rows.jsonl has no rows")
    missing = BenchmarkFile(name="own", path=str(tmp_path / "none.jsonl"), format="arc")
    assert problem_of(missing) == f"benchmarks.files 'own': {tmp_path}/none.jsonl: no such file"
    (tmp_path / "broken.jsonl").write_text("{")
    assert "row 1: not JSON" in problem_of(BenchmarkFile(name="own", path="broken.jsonl", format="arc"))
    assert "5 examples are shown before each question, but `examples` names no file" in problem_of(
        file_of(tmp_path, "gsm8k", GSM8K)
    )
    examples = write_rows(tmp_path / "more.jsonl", GSM8K[:1])
    assert "5 examples are wanted, but" in problem_of(file_of(tmp_path, "gsm8k", GSM8K, examples=examples))
    examples = write_rows(tmp_path / "more.jsonl", MMLU[:1])
    assert "1 examples are wanted, but it has 0 of subject 'high_school_physics'" in problem_of(
        file_of(tmp_path, "mmlu", MMLU, examples=examples, shots=1)
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(["text", "label", "x"]), inner),
    max_leaves=4,
)


@given(kind=st.sampled_from(sorted(FORMATS)), value=json_values, data=st.data())
def test_any_value_of_a_column_is_read_or_named(tmp_path_factory, kind, value, data):
    column = data.draw(st.sampled_from(FORMATS[kind][0]))
    file = file_of(tmp_path_factory.getbasetemp(), kind, [{**ROWS[kind][0], column: value}], shots=0)
    try:
        [row], _ = read_benchmark(file)
    except BenchmarkError as error:
        assert column in str(error) and file.path in str(error)
    else:
        assert set(FORMATS[kind][0]) <= row.keys()


def test_a_recipe_names_every_benchmark_and_model_once():
    tasks = (BenchmarkTask(name="hellaswag"),)
    for fields, problem in (
        ({}, "name at least one benchmark"),
        ({"tasks": tasks * 2}, "two benchmarks are named 'hellaswag'"),
        ({"tasks": tasks, "models": ("sft", "sft")}, "a checkpoint is named twice"),
        ({"tasks": tasks, "models": ("gold",)}, "Input should be 'base'"),
    ):
        with pytest.raises(ValueError, match=problem):
            Benchmarks(**fields)
    assert BenchmarkedModel.__args__ == tuple(MODELS)
