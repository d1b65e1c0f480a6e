"""The stages of preference tuning on a tiny model: what they store, what is drawn from that alone, what checks count."""

import json
import random
from types import SimpleNamespace

import polars as pl
import pytest

from llm_assets import recipes
from llm_assets.artifacts import Graph, Store, materialize
from llm_assets.artifacts.checks import examine, stage_checks
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.stage import Resolver
from llm_assets.model.assistant import ASSISTANT
from llm_assets.model.checkpoint import save_model
from llm_assets.model.shape import ModelShape
from llm_assets.model.transformer import Transformer
from llm_assets.preference.human_rankings import HUMAN_RANKINGS
from llm_assets.preference.response_pairs import PreferenceError, ResponsePairsConfig, own_prompts
from llm_assets.preference.stages import STAGES
from llm_assets.recipes.training_pages import TrainingPages
from llm_assets.reinforcement.stages import STAGES as BEFORE
from llm_assets.tools.search import write_index
from tests.support.stand_ins import ALL_CURRENT, build_all, clean_corpus, stand_in
from tests.support.training_jobs import ENCODING

SHAPE = ModelShape.of_depth(2, 500, 96, width=32)
PEOPLE = ("Mira Wolf", "Toven Hale", "Elsa Brook", "Ann Field", "Jon Marsh", "Ida Stone")
RECIPE = recipes.Recipe(
    name="mine",
    crawls={"a": recipes.SampleWeb()},
    practice_problems=recipes.PracticeProblems(families={"arithmetic": 1.0}, count=20, held_out=1),
    reinforcement=recipes.Reinforcement(
        steps=2,
        prompts=2,
        samples=2,
        max_tokens=8,
        evaluate_every=1,
        evaluation_problems=3,
        compute=recipes.Compute(device="cpu"),
    ),
    rl_evaluation=recipes.RlEvaluation(problems=1, samples=2, max_tokens=8, device="cpu"),
    sft_evaluation=recipes.SftEvaluation(max_tokens=8),
    response_pairs=recipes.ResponsePairs(
        prompts=20, unseen=4, monitor_share=0.3, samples=3, max_tokens=8, fictitious_share=0.1, device="cpu"
    ),
    human_rankings=recipes.HumanRankings(simulated=recipes.SimulatedLabeller(share=1.0, tie=0.0), held_out=0.4),
    reward_training=recipes.RewardTraining(pairs=4, validation_runs=1, compute=recipes.Compute(device="cpu")),
    rlhf=recipes.Rlhf(
        steps=2,
        prompts=2,
        samples=2,
        max_tokens=8,
        evaluate_every=1,
        monitor_prompts=4,
        compute=recipes.Compute(device="cpu"),
    ),
    rlhf_evaluation=recipes.RlhfEvaluation(samples=1, max_tokens=8, device="cpu"),
)


def write_model(folder):
    model = Transformer(SHAPE)
    model.initialise(1)
    save_model(model, folder)
    ENCODING.save(folder)
    (folder / ASSISTANT).write_text(json.dumps({"name": "Ada", "maker": "us", "tools": ["search", "python"]}))


def topics():
    for person in PEOPLE:
        for relation in ("birthplace", "trade"):
            row = {"entity": person, "relation": relation, "answer": "Holt", "verdict": "known", "reach": "", "url": ""}
            yield {**row, "kept_apart": person in PEOPLE[3:], "questions": json.dumps([f"The {relation} of {person}?"])}


QUESTION = {"group": "known", "question": "Who?", "tools": "", "answers": '["Holt"]', "distractors": "[]"}
UPSTREAM = [
    clean_corpus([{"host": "a.example", "title": "Tea", "text": "the tea"}]),
    stand_in(
        "knowledge_boundary",
        {"topics": list(topics()), "fictitious": [{"name": f"Nobody {n}", "kept_apart": n % 2 == 0} for n in range(9)]},
    ),
    stand_in("base_checkpoint", write=write_model),
    stand_in("sft_checkpoint", write=write_model),
    ALL_CURRENT,
    stand_in("training_search_index", write=lambda folder: write_index(folder / "index.sqlite", [])),
    stand_in("conversations", {"evaluation": [QUESTION]}),
    stand_in(
        "sft_evaluation",
        {"answers": [{"model": "sft", "group": "known", "tools": "", "grade": "right", "tokens": 3}]},
    ),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The workspace and the artifacts of all stages of both rooms."""
    root = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLM_ASSETS_DATA", str(root / "data"))
        yield build_all([*UPSTREAM, *BEFORE, *STAGES], RECIPE, root / "store")


def test_pages_and_plots_are_drawn_and_are_no_data(built):
    _, artifacts = built
    for stage in (*BEFORE, *STAGES):
        for view in stage.views:
            artifact = artifacts[stage.name]
            assert artifact.view(view.file).stat().st_size > 500 and view.file not in artifact.record.files
    report = artifacts["rlhf_evaluation"].view("report.html").read_text()
    assert all(words in report for words in ("No person ranked anything here", "Guard", "<svg", *PEOPLE[3:4]))
    report = artifacts["rl_evaluation"].view("report.html").read_text()
    assert all(words in report for words in ("pass@1", "arithmetic, level 2", "level 0: two numbers", "Length", "<svg"))


def test_a_lost_page_is_drawn_again_without_building_anything(built, monkeypatch):
    workspace, artifacts = built
    monkeypatch.setattr("llm_assets.compute.launch.subprocess_launcher", None)  # whoever starts a process fails
    for stage in (*BEFORE, *STAGES):
        drawn = {view.file: artifacts[stage.name].view(view.file).read_bytes() for view in stage.views}
        for file in drawn:
            artifacts[stage.name].view(file).unlink()
        outcome = materialize(stage, None, workspace)
        assert outcome.cached
        assert {file: outcome.artifact.view(file).read_bytes() for file in drawn} == drawn


def test_every_table_obeys_its_schema_and_every_check_counts(built):
    workspace, artifacts = built
    numbers = {}
    for stage in (*BEFORE, *STAGES):
        resolution = workspace.resolver().resolve(stage.name, None)
        for check in stage_checks(stage):
            outcome = examine(check, resolution, workspace.recipe, workspace.store).outcome
            assert outcome.passed or not check.blocking, (stage.name, check.name, outcome)
            numbers[check.name] = outcome.numbers
    agreement = artifacts["human_rankings"].record.stats["agreement"]
    assert agreement["compared"] and numbers["agreement_of_labellers"].items() >= agreement.items()
    wins = artifacts["rlhf_evaluation"].record.stats["wins"]
    assert numbers["preferred_to_sft"]["wins.rlhf_against_sft"] == wins["rlhf against sft"]
    assert {"gold.sft", "proxy.rlhf", "answers"} <= set(numbers["preferred_to_sft"])
    assert numbers["keeps_what_it_learnt"] and numbers["solves_more"]


def test_what_is_shown_is_texts_and_numbers(built):
    _, artifacts = built
    for stage in (*BEFORE, *STAGES):
        shown = stage.show(artifacts[stage.name])
        views = {view.file.partition(".")[0] for view in stage.views}
        assert shown and all(isinstance(value, (str, int, float)) for value in shown.values())
        assert not views & set(shown), f"{stage.name}: a text would stand in place of the link to a page"
    assert HUMAN_RANKINGS.show(artifacts["human_rankings"])["simulated"] > 0


def test_measurements_are_shown_in_the_order_of_their_steps(tmp_path):
    evaluations = [{"step": step, "score": step / 200} for step in (0, 20, 100)]
    curve = [{"step": 1, "reward": 0.5, "length": 3.0}]
    stats = {"stopped": "", "evaluations": {str(evaluation["step"]): evaluation["score"] for evaluation in evaluations}}
    _, artifacts = build_all(
        [stand_in("rl_checkpoint", {"evaluations": evaluations, "curve": curve}, stats)], RECIPE, tmp_path
    )
    lines = BEFORE[1].show(artifacts["rl_checkpoint"])["held_out"].splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| 0", "| 20", "| 100"]


def identities(made, root):
    resolver = Resolver(Graph([*UPSTREAM, *BEFORE, *STAGES]), made, Store(root))
    return {stage.name: resolver.resolve(stage.name, None).partial.digest for stage in STAGES}


@pytest.mark.parametrize(
    ("fields", "stages"),
    [
        ({"name": "another"}, set()),
        ({"search_only_hosts": ("quiet.example",)}, {"response_pairs"}),
        ({"rlhf": RECIPE.rlhf.replace(monitor_patience=9)}, {"rlhf_checkpoint"}),
        ({"rlhf": RECIPE.rlhf.replace(monitor_margin=0.5)}, {"rlhf_checkpoint"}),
        ({"rlhf": RECIPE.rlhf.replace(compute=recipes.Compute(micro_batch_size=1))}, set()),
        ({"human_rankings": RECIPE.human_rankings.replace(held_out=0.1)}, {"human_rankings"}),
        (
            {"human_rankings": recipes.HumanRankings(simulated=None)},  # the gold signal is another model then
            {"human_rankings", "reward_checkpoint", "rlhf_checkpoint", "rlhf_evaluation"},
        ),
        ({"tools": recipes.Tools(results=3)}, {"rlhf_evaluation"}),
        ({"sft_evaluation": recipes.SftEvaluation(max_tokens=9)}, {"rlhf_evaluation"}),
        ({"pretraining": recipes.Pretraining(muon=False)}, {"reward_checkpoint", "rlhf_checkpoint"}),
    ],
)
def test_a_stage_is_identified_by_what_it_reads_of_the_recipe(fields, stages, tmp_path):
    before, after = identities(RECIPE, tmp_path), identities(RECIPE.replace(**fields), tmp_path)
    assert {name for name in before if before[name] != after[name]} == stages


def test_another_content_of_a_file_of_rankings_is_another_identity(tmp_path, monkeypatch):
    monkeypatch.setenv("LLM_ASSETS_DATA", str(tmp_path / "data"))
    path = tmp_path / "ann.jsonl"
    made = RECIPE.replace(
        human_rankings=recipes.HumanRankings(files=(recipes.RankingFile(path=str(path), name="ann"),))
    )
    with pytest.raises(PreferenceError, match=r"human_rankings.files: no such file: ann"):
        identities(made, tmp_path)
    found = []
    for text in ("{}", "{}\n{}"):
        path.write_text(text)
        found.append(identities(made, tmp_path))
    assert {name for name in found[0] if found[0][name] != found[1][name]} == {"human_rankings"}


def test_prompts_are_about_no_page_that_only_search_may_know(tmp_path):
    pages = [
        {"host": f"{site}.example", "title": f"{site} {n}", "text": "text"}
        for site in ("open", "quiet")
        for n in range(40)
    ]
    schema = {"entity": pl.String, "verdict": pl.String, "kept_apart": pl.Boolean}
    fictitious = pl.DataFrame([], schema={"name": pl.String, "kept_apart": pl.Boolean})
    stages = [
        clean_corpus(pages),
        ALL_CURRENT,
        stand_in("knowledge_boundary", {"topics": pl.DataFrame([], schema=schema), "fictitious": fictitious}),
    ]
    _, artifacts = build_all(stages, RECIPE, tmp_path)
    inputs = Inputs(artifacts)

    def subjects(*hosts):
        config = ResponsePairsConfig(pairs=RECIPE.response_pairs, pages=TrainingPages(search_only_hosts=hosts))
        step = SimpleNamespace(inputs=inputs, input=inputs.artifact)
        drawn, unseen, _ = own_prompts(step, config, random.Random(1))
        return {prompt.subject.split()[0] for prompt in (*drawn, *unseen)}

    assert subjects() == {"open", "quiet"}
    assert subjects("quiet.example") == {"open"}
