"""The model card: its header, which Hugging Face's hub reads, and the card of a checkpoint without evaluations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from llm_assets.evaluation.abilities import title_of, wanted
from llm_assets.evaluation.figures import find
from llm_assets.report import render

from .benchmark_figures import SUITE
from .exported_files import ExportOptions

if TYPE_CHECKING:
    from llm_assets.model.encoding import Encoding
    from llm_assets.model.shape import ModelShape

TEMPLATE = "model_card.md.j2"
# Metrics of each suite that the header lists, by their names on the hub (https://huggingface.co/metrics).
_METRICS = {"problems": ("pass@1", "pass@1"), "open_answers": ("precision", "precision")}


def header(options: ExportOptions, evaluation: pl.DataFrame | None = None, model: str = "") -> str:
    """The card's YAML header, without its fences: license, languages and, with an evaluation, the model's figures.

    evaluation: a table of schema EvaluationRows. model: whose figures the header lists.
    """
    from huggingface_hub import EvalResult, ModelCardData

    results = []
    if evaluation is not None:
        for row in find(evaluation, model=model, suite=["questions", "problems", "open_answers", SUITE]).to_dicts():
            name, kind = _METRICS.get(row["suite"], (wanted(row["group"]), "accuracy"))
            is_benchmark = row["suite"] == SUITE
            if row["metric"] == name or is_benchmark:
                results.append(
                    EvalResult(
                        task_type="text-generation",
                        dataset_type=row["group"] if is_benchmark else "llm-assets",
                        dataset_config=None if is_benchmark else f"{row['suite']}: {row['group']}",
                        dataset_name=row["group"] if is_benchmark else title_of(row["group"]),
                        metric_type=row["metric"].partition(" ")[0] if is_benchmark else kind,
                        metric_name=row["metric"] if is_benchmark else name,
                        metric_value=round(row["value"], 4),
                    )
                )
    data = ModelCardData(
        license=options.license or "unknown",
        language=list(options.languages) or None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["llm-assets"],
        model_name=options.name if results else None,
        eval_results=results or None,
    )
    return str(data.to_yaml())


def card(options: ExportOptions, shape: ModelShape, encoding: Encoding, **values: Any) -> str:
    """The card. values: what the template shows besides; without them, only what the model is and how it is used."""
    from llm_assets.model.llama_cpp_splitting import splitting

    return render(
        __package__,
        TEMPLATE,
        options=options,
        shape=shape,
        split_otherwise=splitting(encoding.pattern, encoding.normaliser)[1],
        **{"header": header(options), "introduction": "", "matrices": None, "lineage": [], **values},
    )
