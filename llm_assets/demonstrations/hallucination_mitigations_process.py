"""The process of `hallucination_mitigations`, which asks the pipeline's checkpoints the same questions in all WAYS.

Run as ``python -m llm_assets.demonstrations.hallucination_mitigations_process job.json``; with search, it needs
pydantic-monty.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llm_assets.compute.process import Reporter, run_job, write_results
from llm_assets.evaluation.answers import BATCH, answer_record, chat_answers
from llm_assets.evaluation.grading import holds
from llm_assets.model.assistant import system_message
from llm_assets.model.chat import Call, Message, prompt
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.devices import pick_device
from llm_assets.model.sampling import Engine, Sampling
from llm_assets.tools.search import SearchIndex, format_passage
from llm_assets.tools.toolbox import open_toolbox

from .jobs import MEMORY, SEARCH, TEXT_AS_RESULT, TEXT_IN_QUESTION, WAYS, MitigationsJob


def find_text(index: SearchIndex, query: str, expected: str, passages: int) -> str:
    """The text that is put into the context: the first passage about the entity that holds the expected answer.

    Of a fictitious entity, or where no passage holds the answer, it is the passage that search ranks first when any of
    the query's words will do: a text that does not answer the question.
    """
    passages_about = index.search(query, passages)
    answering = [passage for passage in passages_about if expected and holds(passage.text, expected)]
    chosen = [*answering, *index.search(query, 1, "any")]
    return format_passage(chosen[0].url, chosen[0].text) if chosen else ""


def answers_with_text(engine: Engine, job: MitigationsJob, texts: Sequence[str], as_result: bool) -> list[str]:
    """Answers to questions whose texts are in the context: in the user's message, or as the result of a search."""
    encoding, prompts = engine.encoding, []
    for question, query, text in zip(job.questions, job.queries, texts, strict=True):
        messages = [Message("user", f"{text}\n{question.question}" if text else question.question)]
        if as_result:
            system = system_message([SEARCH])
            assert system is not None
            call = Message("assistant", "", Call(SEARCH, query))
            messages = [system, Message("user", question.question), call, Message("tool", text)]
        prompts.append(prompt(encoding, messages))
    sampling = Sampling(
        max_tokens=job.max_tokens, temperature=0.0, stop=(encoding.bos, encoding.special["<|assistant_end|>"])
    )
    room = engine.shape.context - job.max_tokens
    completions = engine.complete([tokens[-room:] for tokens in prompts], sampling, batch=BATCH)
    return [answer_record(engine, completion)["answer"] for completion in completions]


def main(job: MitigationsJob, folder: Path, report: Reporter) -> None:
    """Answer all questions in all ways."""
    answers: dict[str, list[str]] = {}
    texts: list[str] = []
    with open_toolbox(job.toolbox) as choose:
        index = SearchIndex(Path(job.toolbox.index))
        for number, way in enumerate(WAYS):
            report("task", name=way, number=number, of=len(WAYS))
            folder_of_model = job.ablation if way == MEMORY else job.sft
            model, encoding = load_checkpoint(Path(folder_of_model), pick_device(job.device))
            engine = Engine(model, encoding)
            if way in (TEXT_IN_QUESTION, TEXT_AS_RESULT):
                texts = texts or [
                    find_text(index, query, expected, job.passages)
                    for query, expected in zip(job.queries, job.expected, strict=True)
                ]
                answers[way] = answers_with_text(engine, job, texts, way == TEXT_AS_RESULT)
            else:
                tools = choose(SEARCH) if way == SEARCH else None
                rows: list[dict[str, Any]] = chat_answers(engine, job.questions, tools, job.max_tokens)
                answers[way] = [row["answer"] for row in rows]
    write_results(folder, {"answers": answers, "texts": texts})


if __name__ == "__main__":
    run_job(main, MitigationsJob)
