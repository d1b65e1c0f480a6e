"""Benchmarks in local files, in the columns of the datasets that their authors publish on the hub."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llm_assets.recipes.benchmarks import BenchmarkFile
from llm_assets.row_files import RowFileError, read_rows, shown_fields

Row = dict[str, Any]
_GSM8K_ANSWER = re.compile(r"#### -?[\d.,]+\s*\Z")


class BenchmarkError(ValueError):
    """A benchmark that cannot be asked; the message names the file, or the setting, and the field."""


def read_benchmark(file: BenchmarkFile) -> tuple[list[Row], list[Row]]:
    """The questions of a file, and the examples of its other file, in the columns that the harness reads.

    Raises BenchmarkError for the first row that does not fit, and for examples that are wanted and not there.
    """
    place = f"benchmarks.files {file.name!r}"
    shots = DEFAULT_SHOTS[file.format] if file.shots is None else file.shots
    if shots and file.examples is None:
        raise BenchmarkError(
            f"{place}: {shots} examples are shown before each question, but `examples` names no file; name one, such "
            "as the training split, or set shots=0"
        )
    rows = _read(file, file.path, place)
    examples = _read(file, file.examples, place) if file.examples is not None else []
    if len(examples) < shots and file.format != "mmlu":  # whose examples are counted by subject
        raise BenchmarkError(f"{place}: {shots} examples are wanted, but {file.examples} has {len(examples)}")
    if file.format == "mmlu" and shots:
        _check_subjects(rows, examples, shots, f"{place}: {file.examples}")
    return rows, examples


def _read(file: BenchmarkFile, name: str, place: str) -> list[Row]:
    columns, read_row = FORMATS[file.format]
    rows: list[Row] = []
    try:
        for row in read_rows(Path(name).expanduser(), (*columns, *ROW_NAMES.values())):
            where = f"{place}: {name}, row {row.number}"
            if row.problem:
                raise BenchmarkError(f"{where}: {row.problem}")
            if not isinstance(row.value, Mapping):
                raise BenchmarkError(f"{where}: a {type(row.value).__name__}, not an object")
            missing = [column for column in columns if row.value.get(column) is None]
            if missing:
                raise BenchmarkError(
                    f"{where}: no {', '.join(missing)}; the format {file.format} has the columns "
                    f"{', '.join(columns)}, and this row has {shown_fields(row.value)}"
                )
            try:
                rows.append(read_row(row.value))
            except _FieldError as error:
                raise BenchmarkError(f"{where}: {error}") from None
    except RowFileError as error:
        raise BenchmarkError(f"{place}: {error}") from error
    if not rows:
        raise BenchmarkError(f"{place}: {name} has no rows")
    return rows


class _FieldError(ValueError):
    """A field that does not fit; the message begins with its name."""


def _text(row: Mapping[str, Any], name: str, may_be_empty: bool = False) -> str:
    value = row[name]
    if not isinstance(value, str) or not (value.strip() or may_be_empty):
        raise _FieldError(f"{name} is {value!r}; it must be text")
    return value


def _texts(value: Any, name: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) and text.strip() for text in value):
        raise _FieldError(f"{name} must be a list of texts, and is {value!r}")
    return value


def _four(row: Mapping[str, Any], name: str) -> list[str]:
    options = _texts(row[name], name)
    if len(options) != 4:
        raise _FieldError(f"{name} has {len(options)} options; the format has 4")
    return options


def _arc(row: Mapping[str, Any]) -> Row:
    choices = row["choices"]
    if not isinstance(choices, Mapping) or not {"text", "label"} <= choices.keys():
        raise _FieldError(f"choices must be an object with text and label, and is {choices!r}")
    texts, labels = _texts(choices["text"], "choices.text"), _texts(choices["label"], "choices.label")
    if len(texts) != len(labels) or len(texts) < 2:
        raise _FieldError(f"choices has {len(texts)} texts and {len(labels)} labels; it must have as many, at least 2")
    answer = _text(row, "answerKey")
    if answer not in labels:
        raise _FieldError(f"answerKey is {answer!r}; the labels are {', '.join(labels)}")
    return {
        "id": str(row.get("id") or ""),
        "question": _text(row, "question"),
        "choices": {"text": texts, "label": labels},
        "answerKey": answer,
    }


def _mmlu(row: Mapping[str, Any]) -> Row:
    choices, answer = _four(row, "choices"), row["answer"]
    if type(answer) is not int or not 0 <= answer < len(choices):
        raise _FieldError(f"answer is {answer!r}; it must be the place of the right choice, 0 to 3")
    subject = _text(row, "subject")
    if not re.fullmatch(r"\w+", subject):
        raise _FieldError(f"subject is {subject!r}; it must be a name such as high_school_physics")
    return {"question": _text(row, "question"), "subject": subject, "choices": choices, "answer": answer}


def _hellaswag(row: Mapping[str, Any]) -> Row:
    endings, label = _four(row, "endings"), str(row["label"])
    if label not in ("0", "1", "2", "3"):
        empty = "; the published test split has no labels, take the validation split" if not label.strip() else ""
        raise _FieldError(f"label is {label!r}; it must be the place of the right ending, 0 to 3{empty}")
    return {
        "ind": str(row.get("ind", "")),
        "activity_label": _text(row, "activity_label"),
        "ctx_a": _text(row, "ctx_a", may_be_empty=True),
        "ctx_b": _text(row, "ctx_b", may_be_empty=True),
        "endings": endings,
        "label": label,
    }


def _gsm8k(row: Mapping[str, Any]) -> Row:
    answer = _text(row, "answer")
    if not _GSM8K_ANSWER.search(answer):
        raise _FieldError(f"answer ends with {answer[-20:]!r}; it must end with #### and a number")
    return {"question": _text(row, "question"), "answer": answer}


# The columns of each format, and what makes a row of the harness's out of one of the file.
FORMATS: dict[str, tuple[tuple[str, ...], Callable[[Mapping[str, Any]], Row]]] = {
    "arc": (("question", "choices", "answerKey"), _arc),
    "mmlu": (("question", "subject", "choices", "answer"), _mmlu),
    "hellaswag": (("activity_label", "ctx_a", "ctx_b", "endings", "label"), _hellaswag),
    "gsm8k": (("question", "answer"), _gsm8k),
}
ROW_NAMES = {"arc": "id", "hellaswag": "ind"}  # columns that name a row, if they are there
# Examples that the harness shows by itself; lm-eval 0.4.13, `num_fewshot` of the tasks arc_easy, hellaswag, mmlu, gsm8k
# (none is 0).
DEFAULT_SHOTS = {"arc": 0, "mmlu": 0, "hellaswag": 0, "gsm8k": 5}


def _check_subjects(rows: list[Row], examples: list[Row], shots: int, where: str) -> None:
    for subject in dict.fromkeys(row["subject"] for row in rows):
        count = sum(example["subject"] == subject for example in examples)
        if count < shots:
            raise BenchmarkError(f"{where}: {shots} examples are wanted, but it has {count} of subject {subject!r}")
