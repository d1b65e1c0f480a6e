"""A recipe's fields that make the model small enough for a test, and the stages up to the corpus."""

from llm_assets import recipes
from llm_assets.graph import GRAPH

# Source, because recipes of commands are files.
FIELDS = """
    tokenizer=recipes.Tokenizer(vocabulary=360),
    token_shards=recipes.TokenShards(shard_tokens=4096, validation_share=0.2),
    model=recipes.Model(depth=1, width=32, context=160),
    pretraining=recipes.Pretraining(
        tokens=4096, batch_tokens=256, validation_runs=2, samples=1, prompts=("",), sample_tokens=8,
        compute=recipes.Compute(device="cpu")
    ),
    base_evaluation=recipes.BaseEvaluation(
        prefixes=4, prefix_tokens=8, recited_tokens=8, free_samples=4, sample_tokens=16, problems=2, prompts=("The",),
        questions=("Who?",), device="cpu",
    ),
    knowledge_boundary=recipes.KnowledgeBoundary(
        topics=20, wordings=1, samples=1, max_tokens=8, fictitious=40, device="cpu"
    ),
    conversations=recipes.Conversations(count=40),
    finetuning=recipes.Finetuning(validation_runs=1, compute=recipes.Compute(device="cpu")),
    sft_evaluation=recipes.SftEvaluation(questions=3, max_tokens=8, device="cpu"),
    practice_problems=recipes.PracticeProblems(count=40, held_out=2),
    reinforcement=recipes.Reinforcement(
        steps=2, replay_weight=0.5, replay_sequences=2, prompts=2, samples=2, max_tokens=8, evaluate_every=1,
        evaluation_problems=6, compute=recipes.Compute(device="cpu"),
    ),
    rl_evaluation=recipes.RlEvaluation(problems=1, samples=2, max_tokens=8, device="cpu"),
    response_pairs=recipes.ResponsePairs(
        prompts=40, unseen=4, monitor_share=0.3, samples=3, max_tokens=8, device="cpu"
    ),
    human_rankings=recipes.HumanRankings(simulated=recipes.SimulatedLabeller(share=1.0, tie=0.0)),
    reward_training=recipes.RewardTraining(pairs=4, validation_runs=1, compute=recipes.Compute(device="cpu")),
    rlhf=recipes.Rlhf(
        steps=2, replay_weight=0.5, replay_sequences=2, prompts=2, samples=2, max_tokens=8, evaluate_every=1,
        monitor_prompts=4, compute=recipes.Compute(device="cpu"),
    ),
    rlhf_evaluation=recipes.RlhfEvaluation(samples=1, max_tokens=8, device="cpu"),
"""
SMALL = eval(f"dict({FIELDS})", {"recipes": recipes})

CORPUS = [stage for stage in GRAPH if stage.group in ("web", "curation")]

RECIPE = """from llm_assets import recipes
from llm_assets.recipes import Recipe, Recrawl, SampleWeb, WarcFiles


def mine():
    return Recipe(name="mine", crawls={sources}, {further} {fields})
"""


def recipe_file(path, sources, further=""):
    """Write a recipe `mine` of these crawls and further fields (Python source) into a file."""
    path.write_text(RECIPE.format(sources=sources, further=further, fields=FIELDS))
