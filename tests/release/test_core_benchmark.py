"""DCLM's CORE: items have the prompts of its evaluation, and the scores are those of the model's own losses."""

import pytest
import torch

from llm_assets.model.shape import ModelShape
from llm_assets.release.benchmark_files import BenchmarkError
from llm_assets.release.core_benchmark import CoreTask, core_files, prompts_of, read_core, scored_parts
from tests.support.benchmark_files import write_rows
from tests.support.tiny_models import ENCODING, random_model

YAML = """icl_tasks:
- label: choose
  icl_task_type: multiple_choice
  dataset_uri: some/choose.jsonl
  num_fewshot: [1]
  continuation_delimiter: "\\nAnswer: "
- label: refer
  icl_task_type: schema
  dataset_uri: refer.jsonl
  num_fewshot: [0]
- label: continue
  icl_task_type: language_modeling
  dataset_uri: continue.jsonl
  num_fewshot: [2]
"""
ITEMS = {
    "some/choose": [
        {"query": f"Town {number} lies", "choices": ["by the sea", "in the hills", "far away"], "gold": number % 3}
        for number in range(5)
    ],
    "refer": [
        {
            "context_options": [f"Ann thanked Bob for {number}", "Ann thanked Cid"],
            "continuation": "who left.",
            "gold": 1,
        }
        for number in range(4)
    ],
    "continue": [{"context": f"One, two, {number} ", "continuation": "three."} for number in range(4)],
}


def write_core(folder, text=YAML, items=ITEMS, baselines="choose,33.3\nrefer,50\ncontinue,0\n"):
    (folder / "eval_data" / "some").mkdir(parents=True, exist_ok=True)
    (folder / "core.yaml").write_text(text)
    (folder / "eval_meta_data.csv").write_text(f"Eval Task,Random baseline\n{baselines}")
    for name, rows in items.items():
        write_rows(folder / "eval_data" / f"{name}.jsonl", rows)
    return folder


def test_tasks_are_read_with_their_items_shots_and_baselines(tmp_path):
    tasks = read_core(write_core(tmp_path))
    assert [(task.name, task.shots, task.delimiter) for task in tasks] == [
        ("core_choose", 1, "\nAnswer: "),
        ("core_refer", 0, " "),
        ("core_continue", 2, " "),
    ]
    assert [task.baseline for task in tasks] == pytest.approx([0.333, 0.5, 0.0])
    assert sorted(item["context"] for item in tasks[2].items) == [item["context"] for item in ITEMS["continue"]]
    assert set(core_files(tmp_path)) == {
        *("core.yaml", "eval_meta_data.csv", "some/choose.jsonl", "refer.jsonl", "continue.jsonl")
    }


def test_prompts_show_examples_and_options():
    items = ITEMS["some/choose"][:2]  # of two items, the example is the other one
    task = CoreTask("choose", "multiple_choice", 1, "\nAnswer: ", 0.3, items)
    assert prompts_of(task, 0, items)[1] == ("Town 1 lies\nAnswer: in the hills\n\nTown 0 lies\nAnswer: in the hills")
    items = ITEMS["refer"][:1]
    task = CoreTask("refer", "schema", 0, " ", 0.5, items)
    assert prompts_of(task, 0, items) == ["Ann thanked Bob for 0 who left.", "Ann thanked Cid who left."]
    items = ITEMS["continue"][:2]
    task = CoreTask("continue", "language_modeling", 1, " ", 0.0, items)
    assert prompts_of(task, 1, items) == [
        "One, two, 0 three.\n\nOne, two, 1",
        "One, two, 0 three.\n\nOne, two, 1 three.",
    ]


@pytest.mark.parametrize(
    ("kind", "sequences", "parts"),
    [
        ("multiple_choice", [[0, 1, 2, 3], [0, 1, 4]], [([0, 1], [2, 3]), ([0, 1], [4])]),
        ("multiple_choice", [[0, 1, 2], [0, 1, 2, 3]], [([0, 1], [2]), ([0, 1], [2, 3])]),
        ("schema", [[0, 1, 5, 6], [0, 2, 3, 5, 6]], [([0, 1], [5, 6]), ([0, 2, 3], [5, 6])]),
        ("language_modeling", [[0, 1], [0, 1, 2, 3]], [([0, 1], [2, 3])]),
        ("language_modeling", [[0, 1, 7], [0, 1, 2]], [([0, 1], [2])]),
    ],
)
def test_what_options_do_not_share_is_scored(kind, sequences, parts):
    assert list(scored_parts(kind, sequences)) == parts


def test_scores_are_those_of_the_models_own_losses(tmp_path):
    pytest.importorskip("lm_eval", reason="lm-eval is not installed (extra benchmarks)")
    from llm_assets.model.sampling import Engine
    from llm_assets.release.benchmark_model import EngineModel, exported_tokenizer
    from llm_assets.release.core_evaluation import ask_core, described_core

    model = random_model(ModelShape.of_depth(1, 500, 128, width=32))
    tokenizer = exported_tokenizer(ENCODING, 128, False, tmp_path / "tokenizer")
    tasks = read_core(write_core(tmp_path))
    figures, items = ask_core(EngineModel(Engine(model, ENCODING), tokenizer, False, seed=1), tasks, None)
    rows = {(row["task"], row["item"]): row for row in items}
    for task in tasks:
        for place, item in enumerate(task.items):
            sequences = [ENCODING.document(text) for text in prompts_of(task, place, task.items)]
            losses, hits = [], []
            for before, rest in scored_parts(task.kind, sequences):
                with torch.no_grad():
                    logits = model(torch.tensor([[*before, *rest]]))[0, len(before) - 1 : -1]
                losses.append(float(torch.nn.functional.cross_entropy(logits, torch.tensor(rest))))
                hits.append(logits.argmax(-1).tolist() == rest)
            expected = hits[0] if task.kind == "language_modeling" else losses.index(min(losses)) == item["gold"]
            assert rows[task.name, place]["value"] == expected
    by_name = {(row["task"], row["metric"]): row["value"] for row in figures}
    centered = [(by_name[task.name, "acc"] - task.baseline) / (1 - task.baseline) for task in tasks]
    assert by_name["core", "centered"] == pytest.approx(sum(centered) / 3)
    assert described_core(tasks, 2)["core_refer"]["chance"] == 0.5


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"text": "tasks: []"}, "core.yaml: icl_tasks must be a list of tasks"),
        ({"text": YAML.replace("  dataset_uri: refer.jsonl\n", "")}, "core.yaml, task 2: no dataset_uri"),
        ({"text": YAML.replace("type: schema", "type: essay")}, "task 'refer': icl_task_type must be one of"),
        ({"text": YAML.replace("[0]", "0")}, "task 'refer': num_fewshot must be a list of a number"),
        ({"text": YAML.replace("[2]", "[4]")}, "task 'continue': 4 examples of 4 items"),
        ({"baselines": "choose,33\nrefer,50\n"}, "eval_meta_data.csv: no Random baseline of task 'continue'"),
        ({"baselines": "choose,half\n"}, "needs the columns Eval Task and Random baseline, a number in per cent"),
        ({"items": {"refer": [{"continuation": "x"}]}}, "refer.jsonl, row 1: context_options must be a list"),
        ({"items": {"continue": [{"context": 1, "continuation": "x"}]}}, "row 1: context must be text, and is 1"),
        (
            {"items": {"some/choose": [{**ITEMS["some/choose"][0], "gold": 3}]}},
            "row 1: gold is 3; it must be the place",
        ),
    ],
)
def test_a_folder_that_does_not_fit_is_an_error_that_names_file_and_field(tmp_path, change, problem):
    write_core(tmp_path)
    if "items" in change:
        write_core(tmp_path, items=change["items"])
    else:
        write_core(tmp_path, **change)
    with pytest.raises(BenchmarkError, match=problem):
        read_core(tmp_path)
