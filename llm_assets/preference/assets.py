"""Dagster declarations of the preference room."""

import dagster as dg

from llm_assets.evaluation.abilities import keeps_abilities
from resources.artifacts import Artifacts, declare, schema_check

from .human_rankings import HUMAN_RANKINGS, labellers_agree
from .human_rankings import preview as show_rankings
from .response_pairs import RESPONSE_PAIRS
from .response_pairs import preview as show_pairs
from .reward_checkpoint import REWARD_CHECKPOINT
from .reward_checkpoint import show as show_reward
from .rlhf_checkpoint import RLHF_CHECKPOINT
from .rlhf_checkpoint import show as show_policy
from .rlhf_evaluation import REPORT, RLHF_EVALUATION, preferred_more
from .rlhf_evaluation import preview as show_evaluation


@dg.asset(**declare(RESPONSE_PAIRS), group_name="preference", kinds={"pytorch", "parquet"}, pool="gpu")
def response_pairs(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """Several answers to each open prompt, sampled from the policy, and pairs of them to be ranked (llm-assets rank)."""
    return artifacts.materialize(context, RESPONSE_PAIRS, lambda built: {"summary": dg.MetadataValue.md(show_pairs(built))})


@dg.asset(**declare(HUMAN_RANKINGS), group_name="preference", kinds={"parquet"})
def human_rankings(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """Which of two answers people like better; of a simulated labeller where the recipe has one, marked as such."""
    return artifacts.materialize(context, HUMAN_RANKINGS, lambda built: {"summary": dg.MetadataValue.md(show_rankings(built)), "simulated": dg.MetadataValue.int(built.record.stats["simulated"])})


@dg.asset(**declare(REWARD_CHECKPOINT), group_name="preference", kinds={"pytorch", "safetensors"}, pool="gpu")
def reward_checkpoint(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """The SFT model with a head of one number, fitted to rankings (Bradley-Terry). Resumable at any step."""
    return artifacts.materialize(context, REWARD_CHECKPOINT, lambda built: {name: dg.MetadataValue.md(text) for name, text in show_reward(built).items()})


@dg.asset(**declare(RLHF_CHECKPOINT), group_name="preference", kinds={"pytorch", "safetensors"}, pool="gpu")
def rlhf_checkpoint(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """The policy tuned to the reward model, stopped where the gold signal no longer follows. Resumable at any step."""
    return artifacts.materialize(context, RLHF_CHECKPOINT, lambda built: {name: dg.MetadataValue.md(text) for name, text in show_policy(built).items()})


@dg.asset(**declare(RLHF_EVALUATION), group_name="preference", kinds={"pytorch", "html"}, pool="gpu")
def rlhf_evaluation(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """SFT, RL and RLHF models on unseen prompts in the eyes of the gold signal, and what tuning did to everything else."""
    return artifacts.materialize(context, RLHF_EVALUATION, lambda built: {"report": dg.MetadataValue.path(str(built.file(REPORT))), "summary": dg.MetadataValue.md(show_evaluation(built))})


@dg.asset_check(asset="human_rankings", description="Labellers say the same of the same pairs often enough to be learnt from.")
def agreement_of_labellers(context: dg.AssetCheckExecutionContext, artifacts: Artifacts) -> dg.AssetCheckResult:
    """Agreement, and Cohen's kappa."""
    return artifacts.check(context, HUMAN_RANKINGS, "agreement_of_labellers", "1", lambda built, *_: ([], lambda: labellers_agree(built)), dg.AssetCheckSeverity.WARN)


@dg.asset_check(asset="rlhf_evaluation", description="The gold signal prefers RLHF's answers to unseen prompts to SFT's.")
def preferred_to_sft(context: dg.AssetCheckExecutionContext, artifacts: Artifacts) -> dg.AssetCheckResult:
    """Tuning did its work."""
    return artifacts.check(context, RLHF_EVALUATION, "preferred_to_sft", "1", lambda evaluation, *_: ([], lambda: preferred_more(evaluation)), dg.AssetCheckSeverity.WARN)


@dg.asset_check(asset="rlhf_evaluation", description="No ability of the assistant's fell by more than ten points.")
def keeps_what_it_learnt(context: dg.AssetCheckExecutionContext, artifacts: Artifacts) -> dg.AssetCheckResult:
    """What tuning cost elsewhere."""
    return artifacts.check(context, RLHF_EVALUATION, "keeps_what_it_learnt", "1", lambda evaluation, *_: ([], lambda: keeps_abilities(evaluation)), dg.AssetCheckSeverity.WARN)


schemas = [schema_check(stage) for stage in (RESPONSE_PAIRS, HUMAN_RANKINGS, REWARD_CHECKPOINT, RLHF_CHECKPOINT, RLHF_EVALUATION)]
