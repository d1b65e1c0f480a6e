"""Recipes whose models train in seconds on a CPU, as objects and as files for commands."""

from llm_assets.graph import GRAPH
from llm_assets.recipes import Recipe, SampleWeb, WarcFiles
from tests.support.warcs import page, story, write

# Plain values by section and field, so that the same settings become a recipe and the source of a recipe file.
SETTINGS = {
    "compare_with_ablation": True,
    "tokenizer": {"vocabulary": 360},
    "token_shards": {"shard_tokens": 4096, "validation_share": 0.2},
    "model": {"depth": 1, "width": 32, "context": 160},
    "pretraining": {
        "tokens": 4096,
        "batch_tokens": 256,
        "validation_runs": 2,
        "samples": 1,
        "prompts": ("",),
        "sample_tokens": 8,
        "compute": {"device": "cpu"},
    },
    "base_evaluation": {
        "prefixes": 4,
        "prefix_tokens": 8,
        "recited_tokens": 8,
        "free_samples": 4,
        "sample_tokens": 16,
        "problems": 2,
        "prompts": ("The",),
        "questions": ("Who?",),
        "device": "cpu",
    },
    "knowledge_boundary": {
        "topics": 20,
        "wordings": 1,
        "samples": 1,
        "max_tokens": 8,
        "fictitious_names": 40,
        "device": "cpu",
    },
    "conversations": {"count": 40},
    "finetuning": {"validation_runs": 1, "compute": {"device": "cpu"}},
    "sft_evaluation": {"questions": 3, "max_tokens": 8, "device": "cpu"},
    "practice_problems": {"count": 40, "held_out": 2},
    "reinforcement": {
        "steps": 2,
        "replay_weight": 0.5,
        "replay_sequences": 2,
        "prompts": 2,
        "samples": 2,
        "max_tokens": 8,
        "evaluate_every": 1,
        "evaluation_problems": 6,
        "compute": {"device": "cpu"},
    },
    "rl_evaluation": {"problems": 1, "samples": 2, "max_tokens": 8, "device": "cpu"},
    "response_pairs": {
        "prompts": 40,
        "development": 8,
        "test": 8,
        "samples": 3,
        "max_tokens": 8,
        "device": "cpu",
    },
    "human_rankings": {"simulated": {"share": 1.0, "tie": 0.0}},
    "reward_training": {"pairs": 4, "validation_runs": 1, "compute": {"device": "cpu"}},
    "rlhf": {
        "steps": 2,
        "replay_weight": 0.5,
        "replay_sequences": 2,
        "prompts": 2,
        "samples": 2,
        "max_tokens": 8,
        "evaluate_every": 1,
        "monitor_prompts": 4,
        "compute": {"device": "cpu"},
    },
    "rlhf_evaluation": {"samples": 1, "max_tokens": 8, "device": "cpu"},
    "demonstrations": {
        "tokens_to_think": {
            "seeds": 1,
            "hops": 2,
            "questions": 4,
            "device": "cpu",
            "training": {"layers": 1, "width": 16, "heads": 1, "steps": 2, "batch_size": 2, "induction": False},
            "sum_training": {"layers": 1, "width": 16, "heads": 1, "steps": 2, "batch_size": 2, "induction": False},
        },
        "longer_solutions": {
            "seeds": 1,
            "hops": 2,
            "questions": 4,
            "rl_steps": 2,
            "prompts": 2,
            "samples": 2,
            "evaluations": 1,
            "device": "cpu",
            "training": {"layers": 1, "width": 16, "heads": 1, "steps": 2, "batch_size": 2, "induction": False},
        },
        "in_context_learning": {
            "seeds": 1,
            "examples": 3,
            "pages": 4,
            "early_token": 4,
            "late_token": 24,
            "window": 2,
            "evaluations": 2,
            "device": "cpu",
            "training": {"layers": 1, "width": 16, "heads": 1, "steps": 2, "batch_size": 2, "induction": False},
            "corpus_training": {"layers": 2, "width": 48, "heads": 3, "steps": 2, "batch_size": 2},
        },
        "regurgitation": {
            "seeds": 1,
            "repetitions": (1, 2),
            "pages": 1,
            "page_tokens": 24,
            "prefix_tokens": 8,
            "recited_tokens": 8,
            "device": "cpu",
            "model": {"layers": 1, "width": 16, "heads": 1, "batch_size": 4, "induction": False},
        },
        "over_optimisation": {
            "seeds": 1,
            "rankings": (2, 4),
            "answers": (1, 2),
            "monitored_prompts": 3,
            "steps": 2,
            "prompts": 2,
            "samples": 2,
            "evaluate_every": 1,
            "device": "cpu",
        },
        "hallucination_mitigations": {"max_tokens": 8, "passages": 5, "device": "cpu"},
    },
}
SMALL_RECIPE = Recipe(name="small", crawls={"sample": SampleWeb()}, **SETTINGS)
# The sections of that recipe, by name, and the same as keyword arguments in Python source.
SMALL = {section: getattr(SMALL_RECIPE, section) for section in SETTINGS}
SMALL_SOURCE = ", ".join(f"{section}={fields!r}" for section, fields in SETTINGS.items())

# Stages that the recipe does not leave out, and those of them that a run builds by default.
STAGES = [stage for stage in GRAPH if stage.name not in GRAPH.left_out(SMALL_RECIPE)]
ON_DEMAND = GRAPH.on_demand(SMALL_RECIPE)
DEFAULT_STAGES = [stage for stage in STAGES if stage.name not in ON_DEMAND]
CORPUS = [stage for stage in GRAPH if stage.group in ("web", "curation")]

RECIPE_FILE = """from llm_assets import recipes
from llm_assets.recipes import Recipe, Recrawl, SampleWeb, WarcFiles


def mine():
    return Recipe(name="mine", crawls={sources}, {further} {settings})
"""


def recipe_file(path, sources, further=""):
    """Write a recipe `mine` of these crawls and further fields (Python source) into a file."""
    path.write_text(RECIPE_FILE.format(sources=sources, further=further, settings=SMALL_SOURCE))


def warc_sources(path, crawl="c", **fields):
    """The Python source of a recipe's `crawls`: one crawl of the WARC files at `path`."""
    settings = "".join(f", {name}={value!r}" for name, value in fields.items())
    return f"{{{crawl!r}: WarcFiles(path={str(path)!r}{settings})}}"


def warc_recipe(folder, pages=20, **changes):
    """A small recipe of one crawl `c`: two WARC files with stories of two hosts, written into `folder` if absent."""
    if not (folder / "warc").exists():
        for number in range(2):
            write(
                folder / "warc" / f"{number}.warc.gz",
                [page(f"http://host{number}.example/{i}", story(100 * number + i)) for i in range(pages // 2)],
            )
    return Recipe(**{"name": "t", "crawls": {"c": WarcFiles(path=str(folder / "warc"))}, **SMALL, **changes})
