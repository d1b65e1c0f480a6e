"""Small benchmarks of every format, in the columns that their authors publish."""

import json

from llm_assets.recipes import BenchmarkFile

ARC = [
    {
        "id": f"Mercury_{number}",
        "question": f"Which of these melts at {number} degrees?",
        "choices": {
            "text": ["ice", "iron", "a long winter"][: 2 + number % 2],
            "label": ["A", "B", "C"][: 2 + number % 2],
        },
        "answerKey": "AB"[number % 2],
    }
    for number in range(5)
]
MMLU = [
    {
        "question": f"How many bones has a hand with {number} rings?",
        "subject": ("anatomy", "high_school_physics")[number % 2],
        "choices": ["27", "26", "none", "206"],
        "answer": number % 4,
    }
    for number in range(6)
]
HELLASWAG = [
    {
        "ind": 100 + number,
        "activity_label": "Cooking",
        "ctx_a": f"A woman breaks {number} eggs [title] into a bowl.",
        "ctx_b": "she",
        "endings": ["stirs them.", "throws the bowl away.", "sings to the eggs.", "leaves for the sea."],
        "label": str(number % 4),
    }
    for number in range(4)
]
GSM8K = [
    {
        "question": f"Ann has {number} apples and buys 3 more. How many has she?",
        "answer": f"She has {number} + 3 = <<{number}+3={number + 3}>>{number + 3}.\n#### {number + 3}",
    }
    for number in range(4)
]
ROWS = {"arc": ARC, "mmlu": MMLU, "hellaswag": HELLASWAG, "gsm8k": GSM8K}


def write_rows(path, rows):
    """Write rows as JSONL; returns the path as text."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def benchmark_files(folder, shots=1):
    """A file of each format, named `own_<format>`; examples are shown before the questions of mmlu and gsm8k."""
    files = []
    for kind, rows in ROWS.items():
        path = write_rows(folder / f"{kind}.jsonl", rows)
        shown = {"examples": path, "shots": shots} if kind in ("mmlu", "gsm8k") else {}
        files.append(BenchmarkFile(name=f"own_{kind}", path=path, format=kind, **shown))
    return tuple(files)
