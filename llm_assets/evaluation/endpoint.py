"""A chat model with an OpenAI-compatible API, which writes questions about articles and judges answers.

Protocol: POST <url>/chat/completions with {model, messages, temperature, seed}; the response has the text in
choices[0].message.content (platform.openai.com/docs/api-reference/chat).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from llm_assets.json_requests import EndpointError, post_json
from llm_assets.json_values import parse_json
from llm_assets.recipes import Endpoint

from .grading import holds

FIELDS = ("entity", "kind", "relation", "answer", "sentence")
VERDICTS = ("right", "refused", "wrong")
QUESTIONS_PROMPT = """\
Below is an article. Write {count} factual questions about it whose answers stand in the article and are one to five \
words long. Each question must make sense to somebody who does not see the article: name the person, place or thing \
that it is about. Write each question in three different wordings.

Answer with a JSON list only, of objects with the fields "entity" (the person, place or thing the question is about), \
"kind" (person, place, organisation, work, event or other), "relation" (what is asked, in one or two words), \
"questions" (the three wordings), "answer" (as short as can be), "sentence" (the answer as one full sentence).

Article:
{article}"""
JUDGE_PROMPT = """\
Question: {question}
Reference answer: {reference}
Given answer: {answer}

Does the given answer say the same as the reference answer? Answer with one word: right, if it does; refused, if it \
says that it does not know or declines; wrong, otherwise."""


class ChatEndpoint:
    """A client of the endpoint. Thread-safe."""

    def __init__(self, settings: Endpoint, wait: Callable[[float], None] = time.sleep):
        self.settings, self._wait = settings, wait
        self._url = f"{settings.url.rstrip('/')}/chat/completions"

    def ask(self, prompt: str, seed: int = 0) -> str:
        """The model's answer to a prompt, at temperature 0.

        Raises EndpointUnavailable if every try failed, EndpointError if the response has another status or layout.
        """
        body = {
            "model": self.settings.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "seed": seed,
        }
        answer = post_json(self._url, body, self.settings, self._wait)
        try:
            content = answer["choices"][0]["message"]["content"]
        except (LookupError, TypeError) as error:
            raise EndpointError(
                f"endpoint {self._url}: no choices[0].message.content in its response ({str(answer)[:200]!r})"
            ) from error
        return content or ""

    def complete_all(self, prompts: Sequence[str], report: Callable[[int], None] = lambda done: None) -> list[str]:
        """The answers to all prompts, in order. report: called with the number of answers so far."""
        with ThreadPoolExecutor(self.settings.concurrency) as threads:
            answers = []
            for done, answer in enumerate(threads.map(self.ask, prompts), 1):
                answers.append(answer)
                report(done)
            return answers


def judge(endpoint: ChatEndpoint, answers: Iterable[tuple[str, str, str]]) -> list[str]:
    """``right``, ``refused`` or ``wrong`` for each (question, reference answer, given answer), by the endpoint."""
    prompts = [
        JUDGE_PROMPT.format(question=question, reference=reference, answer=answer)
        for question, reference, answer in answers
    ]
    return [parse_verdict(reply) for reply in endpoint.complete_all(prompts)]


def parse_questions(text: str, article: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The valid questions in an endpoint's answer, and why the others were rejected.

    A question is valid if it has all fields and the article contains its answer.
    """
    begin, end = text.find("["), text.rfind("]")
    try:
        items = parse_json(text[begin : end + 1]) if 0 <= begin < end else None
    except (ValueError, RecursionError):
        items = None
    if not isinstance(items, list):
        return [], ["the answer contains no JSON list"]
    questions, problems = [], []
    for number, item in enumerate(items, 1):
        if problem := _question_problem(item, article):
            problems.append(f"question {number}: {problem}")
        else:
            fields = {name: item[name].strip() for name in FIELDS}
            wordings = dict.fromkeys(wording.strip() for wording in item["questions"])
            questions.append({**fields, "questions": list(wordings)})
    return questions, problems


def _question_problem(item: Any, article: str) -> str:
    """What is wrong with a question; empty if nothing is."""
    if not isinstance(item, dict):
        return "a field is missing or empty"
    wordings = item.get("questions")
    values = [item.get(name) for name in FIELDS]
    values += wordings if isinstance(wordings, list) and wordings else [None]
    if not all(isinstance(value, str) and value.strip() for value in values):
        return "a field is missing or empty"
    if not holds(article, item["answer"]):
        return f"the article does not contain the answer {item['answer']!r}"
    if not holds(item["sentence"], item["answer"]):
        return f"the sentence does not contain the answer {item['answer']!r}"
    return ""


def parse_verdict(text: str) -> str:
    """``right``, ``refused`` or ``wrong`` from a judge's answer; any other answer counts as wrong."""
    words = text.strip().lower().strip(" .*\"'`").split()
    verdict = words[0].strip(".,:;*") if words else ""
    return verdict if verdict in VERDICTS else "wrong"
