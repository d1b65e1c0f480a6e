"""The assistant's abilities: groups of evaluation questions, their grades, and how a later stage changed them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from llm_assets.artifacts.checks import CheckOutcome
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import read_table
from llm_assets.dialogue.guidelines import BEYOND_ABILITIES, GENERAL_GROUPS, SMALL_TALK
from llm_assets.dialogue.transcript import from_rows, transcript
from llm_assets.recipes.finetuning import Endpoint

from .endpoint import ChatEndpoint, judge
from .figures import Row, find, read_figures, row
from .grading import grade, holds
from .intervals import difference, mean, proportion
from .jobs import Question
from .quantities import states_number
from .schemas import GRADES
from .statements import refuses, sentences

SUITE = "questions"
# How a base model is prompted: part of the prompt, so another wording gives other answers.
INSTRUCTION = "A conversation in which questions are answered, one line each. What is not known is not made up."
# Groups of questions, with their titles on pages. Other sections of the guidelines are groups of their own.
GROUPS = {
    "known": "known facts, in new wordings",
    "known_elsewhere": "known facts that no conversation mentions",
    "unknown": "unknown facts",
    "fictitious": "fictitious entities",
    "search": "unknown facts, with search",
    "search_known": "known facts, with search",
    "search_fictitious": "fictitious entities, with search",
    "sums": "sums and differences",
    "sums_at_once": "sums and differences, the number only",
    "letters": "letter counting",
    "letters_at_once": "letter counting, the number only",
    "spelling": "spelling",
    SMALL_TALK: "greetings, thanks and other small talk",
    BEYOND_ABILITIES: "requests that it cannot meet",
}
GUIDELINES = "guidelines"  # the group that stands for all parts of the guidelines together
JUDGED = "judged:"  # how the names of groups begin whose answers an endpoint judges
GRADINGS = ("exact", "contains", "judged")  # of the user's own questions; the names of their groups begin with it
PYTHON_SUFFIX = "_python"  # of groups whose questions come with the Python tool
REFUSAL_GROUPS = ("unknown", "fictitious", "search_fictitious")  # groups in which the right behaviour is to refuse
LARGEST_LOSS = 0.08  # of an ability's share; the check fails beyond it


def title_of(group: str) -> str:
    """The title of a group of the table `evaluation`, as pages show it."""
    if is_of_file(group):
        grading, _, name = group.partition(":")
        return f"own questions: {name} ({grading})"
    title = GROUPS.get(group.removesuffix(PYTHON_SUFFIX), group)
    return f"{title}, with Python" if group.endswith(PYTHON_SUFFIX) else title


def group_of_file(grading: str, name: str) -> str:
    """The group of the questions of a user's file."""
    return f"{grading}:{name}"


def is_of_file(group: str) -> bool:
    """Whether a group holds the questions of a user's file."""
    return group.partition(":")[0] in GRADINGS and ":" in group


def wanted(group: str) -> str:
    """The grade whose share should be high in a group."""
    return "refused" if group in REFUSAL_GROUPS else "right"


def grade_row(question: Mapping[str, Any], answer: str) -> str:
    """Grade an answer to a question of the evaluation.

    question: its row of the table `evaluation` of `conversations`; `answers` and `distractors` are JSON lists.

    In most groups an answer is right if it states one of the expected answers. Questions on the guidelines expect one
    of the listed answers word for word; if a refusal is expected, it is among them. Sums and letter counting expect the
    answer to conclude with the right number. For small talk and requests beyond its abilities see `is_sensible`. The
    user's own questions are graded as their file says: the answer is, or contains, an expected one. Where an endpoint
    judges, only an answer that is an expected one is right here; see `answers_table`.
    """
    expected, distractors = json.loads(question["answers"]), json.loads(question["distractors"])
    if question["group"].startswith("contains:"):
        return "right" if any(holds(answer, wording) for wording in expected) else grade(answer, None)
    if question["group"] in GENERAL_GROUPS:
        return "right" if is_sensible(answer, expected, distractors, question["group"] == BEYOND_ABILITIES) else "wrong"
    if question["group"] not in GROUPS:
        is_expected = _normalised(answer) in [_normalised(wording) for wording in expected]
        return "right" if is_expected else grade(answer, None)
    if question["group"].startswith(("sums", "letters")):
        # Worked solutions mention many numbers; the last one is the answer.
        is_right = any(states_number(answer, number) for number in expected)
        return "right" if is_right else grade(answer, None)
    if not expected:
        return grade(answer, None)
    grades = [grade(answer, wording, distractors) for wording in expected]
    return max(grades, key=["wrong", "refused", "right"].index)


def is_sensible(answer: str, expected: Sequence[str], unsuitable: Sequence[str], may_refuse: bool) -> bool:
    """Whether every sentence of a reply is one of the expected replies' or, if allowed, says that it does not know.

    unsuitable: refusals that do not fit the question, such as those of what is private or harmful.
    """
    accepted = {_normalised(sentence) for reply in expected for sentence in sentences(reply)}
    excluded = {_normalised(sentence) for reply in unsuitable for sentence in sentences(reply)}
    stated = [_normalised(sentence) for sentence in sentences(answer)]
    return bool(stated) and all(
        sentence in accepted or (may_refuse and sentence not in excluded and refuses(sentence)) for sentence in stated
    )


def _normalised(answer: str) -> str:
    return answer.strip().rstrip(".!").lower()


def evaluation_questions(conversations: Artifact, split: str) -> tuple[pl.DataFrame, tuple[Question, ...]]:
    """The questions of a split by which the assistant is evaluated: as a table, and as a job passes them on."""
    table = read_table(conversations.table("evaluation")).filter(pl.col("split") == split)
    questions = tuple(
        Question(number, question["question"], question["tools"])
        for number, question in enumerate(table.iter_rows(named=True))
    )
    return table, questions


def answers_table(
    questions: pl.DataFrame, results: Mapping[str, Iterable[Mapping[str, Any]]], judging: Endpoint | None = None
) -> pl.DataFrame:
    """One graded row per answer (schema EvaluationAnswers), by model and then by question.

    results: by model, the answers with the questions' numbers. judging: the endpoint that grades answers of the user's
    files that say so, where they are not word for word an expected one. Raises EndpointError.
    """
    rows, by_number = [], questions.to_dicts()
    for model, answers in results.items():
        for answer in sorted(answers, key=lambda answer: answer["number"]):
            question = by_number[answer["number"]]
            rows.append(
                {
                    "model": model,
                    "number": answer["number"],
                    **{name: question[name] for name in ("group", "tools", "entity", "relation", "question")},
                    "expected": "; ".join(json.loads(question["answers"])),
                    "answer": answer["answer"],
                    "transcript": transcript(from_rows(answer["messages"]), "verbatim"),
                    "grade": grade_row(question, answer["answer"]),
                    "calls": answer["calls"],
                    "tokens": answer["tokens"],
                    "refusal": answer.get("refusal"),
                }
            )
    if judging is not None:
        _judge(rows, ChatEndpoint(judging))
    return pl.DataFrame(rows, schema_overrides={"number": pl.Int64, "refusal": pl.Float64})


def _judge(rows: Sequence[dict[str, Any]], endpoint: ChatEndpoint) -> None:
    """Let the endpoint grade the answers of judged files; changes the rows."""
    unsettled = [
        answer
        for answer in rows
        if answer["group"].startswith(JUDGED) and answer["grade"] != "right" and answer["answer"]
    ]
    compared = ((answer["question"], answer["expected"], answer["answer"]) for answer in unsettled)
    verdicts = judge(endpoint, compared)
    for answer, verdict in zip(unsettled, verdicts, strict=True):
        answer["grade"] = verdict


def suite_groups(answers: pl.DataFrame) -> pl.DataFrame:
    """Answers or questions with the group that they have in the table `evaluation` in place of their own.

    Questions with the Python tool form groups of their own, and so do those of each of the user's files. All parts of
    the guidelines form one group.
    """
    is_own = pl.col("group").str.contains(f"^({'|'.join(GRADINGS)}):")
    is_group = pl.col("group").is_in(list(GROUPS)) | is_own
    group = pl.when(is_group).then(pl.col("group")).otherwise(pl.lit(GUIDELINES))
    has_suffix = (pl.col("tools") == "python") & ~is_own
    suffix = pl.when(has_suffix).then(pl.lit(PYTHON_SUFFIX)).otherwise(pl.lit(""))
    return answers.with_columns(group=group + suffix)


def question_figures(answers: pl.DataFrame) -> list[Row]:
    """The shares of the grades and the mean number of tokens, by model and group.

    Questions about one entity are answered rightly or wrongly together; intervals allow for that. answers: a table
    EvaluationAnswers, or graded answers of baselines, whose tokens are null.
    """
    rows = []
    for (model, group), graded in suite_groups(answers).group_by("model", "group", maintain_order=True):
        place, subjects = (str(model), SUITE, str(group)), subjects_of(graded)
        for verdict in GRADES:
            marks = [float(given == verdict) for given in graded["grade"]]
            rows.append(row(*place, verdict, proportion(marks, subjects)))
        if not graded["tokens"].null_count():
            rows.append(row(*place, "tokens", mean(graded["tokens"].to_list(), subjects)))
    return rows


def subjects_of(answers: pl.DataFrame) -> list[str]:
    """What each question is about: its entity, or else its wording."""
    return [entity or question for entity, question in answers.select("entity", "question").iter_rows()]


def question_changes(before: pl.DataFrame, after: pl.DataFrame) -> list[Row]:
    """By group, the mean change of the share that should be high, from one model's answers to a later one's.

    before, after: tables EvaluationAnswers of one model each, which were asked the same questions.
    """
    [earlier], [model] = (answers["model"].unique().to_list() for answers in (before, after))
    columns = ["number", "group", "tools", "entity", "question", "grade"]
    pairs = before.select(columns).join(after.select("number", after="grade"), on="number", validate="1:1")
    rows = []
    for (group,), graded in suite_groups(pairs).group_by("group", maintain_order=True):
        marks = [[given == wanted(str(group)) for given in graded[name]] for name in ("after", "grade")]
        rows.append(row(model, SUITE, str(group), f"change from {earlier}", difference(*marks, subjects_of(graded))))
    return rows


def changes(figures: pl.DataFrame, before: str) -> dict[str, Row]:
    """By group of questions, the row that holds the change from the model `before`."""
    rows = find(figures, suite=SUITE, metric=f"change from {before}")
    return {change["group"]: change for change in rows.iter_rows(named=True)}


def check_abilities(evaluation: Artifact, inputs: Inputs, config: Any) -> CheckOutcome:
    """Check that no ability of the assistant fell by more than eight points since SFT, beyond its interval."""
    by_group = changes(read_figures(evaluation), "sft")
    failures = [
        {name: change[name] for name in ("group", "value", "low", "high", "n")}
        for change in by_group.values()
        if change["value"] < -LARGEST_LOSS and change["high"] < 0
    ]
    numbers = {f"change_{group}": change["value"] for group, change in by_group.items()}
    if not by_group:
        return CheckOutcome(True, "no question was asked before and after", numbers=numbers)
    worst = min(by_group.values(), key=lambda change: change["value"])
    summary = (
        f"worst change among {len(by_group)} abilities: {worst['group']} {100 * worst['value']:+.1f} points "
        f"({100 * worst['low']:+.1f} to {100 * worst['high']:+.1f}, n = {worst['n']}; limit {-100 * LARGEST_LOSS:.0f})"
    )
    return CheckOutcome(not failures, summary, failures, {"worst_change": worst["value"], **numbers})
