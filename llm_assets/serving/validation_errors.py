"""Requests that do not fit their schema: what is wrong, and where, in the words of the API's other errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError

from .errors import ApiError, invalid

# By the type of pydantic's error (docs.pydantic.dev/latest/errors/validation_errors).
WRONG_TYPE = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
}
PROBLEMS = {
    **WRONG_TYPE,
    "missing": "missing",
    "finite_number": "must be a finite number",
    "none_required": "not supported; leave it out",
    "literal_error": "must be {expected}",
    "greater_than": "must be more than {gt:,}",
    "greater_than_equal": "must be at least {ge:,}",
    "less_than": "must be less than {lt:,}",
    "less_than_equal": "must be at most {le:,}",
    "too_short": "must not have fewer items than {min_length:,}",
    "too_long": "must not have more items than {max_length:,}",
    "string_too_short": "must not have fewer characters than {min_length:,}",
    "string_too_long": "must not have more characters than {max_length:,}",
    "string_pattern_mismatch": "must match the pattern {pattern}",
    "value_error": "{error}",
}
OTHERWISE = "not valid"
# Why Python's parser gives up on a body. UnicodeDecodeError is a ValueError.
UNREADABLE: tuple[tuple[type[Exception], str], ...] = (
    (UnicodeDecodeError, "the body is not UTF-8"),
    (RecursionError, "the body's objects and lists are nested too deeply"),
    (ValueError, "a number in the body has too many digits"),
)


def validation_error(error: RequestValidationError) -> ApiError:
    """The problem of a request in one sentence; the body itself is not repeated.

    A field that may be of several types has a problem with each: the one that is found deepest in the body says most,
    and a wrong type says least.
    """
    problems = [(_place(problem, error.body), problem) for problem in error.errors()]
    place, problem = max(problems, key=lambda item: (len(item[0]), item[1]["type"] not in WRONG_TYPE))
    if problem["type"] == "json_invalid":
        return invalid(f"the body is not JSON, from character {problem['loc'][-1]} on")
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")[:200]
    if problem["type"] == "extra_forbidden":
        return invalid(f"Unrecognized request argument supplied: {name}", name)
    is_typed = problem["type"] in WRONG_TYPE
    texts = [_text(other) for at, other in problems if at == place and (other["type"] in WRONG_TYPE) == is_typed]
    message = ", or ".join(dict.fromkeys(texts))[:300]
    return invalid(f"{name or 'the body'}: {message}", name or None)


def unreadable_body(cause: BaseException | None) -> ApiError:
    """The error of a body that cannot be parsed, but is not simply no JSON. cause: what the parser raised."""
    return invalid(next((text for kind, text in UNREADABLE if isinstance(cause, kind)), "the body cannot be read"))


def _text(problem: Mapping[str, Any]) -> str:
    return PROBLEMS.get(problem["type"], OTHERWISE).format_map(problem.get("ctx", {}))


def _place(problem: Mapping[str, Any], body: Any) -> tuple[str | int, ...]:
    """The field: pydantic's location without what is not in the body, which are names of the types of a union."""
    source, *parts = problem["loc"]
    if source != "body":
        return tuple(parts)
    place: list[str | int] = []
    for part in parts:
        if (isinstance(body, dict) and part in body) or (isinstance(body, list) and part in range(len(body))):
            place.append(part)
            body = body[part]
    return (*place, parts[-1]) if problem["type"] == "missing" and parts else tuple(place)
