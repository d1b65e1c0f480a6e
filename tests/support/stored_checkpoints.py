"""Stages of tiny checkpoints, and a store in which two recipes have tuned one base model."""

from pydantic import BaseModel, ConfigDict

from llm_assets.artifacts import Graph, Stage, Workspace, materialize
from llm_assets.compute import LocalEngine
from tests.support.model_server import write_checkpoint


class Seeded(BaseModel):
    """The config of a tiny checkpoint."""

    model_config = ConfigDict(frozen=True)
    seed: int


def checkpoint_stage(name, inputs=(), is_chat=True):
    """A stage with a tiny checkpoint of random weights, which the recipe's seed of fine-tuning decides."""

    def build(step, config):
        with step.task(name) as task:
            folder = write_checkpoint(step.staging / "written", seed=config.seed, is_chat=is_chat)
            for path in sorted(folder.iterdir()):
                path.rename(step.staging / path.name)
                task.add_file(path.name)
            folder.rmdir()
            task.stats.update({"tokens": 3_000, "flops": 1.5e12})

    def config(recipe, crawl):
        return Seeded(seed=recipe.finetuning.seed if is_chat else 2)

    return Stage(name, "test", "A tiny checkpoint.", build, "1", config, inputs=inputs)


def build_checkpoints(store, recipe):
    """A base model and the models that two recipes tune it to, in a store.

    Returns the stages. The recipe is one of the two; the other has another seed.
    """
    stages = [
        checkpoint_stage("base_checkpoint", is_chat=False),
        checkpoint_stage("sft_checkpoint", ("base_checkpoint",)),
    ]
    for seed in (recipe.finetuning.seed + 1, recipe.finetuning.seed):
        seeded = recipe.replace(finetuning=recipe.finetuning.replace(seed=seed))
        workspace = Workspace(seeded, store, Graph(stages), LocalEngine(1))
        for stage in stages:
            materialize(stage, None, workspace)
    return stages
