"""The stages of reinforcement learning: their identities, what is kept out of problems, and the numbers of checks."""

import json
import sys
from types import SimpleNamespace

import polars as pl
import pytest

from llm_assets import recipes
from llm_assets.artifacts import Graph, Store
from llm_assets.artifacts.checks import examine
from llm_assets.artifacts.resolver import Resolver
from llm_assets.dialogue.splits import split_of
from llm_assets.evaluation.figures import figures_table, row
from llm_assets.evaluation.intervals import Estimate
from llm_assets.evaluation.problems import ProblemError
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
            "ablation_checkpoint",
            "base_checkpoint",
            "training_search_index",
            "conversations",
        )
    ),
    stand_in("sft_evaluation"),
]
FAMILY = """from llm_assets.evaluation.problems import Family, Problem
from {package}.words import twice
DOUBLING = Family("doubling", ("small",), lambda rng, level, material: Problem(twice(4), "8", "4"), {checker})
"""


def recipe(**fields):
    return recipes.Recipe(**{"name": "mine", "crawls": {"a": recipes.SampleWeb()}, **fields})


def identities(made_recipe, root):
    """The identity of each stage under a recipe, without building anything."""
    resolver = Resolver(Graph([*UPSTREAM, *STAGES]), made_recipe, Store(root))
    return {stage.name: resolver.resolve(stage.name, None).partial for stage in STAGES}


def changed_stages(before, after):
    return {name for name in before if before[name].digest != after[name].digest}


@pytest.fixture
def own_family(tmp_path, monkeypatch):
    """The name of a family in a package of the user, and a function that rewrites the files of the package."""
    package = f"own_{tmp_path.name.replace('-', '_')}"
    folder = tmp_path / "code" / package
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()

    def write(checker="lambda text, answer, distractors: text == answer", wording="What is twice {}?"):
        (folder / "family.py").write_text(FAMILY.format(package=package, checker=checker))
        (folder / "words.py").write_text(f"def twice(number):\n    return {wording!r}.format(number)\n")

    write()
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    monkeypatch.setenv("LLM_ASSETS_DATA", str(tmp_path / "data"))
    yield f"{package}.family:DOUBLING", write
    for name in [name for name in sys.modules if name.startswith(package)]:
        del sys.modules[name]


def test_changed_source_of_the_users_own_family_changes_the_identity_of_every_stage_that_runs_it(own_family, tmp_path):
    name, write = own_family
    with_family = recipe(practice_problems=recipes.PracticeProblems(families={name: 1.0, "arithmetic": 1.0}))
    all_stages = {"practice_problems", "rl_checkpoint", "rl_evaluation"}
    before = identities(with_family, tmp_path / "store")
    assert changed_stages(before, identities(with_family, tmp_path / "store")) == set()
    lenient_checker = "lambda text, answer, distractors: answer in text"
    write(checker=lenient_checker)
    after_checker = identities(with_family, tmp_path / "store")
    assert changed_stages(before, after_checker) == all_stages
    write(checker=lenient_checker, wording="Double {}!")  # in a module that the family imports
    assert changed_stages(after_checker, identities(with_family, tmp_path / "store")) == all_stages


def test_the_projects_own_families_are_not_external_inputs(tmp_path):
    assert all("families" not in identity.inputs for identity in identities(recipe(), tmp_path).values())


def test_a_missing_family_is_reported_before_anything_runs(tmp_path):
    with_missing_family = recipe(practice_problems=recipes.PracticeProblems(families={"missing.at_all:OWN": 1.0}))
    with pytest.raises(ProblemError, match="No module named"):
        identities(with_missing_family, tmp_path)


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
        ({"reinforcement": recipes.Reinforcement(rewards="shuffled")}, {"rl_checkpoint"}),
        ({"evaluation_split": "development"}, {"rl_evaluation"}),
        ({"reinforcement": recipes.Reinforcement(compute=recipes.Compute(micro_batch_size=1, device="cpu"))}, set()),
        ({"practice_problems": recipes.PracticeProblems(count=7)}, {"practice_problems"}),
    ],
)
def test_a_stages_identity_depends_only_on_the_recipe_fields_that_it_reads(fields, stages, tmp_path):
    assert changed_stages(identities(recipe(), tmp_path), identities(recipe(**fields), tmp_path)) == stages


def topic(entity, relation, answer, reach="many", url=""):
    questions = json.dumps([f"What is the {relation} of {entity}?"])
    row = {"entity": entity, "relation": relation, "answer": answer, "reach": reach, "url": url, "verdict": "known"}
    wordings = dict.fromkeys(("questions", "development_questions", "test_questions"), questions)
    return {**row, **wordings, "split": split_of(entity)}


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


def build_problems(root, **fields):
    families = {"letters": 1.0, "spelling": 1.0, "two_hops": 1.0}
    with_families = recipe(
        practice_problems=recipes.PracticeProblems(families=families, count=300, held_out=3), **fields
    )
    topics = stand_in("knowledge_boundary", {"topics": TOPICS})
    workspace, artifacts = build_all([topics, clean_corpus(PAGES), ALL_CURRENT, PRACTICE_PROBLEMS], with_families, root)
    return workspace, pl.read_parquet(artifacts["practice_problems"].table("problems"))


def keys(problems):
    """The words and the entities that problems are made from."""
    is_two_hops = pl.col("family") == "two_hops"
    return set(problems.filter(~is_two_hops)["key"]), set(problems.filter(is_two_hops)["key"])


def test_search_only_pages_contribute_nothing_to_problems(tmp_path):
    words, entities = keys(build_problems(tmp_path / "all")[1])
    assert any(word.startswith("z") for word in words) and entities <= {"Mira Wolf", "Elsa Brook"}
    words, entities = keys(build_problems(tmp_path / "some", search_only_hosts=("quiet.example",))[1])
    assert words and not any(word.startswith("z") for word in words) and entities <= {"Mira Wolf"}


def test_the_check_counts_every_split(tmp_path):
    workspace, problems = build_problems(tmp_path)
    resolution = workspace.resolver().resolve("practice_problems", None)
    [check] = PRACTICE_PROBLEMS.checks
    outcome = examine(check, resolution, workspace.recipe, workspace.store).outcome
    split_counts = problems["split"].value_counts()
    assert outcome.passed and check.blocking
    assert outcome.numbers == {**dict(split_counts.iter_rows()), "shared_keys": 0, "shared_questions": 0}
    shown = PRACTICE_PROBLEMS.show(resolution.artifact)["summary"]
    assert "| letters |" in shown and "**spelling 1**" in shown


def test_the_check_finds_a_key_of_two_splits(tmp_path):
    rows = [{"split": split, "key": "cab", "question": f"{split}?"} for split in ("train", "test")]
    _, artifacts = build_all([stand_in("practice_problems", {"problems": rows})], recipe(), tmp_path)
    outcome = PRACTICE_PROBLEMS.checks[0].examine(artifacts["practice_problems"], None, None)
    assert not outcome.passed and outcome.failures == [{"key": "cab"}] and outcome.numbers["shared_keys"] == 1


def test_the_checks_report_the_gain_of_each_family_and_lost_abilities(tmp_path):
    def figure(model, suite, group, metric, value):
        return row(model, suite, group, metric, Estimate(value, value - 0.02, value + 0.02, 300))

    passed = {"sums": (0.25, 0.75), "sums, level 0": (0.0, 1.0), "letters": (0.5, 0.4)}
    figures = figures_table(
        [
            *(figure("sft", "problems", group, "pass@1", before) for group, (before, _) in passed.items()),
            *(figure("rl", "problems", group, "pass@1", after) for group, (_, after) in passed.items()),
            *(figure("rl", "problems", name, "change from sft", now - then) for name, (then, now) in passed.items()),
            figure("rl", "questions", "known", "change from sft", -0.2),
            figure("rl", "questions", "sums", "change from sft", 0.1),
        ]
    )
    _, artifacts = build_all([stand_in("rl_evaluation", {"evaluation": figures})], recipe(), tmp_path)
    config = SimpleNamespace(asking=SimpleNamespace(split="test"))
    outcomes = {check.name: check.examine(artifacts["rl_evaluation"], None, config) for check in RL_EVALUATION.checks}
    gains = {name: value for name, value in outcomes["solves_more"].numbers.items() if name.startswith("gain.")}
    assert outcomes["solves_more"].passed and gains == pytest.approx({"gain.sums": 0.5, "gain.letters": -0.1})
    assert not outcomes["keeps_what_it_knew"].passed and outcomes["keeps_what_it_knew"].numbers
    assert not any(check.blocking for check in RL_EVALUATION.checks)


def test_checkpoints_have_no_main_table_and_one_plot():
    assert RL_CHECKPOINT.main_table is None and {view.file for view in RL_CHECKPOINT.views} == {"curves.svg"}
