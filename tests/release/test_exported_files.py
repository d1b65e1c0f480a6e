"""The Modelfile, and the header of the model card."""

import yaml

from llm_assets.evaluation.figures import figures_table, row
from llm_assets.evaluation.intervals import Estimate
from llm_assets.release.exported_files import ExportOptions, modelfile
from llm_assets.release.model_card import header

OPTIONS = ExportOptions("Ada", True, languages=("de", "en"), license="apache-2.0")


def figure(model: str, suite: str, group: str, metric: str, value: float):
    return row(model, suite, group, metric, Estimate(value, value, value, 10))


def test_ollama_renders_turns_as_in_training():
    text = modelfile(256)
    assert text.startswith("FROM ./model.gguf\n") and "PARAMETER num_ctx 256" in text
    for role in ("system", "user", "assistant"):
        assert f'"{role}" }}}}<|{role}_start|> {{{{ .Content }}}}<|{role}_end|>{{{{-' in text
    assert '<|assistant_start|>"""\nPARAMETER stop <|assistant_end|>\n' in text


def test_the_header_lists_only_the_models_own_figures_and_those_that_should_be_high():
    evaluation = figures_table(
        [
            figure("rlhf", "questions", "known", "right", 0.9),
            figure("rlhf", "questions", "known", "refused", 0.1),
            figure("rlhf", "questions", "fictitious", "refused", 0.8),
            figure("sft", "questions", "known", "right", 0.95),
            figure("rlhf", "problems", "sums", "pass@1", 0.45),
            figure("rlhf", "open_answers", "open prompts", "precision", 0.62),
        ]
    )
    [index] = yaml.safe_load(header(OPTIONS, evaluation, "rlhf"))["model-index"]
    assert index["name"] == "Ada"
    assert [result["metrics"][0]["value"] for result in index["results"]] == [0.9, 0.8, 0.45, 0.62]
    assert [result["metrics"][0]["name"] for result in index["results"]] == ["right", "refused", "pass@1", "precision"]


def test_a_header_without_figures_has_license_and_languages():
    data = yaml.safe_load(header(OPTIONS))
    assert (data["license"], data["language"]) == ("apache-2.0", ["de", "en"]) and "model-index" not in data
    assert yaml.safe_load(header(ExportOptions("Ada", False)))["license"] == "unknown"
