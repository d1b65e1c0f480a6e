"""The project's words and its form: no banned term in code, SQL, templates and docs, and no line over 120 columns.

Each banned term is a regular expression with the words to use in its place. Terms are searched in identifiers, strings
and comments alike. An exception is a narrow pattern that is removed from a line before the search, or a folder whose
sentences are data; each has its reason beside it.
"""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise

import pytest

from llm_assets.settings import PROJECT

COLUMNS = 120
FUNCTION_LINES, PARAMETERS = 60, 6
LISTS_OF_SETTINGS = {("llm_assets/recipes/presets.py", "laptop")}  # one expression, a line per field
CHECKED = (".py", ".sql", ".j2", ".md", ".yaml", ".toml", ".js", ".css", ".html", "Makefile", ".ci/run")
THIS_FILE = "tests/test_terms.py"
CLOSING, OPENING = " \"'\\", r"^\s*(#|--|\*|>)?\s*f?[\"']?"  # around a line break within a sentence


@dataclass(frozen=True)
class Term:
    """A banned term. data: folders and files whose sentences are data, in which it is an ordinary English word."""

    pattern: str
    instead: str
    data: tuple[str, ...] = ()

    def search(self, line: str) -> re.Match[str] | None:
        return re.search(self.pattern, line, re.IGNORECASE)


SAMPLE_WEB = "llm_assets/sample_web/"  # the texts of its pages
GUIDELINES = (
    "llm_assets/dialogue/guidelines.md",
    "llm_assets/dialogue/published_guidelines.md",
)  # questions and answers of conversations
STORY_TESTS = "tests/"  # texts that tests write into pages
QUOTED_PAGES = "docs/tutorial.md"  # its output of the tour quotes pages of the sample web
_QUANTITY = r"(bits|nats|bytes|megabytes|MB|tokens|pages|captures|documents|FLOPs|seconds|milliseconds)"
_UNIT = r"(byte|token|page|capture|document|second|CPU-second|step|asset|row|sequence|parameter|weight|query|call)"
# Nouns that "training" qualifies after an article.
_TRAINING_NOUN = (
    r"(runs?|stages?|steps?|jobs?|process(es)?|loop|split|set|data|texts?|pages?|tokens?|documents?|batch\w*|sequences?"
    r"|subjects?|examples?|questions?|conversations?|problems?|prompts?|pairs?|topics?|facts?|state|machines?|memory"
    r"|checkpoints?)\b"
)
TERMS = [
    # Field terms
    Term(r"(?<![a-z])tastes?(?![a-z])", "preference tuning, preference"),
    Term(
        r"(?<![a-z])practi[cs](e|ed|es|ing)(?![a-z])",
        "reinforcement learning, RL, training",
        (SAMPLE_WEB, QUOTED_PAGES),
    ),
    Term(r"(?<![a-z])(policy)?looks\b(?=[\"'`\]])|\bPolicyLooks\b|\blooks = ", "evaluation steps"),
    Term(r"\b(best|last|first|each|every|patience`?|two|\d+) looks?\b(?! (up|at|for|like|into))", "evaluation step"),
    Term(r"(?<![a-z])pass_(rows|pairs)", "micro-batch size"),
    Term(r"(?<![a-z])(run|resumed)_parts?(?![a-z])|\w_part\(|(?-i:\bPARTS\b)", "tasks, shards"),
    Term(r"\bliterals\b", "config"),
    Term(r"\boutside (inputs?|versions?|files?|state)\b|_outside\b|\boutside_", "external inputs"),
    Term(r"[\"'`_]nowhere|nowhere[\"'`_]|\b(of|about|from) nowhere\b|(?-i:Nowhere)", "fictitious entities"),
    Term(r"(?<![a-z])strangers?(?![a-z])", "fictitious entities"),
    Term(r"mitigat(e|es|ed|ing|ion)", "ablation"),
    Term(r"(?<![a-z])guard(s|ed|ing)?(?![a-z])", "over-optimisation monitor, monitor"),
    Term(r"rehears", "replay"),
    Term(r"(?<!standard )(?<!standard_)(?<![a-z])deviations?(?![a-z])", "standard deviation"),
    Term(r"(?<![a-z])forced(?![a-z])", "tool-output tokens"),
    Term(rf"\b{_QUANTITY} an? {_UNIT}s?\b", "per: bits per byte, tokens per second, pages per CPU-second"),
    Term(r"\bbut\(\)|\.but\(|\bdef but\b", "replace()"),
    Term(r"\b(shared|lower|another|each|every|other|this|its|their) rooms?\b|\bhouse rules?\b", "package, rule"),
    Term(r"\b(the|whole|this) road\b", "stages, pipeline", (SAMPLE_WEB, STORY_TESTS, QUOTED_PAGES)),
    Term(r"(?<![a-z])trainings(?![a-z])", "training runs, training stages"),
    Term(
        rf"\b(a|any|one|another|every|each|resumed|new|finished) training\b(?! {_TRAINING_NOUN})",
        "training, a training run",
    ),
    # Plain English
    Term(r"\banew\b", "again, from scratch"),
    Term(r"\bbehind\b", "after, beyond, downstream", (SAMPLE_WEB,)),
    Term(r"\bmend(s|ed|ing)?\b", "fix", (SAMPLE_WEB,)),
    Term(r"\bof (a|the|an) \w+'s own(?! \w)|\bof (Dagster|MLflow|torch|transformers|DuckDB|Polars)'s\b", "its"),
    Term(r"\bheld against\b", "compared with"),
    Term(r"\b(go|goes|gone|went|going) on (with|from)\b", "continue"),
    Term(r"(?<![a-z])(keep|keeps|kept|keeping)[ _]apart(?![a-z])", "held out, separate"),
    Term(r"\bto be had\b|\bas it stood\b|\bwhat it was given\b", "a plain verb"),
    Term(
        r"\b(is|are|was|were|be) told\b|\btells (of|what|how|which|whether|that)\b",
        "reported, recorded",
        (SAMPLE_WEB,),
    ),
    Term(
        r"\b(stands?|lies) (in|on|at|below|above|beside|behind|between|within)\b(?! for\b)",
        "is, is stored",
        (SAMPLE_WEB, STORY_TESTS),
    ),
    Term(r"\bthings\b", "the noun", (SAMPLE_WEB, *GUIDELINES)),
]
ALLOWED = [
    (r"(?i)practice[ _-]problems|PracticeProblems", "the name of an asset and of its section of a recipe"),
    (
        r"(?i)hallucination[ _]?mitigations|Mitigations(Job|Config)",
        "the name of an asset, and of its section of a recipe",
    ),
    (r"\bin practice\b|\bbest practices?\b|\bcommon practice\b", "another meaning"),
    (r"f\"practice-\{", "seeds a random generator"),
    (r"f\"nowhere-", "seeds a random generator"),
    (r"nowhere[_ ]else", "another meaning"),
    (r"\bsplit_part\(", "a function of DuckDB"),
    (r"\"resumed_parts\"", "a field in records of earlier versions"),
    (r"the letter \S+ stand in|answers stand in the article", "a question or a prompt, hence data"),
    (r"\b[A-Z]\w+ lies in [A-Z]\w+", "a sentence of the sample web"),
    (r"tells of much", "an answer in tests, hence data"),
    (r"stable_share\(\"(rehearsed|guard)\"", "feeds a hash"),
    (r"\bstand-ins?\b|\bstands? in for\b", "a substitute"),
    (r"\bsafeguards?\b", "another word"),
    (r"\bleaves? behind\b|\bclock is a week behind\b|hill behind it", "idioms, and a test's page"),
]
BANNED_NAMES = {
    *("one", "found", "kept", "told", "said", "things", "theirs", "asked", "made", "own", "what"),
    *("OPEN", "MOST", "TOP", "AT_ONCE", "OWN"),
}


@dataclass(frozen=True)
class Hit:
    file: str
    line: int
    text: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}: {self.text.strip()[:100]}"


def tracked_files() -> list[str]:
    """The project's text files that people write; data and JSON are not among them."""
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    return [file for file in listed.splitlines() if file.endswith(CHECKED) and (PROJECT / file).exists()]


@pytest.fixture(scope="module")
def lines() -> list[tuple[str, int, str]]:
    """Every line of the tracked files, as (file, number, text)."""
    return [
        (file, number, text)
        for file in tracked_files()
        for number, text in enumerate((PROJECT / file).read_text().splitlines(), 1)
    ]


def without_exceptions(text: str) -> str:
    for pattern, _ in ALLOWED:
        text = re.sub(pattern, "", text)
    return text


def fail_on(hits: list[Hit]) -> None:
    """Fail with every hit, one on each line."""
    if hits:
        pytest.fail(f"{len(hits)} hits\n" + "\n".join(map(str, hits)), pytrace=False)


def joined(*lines: str) -> str:
    """Lines as one sentence: without the quotes of wrapped strings and the marks of comments and lists."""
    return " ".join(re.sub(OPENING, "", line).rstrip(CLOSING) for line in lines)


@pytest.fixture(scope="module")
def texts(lines) -> dict[str, tuple[list[str], str]]:
    """By file, its lines and a text that holds each term of them, also one that is wrapped over two lines."""
    by_file = {file: [text for _, _, text in group] for file, group in groupby(lines, key=lambda line: line[0])}
    return {file: (of_file, "\n".join([*of_file, joined(*of_file)])) for file, of_file in by_file.items()}


def occurrences(term: Term, file: str, of_file: list[str]) -> Iterator[Hit]:
    """The term in the lines of a file, and in two lines that it is wrapped over."""
    spared = [without_exceptions(text) for text in of_file]
    for number, text in enumerate(spared, 1):
        if match := term.search(text):
            yield Hit(file, number, text, f"{match[0]!r}, say: {term.instead}")
    for number, pair in enumerate(pairwise(of_file), 1):
        if any(map(term.search, (*spared[number - 1 : number + 1], joined(pair[0]), joined(pair[1])))):
            continue
        if match := term.search(without_exceptions(joined(*pair))):
            yield Hit(file, number, " / ".join(pair), f"{match[0]!r} over two lines, say: {term.instead}")


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.instead)
def test_no_banned_term(texts, term):
    hits = [
        hit
        for file, (of_file, text) in texts.items()
        if file != THIS_FILE and not file.startswith(term.data or ("\0",)) and term.search(text)
        for hit in occurrences(term, file, of_file)
    ]
    fail_on(hits)


def bound_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Names that a module gives to variables, parameters, functions and classes, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name, node.lineno


def test_names_say_what_they_hold():
    hits = [
        Hit(file, line, name, "a name that does not say what it holds")
        for file in tracked_files()
        if file.endswith(".py")
        for name, line in sorted(set(bound_names(ast.parse((PROJECT / file).read_text()))))
        if name in BANNED_NAMES
    ]
    fail_on(hits)


def parameter_count(function: ast.FunctionDef) -> int:
    """Without that of the instance or the class."""
    arguments = function.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def is_kernel(function: ast.FunctionDef) -> bool:
    """Whether it is compiled; such functions take arrays one by one, and say why they are long."""
    return any(ast.unparse(decorator) in ("compiled", "inlined") for decorator in function.decorator_list)


def is_command(function: ast.FunctionDef) -> bool:
    return any(".command(" in ast.unparse(decorator) for decorator in function.decorator_list)


def test_functions_are_short_and_take_few_parameters():
    hits = []
    for file in tracked_files():
        functions = ast.walk(ast.parse((PROJECT / file).read_text())) if file.endswith(".py") else ()
        for function in functions:
            if not isinstance(function, ast.FunctionDef):
                continue
            size, explained = function.end_lineno - function.lineno + 1, "long" in (ast.get_docstring(function) or "")
            is_list = (file, function.name) in LISTS_OF_SETTINGS
            if size > FUNCTION_LINES and not (is_list or (is_kernel(function) and explained)):
                hits.append(Hit(file, function.lineno, function.name, f"{size} lines"))
            is_exempt = is_kernel(function) or is_command(function) or function.name.startswith("test_")
            if parameter_count(function) > PARAMETERS and not is_exempt:
                hits.append(Hit(file, function.lineno, function.name, f"{parameter_count(function)} parameters"))
    fail_on(hits)


def cannot_be_broken(file: str, text: str) -> bool:
    """A row of a Markdown table, or a single word such as a URL."""
    is_table_row = file.endswith(".md") and text.startswith("|")
    return is_table_row or len(text.split()) == 1


def test_no_line_is_longer_than_the_page(lines):
    hits = [
        Hit(file, number, text, f"{len(text)} columns")
        for file, number, text in lines
        if len(text) > COLUMNS and not cannot_be_broken(file, text)
    ]
    fail_on(hits)


def test_the_formatter_is_switched_off_nowhere_and_long_lines_are_not_ignored(lines):
    switches = re.compile(r"fmt: ?(skip|off)|noqa: ?E501")
    hits = [
        Hit(file, number, text, "switches the formatter off")
        for file, number, text in lines
        if file != THIS_FILE and switches.search(text)
    ]
    fail_on(hits)
    lint = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert "E501" not in lint.get("ignore", []), "pyproject.toml: [tool.ruff.lint] ignores E501"


@pytest.mark.parametrize(
    ("text", "is_banned"),
    [
        ("the road from crawl to chat", True),
        ("1.2 bits a byte", True),
        ("deviation = 1.0", True),
        ("standard_deviation = 1.0", False),
        ("practice_problems", False),
        ("def test_practice_leaves_a_curve():", True),
        ('random.Random(f"nowhere-{seed}")', False),
        ("matched values are stored nowhere", False),
        ('kind == "nowhere"', True),
        ("the version of the user's own families", False),
        ("a partition of a crawl's own", True),
        ("it stands in the corpus", True),
        ("a stage that stands in for another", False),
        ("a page that looks like a list", False),
        (joined("# the figures stand", "    # in one table"), True),
        (joined('    "a model of one train', '    "ing run"'), False),
        (joined('    "after a training "', '    f"the model"'), True),
        ("a training run", False),
        ("what the crawl leaves behind", False),
        ("it stops behind the corpus", True),
    ],
)
def test_the_search_finds_terms_in_text_and_names_and_spares_exceptions(text, is_banned):
    assert any(term.search(without_exceptions(text)) for term in TERMS) == is_banned
