"""The README and the documentation: links, files, generated pages, recipes and commands are right."""

import functools
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

import click
import pytest
import yaml
from click.testing import CliRunner
from pydantic import BaseModel

from docs.generate import pages
from llm_assets.artifacts.store import NO_PARTITION
from llm_assets.cli import cli
from llm_assets.compute.launch import TORCHRUN
from llm_assets.evaluation.checking import CHECKERS
from llm_assets.evaluation.problems import FAMILIES
from llm_assets.graph import GRAPH, open_workspace
from llm_assets.recipes import Recipe, chat, gpu, laptop, load_recipe
from llm_assets.recipes.frozen import Frozen
from llm_assets.settings import PROJECT
from llm_assets.tour import STEPS
from tests.support.commands import command_here
from tests.support.small_recipe import DEFAULT_STAGES, recipe_file
from tests.support.warcs import page, story, write

README, TUTORIAL = PROJECT / "README.md", PROJECT / "docs" / "tutorial.md"
PAGES = [README, *sorted((PROJECT / "docs").rglob("*.md"))]
FOLDERS = ("llm_assets", "resources", "sql", "tests", "benchmarks", "docs")
# Files that commands write, and modules that a guide tells the reader to write.
WRITTEN_BY_READERS = ("benchmarks/latest.json",)

GENERATED = tuple(pages())
HAND_WRITTEN = [path for path in PAGES if path not in GENERATED]
generated_pages = functools.cache(pages)  # to write all of them takes as long as 50 tests of this module


def for_each(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=lambda path: str(path.relative_to(PROJECT)))


each_page, each_hand_written_page = for_each(PAGES), for_each(HAND_WRITTEN)


class Fence(NamedTuple):
    """A fenced block: its language and its text, without common indentation."""

    language: str
    text: str


def fences(path: Path) -> list[Fence]:
    blocks, lines = [], iter(path.read_text().splitlines())
    for line in lines:
        opening = re.match(r"(\s*)```(\w*)", line)
        if opening is None:
            continue
        indent, body = len(opening[1]), []
        for inner in lines:
            if inner.strip() == "```":
                break
            body.append(inner[indent:])
        blocks.append(Fence(opening[2], "\n".join(body)))
    return blocks


def prose(path: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^(\s*)```.*?^\s*```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def code_spans(path: Path) -> list[str]:
    """What is in backticks outside of fenced blocks, each on one line."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(path))]


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


@each_page
def test_every_link_leads_to_a_file_and_a_heading(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", " ".join(prose(path).split())):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        assert linked.exists(), f"{path.name}: no file {target}"
        assert not anchor or anchor in anchors(linked), f"{path.name}: no heading for {target}"


@each_page
def test_every_file_of_the_project_that_is_named_exists(path):
    named = re.findall(rf"(?<![\w/.<-])(?:{'|'.join(FOLDERS)})/[\w./*-]+", path.read_text())
    for name in named:
        name = name.rstrip(".")
        assert name in WRITTEN_BY_READERS or list(PROJECT.glob(name)), f"{path.name}: no file {name}"


@each_page
def test_folders_of_artifacts_are_named_as_in_the_store(path):
    folder = re.compile(rf"\b({'|'.join(GRAPH.stages)})/([^/\s`\"']+)/[^\s`\"']")
    for asset, partition in folder.findall(path.read_text()):
        if partition != "*":
            assert (partition == NO_PARTITION) == (not GRAPH[asset].per_crawl), f"{asset}/{partition}"


@each_page
def test_lines_are_at_most_120_columns_long(path):
    lines = [line for line in path.read_text().splitlines() if not line.startswith("|")]
    assert [line for line in lines if len(line) > 120] == []


def test_the_readme_is_at_most_150_lines_long():
    assert len(README.read_text().splitlines()) <= 150


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.name)
def test_generated_pages_are_fresh(path):
    assert path.read_text() == generated_pages()[path], f"{path.name} is stale; run: make docs"


# Recipes


def recipe_blocks() -> Iterator[object]:
    for path in PAGES:
        for number, fence in enumerate(fences(path)):
            function = re.search(r"^def (\w+)\(\) -> Recipe", fence.text, re.MULTILINE)
            if fence.language == "python" and function:
                yield pytest.param(fence.text, function[1], id=f"{path.relative_to(PROJECT)}-{number}")


# Fields that an example changes without naming them: by `with_quality_rules`, and by the arguments of `chat`.
NOT_NAMED = {
    *(("text_statistics", field) for field in type(laptop().text_statistics).model_fields),
    *((group, "files") for group in ("conversations", "sft_evaluation", "human_rankings")),
    *(("practice_problems", field) for field in ("families", "word_problems")),
}


@pytest.mark.parametrize(("text", "function"), recipe_blocks())
def test_recipes_of_the_documentation_load(text, function, tmp_path):
    (tmp_path / "my_recipe.py").write_text(text)
    recipe = load_recipe(f"{tmp_path}/my_recipe.py:{function}")
    assert recipe.name == function
    # Nested `replace` keeps what the preset set: an example changes a few fields of a group, and no others.
    by_language = ("language", "quality", "text_statistics", "personal_data") if "in_language(" in text else ()
    base = chat("models/qwen3") if "chat(" in text else gpu() if "gpu()" in text else laptop()
    for name in Recipe.model_fields.keys() - by_language:
        group, preset = getattr(recipe, name), getattr(base, name)
        if isinstance(group, Frozen):
            preset = preset or type(group).model_construct()  # the defaults, which may not do alone
            changed = [field for field in type(group).model_fields if getattr(group, field) != getattr(preset, field)]
            assert len(changed) <= 3 and all(field in text or (name, field) in NOT_NAMED for field in changed), name


# Files of artifacts whose names begin with that of a group.
FILES_OF_ARTIFACTS = {
    "model.gguf",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer.model",
    "scorecard.html",
    "tokenizer.tiktoken",
}


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a field's type is, or is one alternative of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for argument in get_args(annotation) if (model := model_in(argument))), None)


def has_field(model: type[BaseModel] | None, names: list[str]) -> bool:
    """Whether the model has a field of the first name, whose type has a field of the second, and so on."""
    if not names:
        return True
    if model is None or names[0] not in model.model_fields:
        return False
    return has_field(model_in(model.model_fields[names[0]].annotation), names[1:])


@each_hand_written_page
def test_fields_of_recipes_that_are_named_exist(path):
    for span in code_spans(path):
        names = re.match(r"[a-z_]+(\.[a-z_]\w*)+", span)
        if names is None or span in FILES_OF_ARTIFACTS:
            continue
        group, *fields = names[0].split(".")
        model = model_in(Recipe.model_fields[group].annotation) if group in Recipe.model_fields else None
        assert model is None or has_field(model, fields), f"{path.name}: no field {names[0]}"


@pytest.mark.parametrize(
    ("names", "exists"),
    [
        ("practice_problems.word_problems", True),
        ("practice_problems.stories", False),
        ("pretraining.compute.micro_batch_size", True),
        ("pretraining.compute.rows", False),
        ("model.depth.width", False),
    ],
)
def test_the_search_for_fields_follows_the_groups(names, exists):
    assert has_field(Recipe, names.split(".")) == exists


def test_the_checkers_of_the_guide_are_those_of_the_code():
    text = (PROJECT / "docs/how-to/rl-problems.md").read_text()
    sentence = re.search(r"^\* `checker` is (.*?), or a function", text, re.MULTILINE | re.DOTALL)
    assert re.findall(r"`(\w+)`", sentence[1]) == list(CHECKERS)


def test_the_families_of_the_explanation_are_those_of_the_code():
    text = (PROJECT / "docs/explanation/reinforcement.md").read_text()
    table = re.search(r"^\| family \|.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in table[1].splitlines()[1:]]
    assert [row[0].strip("`") for row in cells] == list(FAMILIES)
    assert [tuple(row[2].split()) for row in cells] == [family.tools for family in FAMILIES.values()]


# Commands


VARIABLES = r"(?:\w+=\S+ )*"


def console_lines(path: Path) -> list[str]:
    """The lines of a page's console blocks, with continued lines joined."""
    blocks = [fence.text.replace("\\\n", " ") for fence in fences(path) if fence.language == "console"]
    return [line.strip() for block in blocks for line in block.splitlines()]


def commands_of(path: Path) -> list[str]:
    """The ``llm-assets …`` commands of a page's console blocks."""
    return [line for line in console_lines(path) if re.match(rf"{VARIABLES}llm-assets ", line)]


def transcribed_commands_of(path: Path) -> list[str]:
    """The ``llm-assets …`` commands after a ``$`` in a page's blocks without a language, which show their output."""
    lines = [line for fence in fences(path) if not fence.language for line in fence.text.splitlines()]
    return [line[2:] for line in lines if re.match(rf"\$ {VARIABLES}llm-assets ", line)]


def other_commands_of(path: Path, program: str) -> list[list[str]]:
    """The words after a program's name, for each of its commands in console blocks and in backticks."""
    lines = [line for line in [*console_lines(path), *code_spans(path)] if re.match(rf"{VARIABLES}{program} ", line)]
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[line.index(program) + 1 :] for line in words]


def words_of(line: str) -> list[str]:
    """The words after ``llm-assets``, without comments and variables."""
    words = shlex.split(line, comments=True)
    return words[words.index("llm-assets") + 1 :]


@each_page
def test_every_command_has_valid_words_and_options(path):
    for line in [*commands_of(path), *transcribed_commands_of(path)]:
        group, words = cli, words_of(line.replace("…", "sft"))
        while isinstance(group, click.Group):
            name, *words = words
            assert name in group.commands, f"{path.name}: no command in {line!r}"
            group = group.commands[name]
        group.make_context(name, words)  # raises UsageError for an unknown option or a wrong value


@each_page
def test_commands_named_in_the_text_exist(path):
    for name, word in re.findall(r"`llm-assets (\w[\w-]*)(?: (\w[\w-]*))?", prose(path)):
        assert name in cli.commands, f"{path.name}: no command {name}"
        group = cli.commands[name]
        if isinstance(group, click.Group) and word:
            assert word in group.commands, f"{path.name}: no command {name} {word}"


@each_page
def test_targets_of_make_exist(path):
    targets = re.findall(r"^([\w-]+):(?!=)", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    for words in other_commands_of(path, "make"):
        named = {word for word in words if "=" not in word}
        assert named <= set(targets), f"{path.name}: no target of make {named}"


def programs_of_readers(path: Path) -> set[str]:
    """Programs that a page has the reader write: blocks of Python whose first line is a comment with a file's name."""
    openings = [re.match(r"# (\S+\.py)\n", fence.text) for fence in fences(path) if fence.language == "python"]
    return {opening[1] for opening in openings if opening}


@each_page
def test_python_programs_and_their_options_exist(path):
    for words in other_commands_of(path, "python"):
        if words[0] == "-m":
            module = words[1].replace(".", "/")
            words = [f"{module}/__main__.py" if (PROJECT / module).is_dir() else f"{module}.py", *words[2:]]
        if words[0] in programs_of_readers(path):
            continue
        program = PROJECT / words[0]
        assert program.is_file(), f"{path.name}: no program {words[0]}"
        source = program.read_text() + (PROJECT / "benchmarks" / "model_shape.py").read_text()
        for option in (word.partition("=")[0] for word in words if word.startswith("--")):
            assert f'"{option}"' in source, f"{path.name}: {words[0]} has no option {option}"


def test_templates_of_several_machines_are_well_formed_and_name_what_exists():
    path = PROJECT / "docs/how-to/several-machines.md"
    templates = {fence.language: fence.text for fence in fences(path) if fence.language}
    service, job = yaml.safe_load_all(templates["yaml"])
    [container] = job["spec"]["template"]["spec"]["containers"]
    for script in (templates["bash"], container["args"][0]):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    modules = re.findall(r"-m (llm_assets[\w.]+)", container["args"][0])
    assert modules == [TORCHRUN, "llm_assets.pretraining.base_checkpoint_process"]
    assert all((PROJECT / f"{module.replace('.', '/')}.py").exists() for module in modules)
    variables = {variable["name"]: variable["value"] for variable in container["env"]}
    assert int(variables["PET_NNODES"]) == job["spec"]["completions"] == job["spec"]["parallelism"]
    assert variables["PET_RDZV_ENDPOINT"].startswith(f"{job['metadata']['name']}-0.{service['metadata']['name']}:")
    for asset in re.findall(r"--select '?\*?(\w+)", templates["bash"] + container["args"][0]):
        assert asset in GRAPH.stages


def test_the_tutorial_shows_every_step_of_the_tour():
    titles = [f"{number}. {step.title}" for number, step in enumerate(STEPS, 1)]
    lines = [line for fence in fences(TUTORIAL) if not fence.language for line in fence.text.splitlines()]
    assert [line for line in lines if line in titles] == titles
    assert "left out: " not in "\n".join(lines)


FULL_SIZE = "trains at full size"
NOT_RUN = {
    "llm-assets crawls add mine --texts /data/texts": "takes the place of the line before it",
    "llm-assets crawls add mine --seed https://example.org/ --set max_pages=500": "needs the network",
    "llm-assets run --recipe my_recipe.py:longer@mine": FULL_SIZE,
}


def readers_commands() -> list[str]:
    """The commands of README and tutorial in the order in which a reader meets them, each once."""
    lines = [re.sub(r"\s+#.*", "", line) for path in (TUTORIAL, README) for line in commands_of(path)]
    return list(dict.fromkeys(lines))


def test_commands_that_are_not_run_are_still_in_the_documentation():
    assert NOT_RUN.keys() <= set(readers_commands())


def check_model_of_one_crawl(reference: str, output: str) -> None:
    """A run for a crawl built everything up to the export from this crawl alone, and printed how to name the model."""
    assert f"llm-assets chat --recipe {reference}" in output
    resolver = open_workspace(reference).resolver()
    for stage in DEFAULT_STAGES:
        record = resolver.artifact(stage.name, "mine" if stage.per_crawl else None).record
        assert [key for key in record.fields["inputs"] if "/" in key and not key.endswith("/mine")] == []
    assert resolver.artifact("model_export", None).record.files


@pytest.mark.slow
def test_the_commands_of_the_tutorial_and_the_readme_run(tmp_path, monkeypatch):
    """In their order, on a small sample web and a small model, in a folder that begins empty."""
    recipe_file(
        tmp_path / "recipe.py",
        "{'sample': SampleWeb(scale=0.08)}",
        'search_only_hosts=("quietarchive.example",),',
    )
    pages_of_a_user = [page(f"http://mine.example/{number}", story(number)) for number in range(24)]
    write(tmp_path / "warc" / "mine.warc.gz", pages_of_a_user)
    replaced = {"/data/warc": str(tmp_path / "warc"), "laptop@mine": f"{tmp_path}/recipe.py:mine@mine"}
    monkeypatch.setenv("LLM_ASSETS_RECIPE", f"{tmp_path}/recipe.py:mine")
    assert command_here(tmp_path, "setup").returncode == 0
    for line in readers_commands():
        if line in NOT_RUN:
            continue
        words = [replaced.get(word, word) for word in words_of(line)]
        if words[0] == "run":
            done = command_here(tmp_path, *words)
            assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            if words[1:] == ["--crawl", "mine"]:
                check_model_of_one_crawl(f"{tmp_path}/recipe.py:mine@mine", done.stdout)
        else:
            result = CliRunner().invoke(cli, words, input="")
            assert result.exit_code == 0, f"{line}\n{result.output[-3000:]}\n{result.exception!r}"
            assert result.output.strip() or words[0] == "chat", f"{line} printed nothing"
