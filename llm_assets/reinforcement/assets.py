"""Dagster declarations of the reinforcement room."""

import dagster as dg

from llm_assets.evaluation.abilities import keeps_abilities
from llm_assets.training.policy_run import show_policy
from resources.artifacts import Artifacts, declare, schema_check

from .practice_problems import PRACTICE_PROBLEMS, splits_share_nothing
from .practice_problems import preview as show_problems
from .rl_checkpoint import RL_CHECKPOINT
from .rl_evaluation import REPORT, RL_EVALUATION, practice_helps
from .rl_evaluation import preview as show_evaluation


@dg.asset(**declare(PRACTICE_PROBLEMS), group_name="reinforcement", kinds={"parquet"})
def practice_problems(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """Problems with checkable answers: arithmetic, letters, two hops over the corpus's facts, word problems of a file; held-out ones apart."""
    return artifacts.materialize(context, PRACTICE_PROBLEMS, lambda built: {"summary": dg.MetadataValue.md(show_problems(built))})


@dg.asset(**declare(RL_CHECKPOINT), group_name="reinforcement", kinds={"pytorch", "safetensors"}, pool="gpu")
def rl_checkpoint(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """The assistant after practice (GRPO): groups of its own solutions, rewarded where they are right. Resumable at any step."""
    return artifacts.materialize(context, RL_CHECKPOINT, lambda built: {name: dg.MetadataValue.md(text) for name, text in show_policy(built).items()})


@dg.asset(**declare(RL_EVALUATION), group_name="reinforcement", kinds={"pytorch", "html"}, pool="gpu")
def rl_evaluation(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """Base, SFT and RL models on held-out problems, and what practice did to everything else that the assistant is able to."""
    return artifacts.materialize(context, RL_EVALUATION, lambda built: {"report": dg.MetadataValue.path(str(built.file(REPORT))), "summary": dg.MetadataValue.md(show_evaluation(built))})


@dg.asset_check(asset="practice_problems", blocking=True, description="No problem, and nothing that problems are made of, stands on both sides of the split.")
def no_shared_problems(context: dg.AssetCheckExecutionContext, artifacts: Artifacts) -> dg.AssetCheckResult:
    """The split, looked at anew in what was written."""
    return artifacts.check(context, PRACTICE_PROBLEMS, "no_shared_problems", "1", lambda built, *_: ([], lambda: splits_share_nothing(built)))


@dg.asset_check(asset="rl_evaluation", description="More held-out problems are solved after practice than before, in some family.")
def solves_more(context: dg.AssetCheckExecutionContext, artifacts: Artifacts) -> dg.AssetCheckResult:
    """Practice did its work."""
    return artifacts.check(context, RL_EVALUATION, "solves_more", "1", lambda evaluation, *_: ([], lambda: practice_helps(evaluation)), dg.AssetCheckSeverity.WARN)


@dg.asset_check(asset="rl_evaluation", description="No ability of the assistant's fell by more than ten points.")
def keeps_what_it_knew(context: dg.AssetCheckExecutionContext, artifacts: Artifacts) -> dg.AssetCheckResult:
    """What practice cost elsewhere."""
    return artifacts.check(context, RL_EVALUATION, "keeps_what_it_knew", "1", lambda evaluation, *_: ([], lambda: keeps_abilities(evaluation)), dg.AssetCheckSeverity.WARN)


schemas = [schema_check(stage) for stage in (PRACTICE_PROBLEMS, RL_CHECKPOINT, RL_EVALUATION)]
