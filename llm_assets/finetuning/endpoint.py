"""A chat model behind an OpenAI-compatible API: it writes questions on articles, and judges answers against them.

Protocol: POST <url>/chat/completions with {model, messages, temperature, seed}; the answer's text stands in
choices[0].message.content (platform.openai.com/docs/api-reference/chat).
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from llm_assets.recipes import Endpoint

RETRIED = {408, 409, 425, 429, 500, 502, 503, 504}
QUESTIONS_PROMPT = """Below is an article. Write {count} factual questions about it whose answers stand in the article and are one to five words long. Each question must make sense to somebody who does not see the article: name the person, place or thing that it is about. Write each question in three different wordings.

Answer with a JSON list only, of objects with the fields "entity" (the person, place or thing the question is about), "kind" (person, place, organisation, work, event or other), "relation" (what is asked, in one or two words), "questions" (the three wordings), "answer" (as short as can be), "sentence" (the answer as one full sentence).

Article:
{article}"""
JUDGE_PROMPT = """Question: {question}
Reference answer: {reference}
Given answer: {answer}

Does the given answer say the same as the reference answer? Answer with one word: right, if it does; refused, if it says that it does not know or declines; wrong, otherwise."""


class EndpointError(RuntimeError):
    """An endpoint that cannot be reached or does not speak the protocol; the message names it and what it said."""


class EndpointUnavailable(EndpointError):
    """An endpoint that could not be reached or was too busy at every try; it may answer later."""


class ChatEndpoint:
    """The endpoint. Thread-safe."""

    def __init__(self, settings: Endpoint, wait: Callable[[float], None] = time.sleep):
        self.settings, self._wait = settings, wait
        self._url = f"{settings.url.rstrip('/')}/chat/completions"

    def ask(self, prompt: str, seed: int = 0) -> str:
        """The model's answer, at temperature 0.

        Raises EndpointUnavailable when all tries have failed, EndpointError when the answer is of no use.
        """
        import requests

        key = os.environ.get(self.settings.key_variable, "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        body = {
            "model": self.settings.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "seed": seed,
        }
        problem = ""
        for attempt in range(self.settings.retries + 1):
            if attempt:
                self._wait(min(60.0, 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0))
            try:
                response = requests.post(self._url, json=body, headers=headers, timeout=self.settings.timeout)
            except requests.RequestException as error:
                problem = f"{type(error).__name__}: {error}"
                continue
            if response.status_code in RETRIED:
                problem = f"status {response.status_code}: {response.text[:200]}"
                continue
            if response.status_code != 200:
                raise EndpointError(f"endpoint {self._url}: status {response.status_code}: {response.text[:300]}")
            try:
                content = response.json()["choices"][0]["message"]["content"]
            except (ValueError, LookupError, TypeError) as error:
                raise EndpointError(
                    f"endpoint {self._url}: no choices[0].message.content in its answer ({response.text[:200]!r})"
                ) from error
            return content or ""
        raise EndpointUnavailable(
            f"endpoint {self._url}: {self.settings.retries + 1} tries failed, the last with {problem}"
        )

    def ask_all(self, prompts: Sequence[str], told: Callable[[int], None] = lambda done: None) -> list[str]:
        """Answers to all, in order."""
        with ThreadPoolExecutor(self.settings.concurrency) as threads:
            answers = []
            for done, answer in enumerate(threads.map(self.ask, prompts), 1):
                answers.append(answer)
                told(done)
            return answers


def parse_questions(text: str, article: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Questions of an endpoint's answer, and why others were left out: a question is taken if its answer stands in the article."""
    from llm_assets.evaluation.grading import holds

    begin, end = text.find("["), text.rfind("]")
    try:
        items = json.loads(text[begin : end + 1]) if 0 <= begin < end else None
    except (ValueError, RecursionError):
        items = None
    if not isinstance(items, list):
        return [], ["the answer holds no JSON list"]
    found, problems = [], []
    for number, item in enumerate(items, 1):
        fields = [
            item.get(name) if isinstance(item, dict) else None
            for name in ("entity", "kind", "relation", "answer", "sentence")
        ]
        wordings = item.get("questions") if isinstance(item, dict) else None
        if (
            not all(isinstance(field, str) and field.strip() for field in fields)
            or not isinstance(wordings, list)
            or not wordings
            or not all(isinstance(one, str) and one.strip() for one in wordings)
        ):
            problems.append(f"question {number}: a field is missing or empty")
        elif not holds(article, item["answer"]):
            problems.append(f"question {number}: the answer {item['answer']!r} does not stand in the article")
        elif not holds(item["sentence"], item["answer"]):
            problems.append(f"question {number}: the sentence does not hold the answer {item['answer']!r}")
        else:
            found.append(
                {
                    **{name: item[name].strip() for name in ("entity", "kind", "relation", "answer", "sentence")},
                    "questions": list(dict.fromkeys(one.strip() for one in wordings)),
                }
            )
    return found, problems


def parse_verdict(text: str) -> str:
    """``right``, ``refused`` or ``wrong`` from a judge's answer; what is none of them counts as wrong."""
    words = text.strip().lower().strip(" .*\"'`").split()
    return words[0].strip(".,:;*") if words and words[0].strip(".,:;*") in ("right", "refused", "wrong") else "wrong"
