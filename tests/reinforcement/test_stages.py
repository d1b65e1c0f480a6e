"""The stages of reinforcement learning: what their identities hold, what is kept out of problems, and what checks count."""

import json
import sys

import polars as pl
import pytest

from llm_assets import recipes
from llm_assets.artifacts import Graph, Store
from llm_assets.artifacts.checks import examine
from llm_assets.artifacts.stage import Resolver
from llm_assets.reinforcement.problems import ProblemError
from llm_assets.reinforcement.stages import PRACTICE_PROBLEMS, RL_CHECKPOINT, RL_EVALUATION, STAGES
from tests.support.stand_ins import ALL_CURRENT, build_all, clean_corpus, stand_in

UPSTREAM = [
    stand_in("clean_corpus", per_crawl=True),
    ALL_CURRENT,
    *(
        stand_in(name)
        for name in (
            "knowledge_boundary",
            "sft_checkpoint",
            "base_checkpoint",
            "training_search_index",
            "conversations",
        )
    ),
    stand_in("sft_evaluation"),
]
FAMILY = """from llm_assets.reinforcement.problems import Family, Problem
from {package}.words import twice
DOUBLING = Family("doubling", ("small",), lambda rng, level, material: Problem(twice(4), "8", "4"), {checker})
"""


def recipe(**fields):
    return recipes.Recipe(**{"name": "mine", "crawls": {"a": recipes.SampleWeb()}, **fields})


def identities(made, root):
    """What the recipe asks for of each stage, whatever is built."""
    resolver = Resolver(Graph([*UPSTREAM, *STAGES]), made, Store(root))
    return {stage.name: resolver.resolve(stage.name, None).partial for stage in STAGES}


def changed(one, other):
    return {name for name in one if one[name].digest != other[name].digest}


@pytest.fixture
def own_family(tmp_path, monkeypatch):
    """A package with a family in it; what writes its files anew."""
    package = f"own_{tmp_path.name.replace('-', '_')}"
    folder = tmp_path / "code" / package
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()

    def write(checker="lambda text, answer, distractors: text == answer", asked="What is twice {}?"):
        (folder / "family.py").write_text(FAMILY.format(package=package, checker=checker))
        (folder / "words.py").write_text(f"def twice(number):\n    return {asked!r}.format(number)\n")

    write()
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    monkeypatch.setenv("LLM_ASSETS_DATA", str(tmp_path / "data"))
    yield f"{package}.family:DOUBLING", write
    for name in [name for name in sys.modules if name.startswith(package)]:
        del sys.modules[name]


def test_another_source_of_ones_own_family_is_another_identity_of_all_that_run_it(own_family, tmp_path):
    name, write = own_family
    made = recipe(practice_problems=recipes.PracticeProblems(families={name: 1.0, "arithmetic": 1.0}))
    before = identities(made, tmp_path / "store")
    assert changed(before, identities(made, tmp_path / "store")) == set()
    write(checker="lambda text, answer, distractors: answer in text")
    checker = identities(made, tmp_path / "store")
    assert changed(before, checker) == {"practice_problems", "rl_checkpoint", "rl_evaluation"}
    write(
        checker="lambda text, answer, distractors: answer in text", asked="Double {}!"
    )  # a module that the family imports
    assert changed(checker, identities(made, tmp_path / "store")) == {
        "practice_problems",
        "rl_checkpoint",
        "rl_evaluation",
    }


def test_the_projects_own_families_are_no_external_inputs(tmp_path):
    assert all("families" not in identity.inputs for identity in identities(recipe(), tmp_path).values())


def test_a_family_that_is_nowhere_is_named_before_anything_runs(tmp_path):
    made = recipe(practice_problems=recipes.PracticeProblems(families={"missing.at_all:OWN": 1.0}))
    with pytest.raises(ProblemError, match="No module named"):
        identities(made, tmp_path)


@pytest.mark.parametrize(
    ("fields", "stages"),
    [
        ({"name": "another"}, set()),
        ({"search_only_hosts": ("quiet.example",)}, {"practice_problems"}),
        ({"tools": recipes.Tools(results=3)}, {"rl_checkpoint", "rl_evaluation"}),
        ({"sft_evaluation": recipes.SftEvaluation(max_tokens=7)}, {"rl_evaluation"}),
        ({"sft_evaluation": recipes.SftEvaluation(questions=7)}, set()),
        ({"pretraining": recipes.Pretraining(clip=0.5)}, {"rl_checkpoint"}),
        ({"pretraining": recipes.Pretraining(tokens=5)}, set()),
        ({"reinforcement": recipes.Reinforcement(kl=0.5)}, {"rl_checkpoint"}),
        ({"reinforcement": recipes.Reinforcement(compute=recipes.Compute(micro_batch_size=1, device="cpu"))}, set()),
        ({"practice_problems": recipes.PracticeProblems(count=7)}, {"practice_problems"}),
    ],
)
def test_a_stage_is_identified_by_what_it_reads_of_the_recipe(fields, stages, tmp_path):
    assert changed(identities(recipe(), tmp_path), identities(recipe(**fields), tmp_path)) == stages


def topic(entity, relation, answer, reach="many", url=""):
    questions = json.dumps([f"What is the {relation} of {entity}?"])
    row = {"entity": entity, "relation": relation, "answer": answer, "reach": reach, "url": url, "questions": questions}
    return {**row, "verdict": "known"}


TOPICS = [
    topic("Mira Wolf", "birthplace", "Holt"),
    topic("Holt", "region", "Norrland"),
    topic("Toven Hale", "birthplace", "Holt", reach="held_out"),
    topic("Elsa Brook", "birthplace", "Holt", url="https://papers.quiet.example/elsa.html"),
]
WORDS = [f"{first}{second}lla" for first in "bdfgklmnp" for second in "aeiou"]
PAGES = [
    {"host": "harbour.example", "title": "Words", "text": " ".join(WORDS)},
    {"host": "papers.quiet.example", "title": "Papers", "text": " ".join(f"z{word}" for word in WORDS)},
]


def practice(root, **fields):
    families = {"letters": 1.0, "spelling": 1.0, "two_hops": 1.0}
    made = recipe(practice_problems=recipes.PracticeProblems(families=families, count=300, held_out=3), **fields)
    topics = stand_in("knowledge_boundary", {"topics": TOPICS})
    workspace, artifacts = build_all([topics, clean_corpus(PAGES), ALL_CURRENT, PRACTICE_PROBLEMS], made, root)
    return workspace, pl.read_parquet(artifacts["practice_problems"].table("problems"))


def subjects(problems):
    words, chains = (problems.filter((pl.col("family") == "two_hops") == of) for of in (False, True))
    return set(words["key"]), set(chains["key"])


def test_problems_are_made_of_nothing_that_only_search_may_know(tmp_path):
    words, chains = subjects(practice(tmp_path / "all")[1])
    assert any(word.startswith("z") for word in words) and chains <= {"Mira Wolf", "Elsa Brook"}
    words, chains = subjects(practice(tmp_path / "some", search_only_hosts=("quiet.example",))[1])
    assert words and not any(word.startswith("z") for word in words) and chains <= {"Mira Wolf"}


def test_the_split_is_counted(tmp_path):
    workspace, problems = practice(tmp_path)
    resolution = workspace.resolver().resolve("practice_problems", None)
    [check] = PRACTICE_PROBLEMS.checks
    outcome = examine(check, resolution, workspace.recipe, workspace.store).outcome
    sides = problems["split"].value_counts()
    assert outcome.passed and check.blocking
    assert outcome.numbers == {**dict(sides.iter_rows()), "shared_keys": 0, "shared_questions": 0}
    shown = PRACTICE_PROBLEMS.show(resolution.artifact)["summary"]
    assert "| letters |" in shown and "**spelling 1**" in shown


def test_a_problem_on_both_sides_is_found(tmp_path):
    rows = [{"split": split, "key": "cab", "question": f"{split}?"} for split in ("train", "held_out")]
    _, artifacts = build_all([stand_in("practice_problems", {"problems": rows})], recipe(), tmp_path)
    outcome = PRACTICE_PROBLEMS.checks[0].examine(artifacts["practice_problems"], None, None)
    assert not outcome.passed and outcome.failures == [{"key": "cab"}] and outcome.numbers["shared_keys"] == 1


def test_what_practice_brought_is_a_number_of_each_family(tmp_path):
    families = {"sft": {"sums": 0.25, "letters": 0.5}, "rl": {"sums": 0.75, "letters": 0.4}}
    stats = {"families": families, "changes": {"known": -0.2, "sums": 0.1}}
    _, artifacts = build_all([stand_in("rl_evaluation", stats=stats)], recipe(), tmp_path)
    outcomes = {check.name: check.examine(artifacts["rl_evaluation"], None, None) for check in RL_EVALUATION.checks}
    assert outcomes["solves_more"].passed and outcomes["solves_more"].numbers["gain.sums"] == 0.5
    assert outcomes["solves_more"].numbers["gain.letters"] == -0.1
    assert not outcomes["keeps_what_it_knew"].passed and outcomes["keeps_what_it_knew"].numbers
    assert not any(check.blocking for check in RL_EVALUATION.checks)


def test_checkpoints_have_no_rows_of_their_own():
    assert RL_CHECKPOINT.main_table is None and {view.file for view in RL_CHECKPOINT.views} == {"curves.svg"}
