"""The stages of preference tuning on a tiny model: their tables, views, checks and identities."""

import json
import random
import shutil

import polars as pl
import pytest

from llm_assets import recipes
from llm_assets.artifacts import Graph, Store, materialize
from llm_assets.artifacts.checks import examine, stage_checks
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.resolver import Resolver
from llm_assets.artifacts.tables import read_table
from llm_assets.dialogue.splits import SPLITS
from llm_assets.evaluation.figures import MODELS, find, read_figures
from llm_assets.evaluation.question_baselines import CONSTANT
from llm_assets.model.assistant import ASSISTANT
from llm_assets.model.checkpoint import load_checkpoint, save_model
from llm_assets.model.shape import ModelShape
from llm_assets.model.transformer import Transformer
from llm_assets.preference.human_rankings import HUMAN_RANKINGS
from llm_assets.preference.open_prompts import PreferenceError, ResponsePairsConfig, select_prompts
from llm_assets.preference.stages import STAGES
from llm_assets.recipes.training_pages import TrainingPages
from llm_assets.reinforcement.stages import STAGES as RL_STAGES
from llm_assets.tools.search import write_index
from tests.support.stand_ins import ALL_CURRENT, build_all, clean_corpus, stand_in
from tests.support.training_jobs import ENCODING

SHAPE = ModelShape.of_depth(2, 500, 96, width=32)
PEOPLE = ("Mira Wolf", "Toven Hale", "Elsa Brook", "Ann Field", "Jon Marsh", "Ida Stone")
LORA = recipes.Lora(rank=2)
DPO = recipes.Dpo(pairs=4, validation_runs=1, lora=LORA, compute=recipes.Compute(device="cpu"))
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
        lora=LORA,
        compute=recipes.Compute(device="cpu"),
    ),
    rl_evaluation=recipes.RlEvaluation(problems=1, samples=2, max_tokens=8, device="cpu"),
    sft_evaluation=recipes.SftEvaluation(max_tokens=8),
    response_pairs=recipes.ResponsePairs(
        prompts=20, development=8, test=8, samples=3, max_tokens=8, fictitious_share=0.1, device="cpu"
    ),
    human_rankings=recipes.HumanRankings(simulated=recipes.SimulatedLabeller(share=1.0, tie=0.0)),
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
    dpo=DPO,
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
            row = {
                "entity": person,
                "kind": "person",
                "relation": relation,
                "answer": "Holt",
                "verdict": "known",
                "reach": "",
                "url": "",
            }
            row["sentence"] = f"{person} has Holt."
            questions = json.dumps([f"The {relation} of {person}?"])
            wordings = dict.fromkeys(("questions", "development_questions", "test_questions"), questions)
            yield {**row, **wordings, "split": SPLITS[PEOPLE.index(person) // 2]}


QUESTION = {
    "split": "test",
    "group": "known",
    "entity": "Mira Wolf",
    "relation": "birthplace",
    "question": "Who?",
    "tools": "",
    "answers": '["Holt"]',
    "distractors": "[]",
}
SFT_ANSWER = {**QUESTION, "model": "sft", "number": 0, "grade": "right", "tokens": 3}
TRUTH = [{"entity": person, "entity_kind": "person", "relation": "birthplace", "value": "Holt"} for person in PEOPLE]
UPSTREAM = [
    stand_in("raw_warc", {"truth_facts": TRUTH}, per_crawl=True),
    clean_corpus([{"host": "a.example", "title": "Tea", "text": "the tea"}]),
    stand_in(
        "knowledge_boundary",
        {
            "topics": list(topics()),
            "fictitious_entities": [
                {"name": f"Nobody {n}", "kind": "person", "split": SPLITS[n % 3]} for n in range(9)
            ],
        },
    ),
    stand_in("base_checkpoint", write=write_model),
    stand_in("sft_checkpoint", write=write_model),
    stand_in("ablation_checkpoint", write=write_model),
    ALL_CURRENT,
    stand_in("training_search_index", write=lambda folder: write_index(folder / "index.sqlite", [])),
    stand_in("conversations", {"evaluation": [QUESTION]}),
    stand_in("sft_evaluation", {"answers": [SFT_ANSWER]}),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The workspace and the artifacts of all stages of reinforcement learning and preference tuning."""
    root = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLM_ASSETS_DATA", str(root / "data"))
        yield build_all([*UPSTREAM, *RL_STAGES, *STAGES], RECIPE, root / "store")


def test_reports_and_plots_are_drawn_and_are_not_data(built):
    _, artifacts = built
    for stage in (*RL_STAGES, *STAGES):
        for view in stage.views:
            artifact = artifacts[stage.name]
            assert artifact.view(view.file).stat().st_size > 500 and view.file not in artifact.record.files
    report = artifacts["rlhf_evaluation"].view("report.html").read_text()
    assert all(
        words in report
        for words in ("No person ranked anything here", "Over-optimisation monitor", "<svg", *PEOPLE[4:5])
    )
    report = artifacts["rl_evaluation"].view("report.html").read_text()
    assert all(words in report for words in ("pass@1", "arithmetic, level 2", "level 0: two numbers", "Length", "<svg"))


def test_a_lost_report_is_drawn_again_without_building_anything(built, monkeypatch, tmp_path):
    shutil.copytree(built[0].store.root, tmp_path / "store")
    workspace, artifacts = build_all([*UPSTREAM, *RL_STAGES, *STAGES], RECIPE, tmp_path / "store")
    monkeypatch.setattr("llm_assets.compute.launch.subprocess_launcher", None)  # starting a process fails
    for stage in (*RL_STAGES, *STAGES):
        drawn = {view.file: artifacts[stage.name].view(view.file).read_bytes() for view in stage.views}
        for file in drawn:
            artifacts[stage.name].view(file).unlink()
        outcome = materialize(stage, None, workspace)
        assert outcome.cached
        assert {file: outcome.artifact.view(file).read_bytes() for file in drawn} == drawn


def test_every_table_obeys_its_schema_and_every_check_reports_numbers(built):
    workspace, artifacts = built
    numbers = {}
    for stage in (*RL_STAGES, *STAGES):
        resolution = workspace.resolver().resolve(stage.name, None)
        for check in stage_checks(stage):
            outcome = examine(check, resolution, workspace.recipe, workspace.store).outcome
            assert outcome.passed or not check.blocking, (stage.name, check.name, outcome)
            numbers[check.name] = outcome.numbers
    agreement = artifacts["human_rankings"].record.stats["agreement"]
    assert agreement["compared"] and numbers["agreement_of_labellers"].items() >= agreement.items()
    figures = artifacts["rlhf_evaluation"].record.stats["figures"]["open_answers"]["open prompts"]
    better = figures["better than sft"]
    assert set(better) == {"base", "ablation", "rl", "rlhf"}
    assert numbers["preferred_to_sft"]["better than sft.rlhf"] == better["rlhf"]
    assert {"gold.sft", "proxy.rlhf"} <= set(numbers["preferred_to_sft"])
    assert set(figures["true"]) == {"base", "ablation", "sft", "rl", "rlhf"}
    assert numbers["keeps_what_it_learnt"] and numbers["solves_more"]


def test_every_model_is_asked_the_same_problems_and_prompts(built):
    _, artifacts = built
    figures = read_figures(artifacts["rl_evaluation"], artifacts["rlhf_evaluation"])
    for suite, metric in (("problems", "pass@1"), ("open_answers", "gold")):
        counts = {
            model: dict(of_model.select("group", "n").iter_rows())
            for (model,), of_model in find(figures, suite=suite, metric=metric).group_by("model", maintain_order=True)
        }
        assert counts.keys() - {CONSTANT} == MODELS.keys() - {"dpo"}
        assert all(groups == counts["sft"] for groups in counts.values())
    changed = find(figures, model="rlhf", metric=["change from sft", "change from rl"])
    assert set(changed["suite"]) == {"questions", "problems"}


def test_shown_metadata_are_texts_and_numbers(built):
    _, artifacts = built
    for stage in (*RL_STAGES, *STAGES):
        shown = stage.show(artifacts[stage.name])
        views = {view.file.partition(".")[0] for view in stage.views}
        assert shown and all(isinstance(value, (str, int, float)) for value in shown.values())
        assert not views & set(shown), f"{stage.name}: the text would replace the link to a view"
    assert HUMAN_RANKINGS.show(artifacts["human_rankings"])["simulated"] > 0


def test_dpo_keeps_an_assistant_and_what_it_was_trained_and_measured_on(built):
    artifact = built[1]["dpo_checkpoint"]
    _, encoding = load_checkpoint(artifact.path)
    assert encoding.size == SHAPE.vocabulary and json.loads(artifact.file(ASSISTANT).read_text())["name"] == "Ada"
    rankings = read_table(built[1]["human_rankings"].table("rankings")).filter(pl.col("preferred") != "tie")
    reference, scores = read_table(artifact.table("reference")), read_table(artifact.table("scores"))
    splits = pl.col("split").is_in(SPLITS)
    assert (
        reference.select("pair", "labeller", "split")
        .sort(pl.all())
        .equals(rankings.filter(splits).select("pair", "labeller", "split").sort(pl.all()))
    )
    assert len(scores) == len(reference.filter(pl.col("split") == "test"))
    stats = artifact.record.stats
    assert stats["rankings"] == len(reference.filter(pl.col("split") == "train")) and stats["too_long"] == 0
    assert {"policy", "longer answer", "more facts"} <= set(stats["orders"])
    before = read_table(artifact.table("evaluations")).sort("step").row(0, named=True)
    development = reference.filter(pl.col("split") == "development")
    assert before["chosen"] == pytest.approx(development["chosen"].mean(), abs=1e-4)


@pytest.mark.parametrize("asset", ["rl_checkpoint", "dpo_checkpoint"])
def test_adapters_are_kept_with_the_merged_weights(asset, built):
    artifact = built[1][asset]
    config = json.loads(artifact.file("adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], "q_proj" in config["target_modules"]) == ("LORA", 2, True)
    assert artifact.file("adapter_model.safetensors").stat().st_size > 0
    assert not list(built[1]["rlhf_checkpoint"].path.glob("adapter*"))


def test_evaluation_steps_are_shown_in_order(tmp_path):
    evaluations = [{"step": step, "score": step / 200} for step in (0, 20, 100)]
    curve = [{"step": 1, "reward": 0.5, "length": 3.0}]
    stats = {"stopped": "", "evaluations": {str(evaluation["step"]): evaluation["score"] for evaluation in evaluations}}
    _, artifacts = build_all(
        [stand_in("rl_checkpoint", {"evaluations": evaluations, "curve": curve}, stats)], RECIPE, tmp_path
    )
    lines = RL_STAGES[1].show(artifacts["rl_checkpoint"])["held_out"].splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| 0", "| 20", "| 100"]


def identities(made_recipe, root):
    resolver = Resolver(Graph([*UPSTREAM, *RL_STAGES, *STAGES]), made_recipe, Store(root))
    return {stage.name: resolver.resolve(stage.name, None).partial.digest for stage in STAGES}


@pytest.mark.parametrize(
    ("fields", "stages"),
    [
        ({"name": "another"}, set()),
        ({"search_only_hosts": ("quiet.example",)}, {"response_pairs"}),
        ({"rlhf": RECIPE.rlhf.replace(monitor_patience=9)}, {"rlhf_checkpoint"}),
        ({"rlhf": RECIPE.rlhf.replace(monitor_margin=0.5)}, {"rlhf_checkpoint"}),
        ({"rlhf": RECIPE.rlhf.replace(compute=recipes.Compute(micro_batch_size=1))}, set()),
        ({"human_rankings": RECIPE.human_rankings.replace(gold=0.1)}, {"human_rankings"}),
        ({"evaluation_split": "development"}, {"rlhf_evaluation", "dpo_evaluation"}),
        (
            {"human_rankings": recipes.HumanRankings(simulated=None)},  # the gold signal is then a second reward model
            {"human_rankings", "reward_checkpoint", "rlhf_checkpoint", "rlhf_evaluation"},
        ),
        ({"tools": recipes.Tools(results=3)}, {"rlhf_evaluation", "dpo_evaluation"}),
        ({"sft_evaluation": recipes.SftEvaluation(max_tokens=9)}, {"rlhf_evaluation", "dpo_evaluation"}),
        ({"pretraining": recipes.Pretraining(muon=False)}, {"reward_checkpoint", "rlhf_checkpoint", "dpo_checkpoint"}),
        ({"dpo": DPO.replace(beta=0.2)}, {"dpo_checkpoint"}),
        ({"dpo": DPO.replace(compute=recipes.Compute(micro_batch_size=2))}, set()),
    ],
)
def test_a_stages_identity_depends_only_on_the_recipe_fields_that_it_reads(fields, stages, tmp_path):
    before, after = identities(RECIPE, tmp_path), identities(RECIPE.replace(**fields), tmp_path)
    assert {name for name in before if before[name] != after[name]} == stages


def test_changed_content_of_a_rankings_file_changes_the_identity_of_human_rankings(tmp_path, monkeypatch):
    monkeypatch.setenv("LLM_ASSETS_DATA", str(tmp_path / "data"))
    path = tmp_path / "ann.jsonl"
    with_file = RECIPE.replace(
        human_rankings=recipes.HumanRankings(files=(recipes.RankingFile(path=str(path), name="ann"),))
    )
    with pytest.raises(PreferenceError, match=r"human_rankings.files: no such file: ann"):
        identities(with_file, tmp_path)
    by_content = []
    for text in ("{}", "{}\n{}"):
        path.write_text(text)
        by_content.append(identities(with_file, tmp_path))
    before, after = by_content
    assert {name for name in before if before[name] != after[name]} == {"human_rankings"}


def test_search_only_pages_are_subjects_of_no_prompt(tmp_path):
    pages = [
        {"host": f"{site}.example", "title": f"{site} {n}", "text": "text"}
        for site in ("open", "quiet")
        for n in range(40)
    ]
    schema = {"entity": pl.String, "kind": pl.String, "verdict": pl.String, "split": pl.String}
    fictitious = pl.DataFrame([], schema={"name": pl.String, "kind": pl.String, "split": pl.String})
    stages = [
        clean_corpus(pages),
        ALL_CURRENT,
        stand_in("knowledge_boundary", {"topics": pl.DataFrame([], schema=schema), "fictitious_entities": fictitious}),
    ]
    _, artifacts = build_all(stages, RECIPE, tmp_path)
    inputs = Inputs(artifacts)

    def subjects(*hosts):
        config = ResponsePairsConfig(pairs=RECIPE.response_pairs, pages=TrainingPages(search_only_hosts=hosts))
        selection = select_prompts(inputs, config, random.Random(1))
        return {prompt.subject.split()[0] for prompts in selection.by_split.values() for prompt in prompts}

    assert subjects() == {"open", "quiet"}
    assert subjects("quiet.example") == {"open"}
