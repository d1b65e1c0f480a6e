"""The steps of the tour, in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llm_assets.artifacts.errors import ArtifactError

from . import assistant, base, later, pages
from .layout import wrapped
from .visit import NothingToShow, Visit


class TourError(ValueError):
    """A step that does not exist; the message lists those that do."""


@dataclass(frozen=True)
class Step:
    """A step of the tour.

    seen: one or two sentences on what is seen. assets: those without which there is nothing to show. show: the lines to
    print.
    """

    name: str
    title: str
    seen: str
    assets: tuple[str, ...]
    show: Callable[[Visit], list[str]]


@dataclass(frozen=True)
class Report:
    """A step that was taken: its lines, or why it was left out."""

    step: Step
    number: int
    lines: list[str]
    left_out: str = ""

    def text(self) -> str:
        """What is printed: a heading, what is seen, and the lines; or the heading and why there are none."""
        heading = f"{self.number}. {self.step.title}"
        if self.left_out:
            return "\n".join([heading, *wrapped(f"left out: {self.left_out}", "  ")])
        return "\n".join([heading, "", *wrapped(self.step.seen, "  "), "", *self.lines])


STEPS: tuple[Step, ...] = (
    Step(
        "page",
        "A page as the crawler received it",
        "A model's education begins with files like this. Most of it is markup, menus and notices, which a reader of "
        "the page never wanted.",
        ("raw_warc", "clean_corpus"),
        pages.raw_page,
    ),
    Step(
        "text",
        "The text that is left",
        "The pipeline extracts the main text, drops pages that are no good, duplicates and other languages, and masks "
        "personal data. This is what the model reads.",
        ("clean_corpus",),
        pages.clean_page,
    ),
    Step(
        "tokens",
        "Bits, bytes and tokens",
        "To a computer the text is a row of bits; eight make a byte. The tokenizer replaces frequent runs of bytes by "
        "single symbols, so that the same text becomes a shorter row over a larger alphabet.",
        ("clean_corpus", "tokenizer"),
        pages.tokens,
    ),
    Step(
        "next",
        "What comes next",
        "The model reads tokens and gives every token of its vocabulary a probability of being the next. Training has "
        "adjusted its parameters until these agree with what follows in the pages.",
        ("base_checkpoint",),
        base.next_tokens,
    ),
    Step(
        "samples",
        "Flipping a biased coin",
        "To write, the model draws a token by these probabilities, appends it, and asks itself again. Other draws give "
        "other texts, none of which need occur on any page.",
        ("base_checkpoint",),
        base.samples,
    ),
    Step(
        "recite",
        "A page by heart",
        "A text that was read often enough is stored word for word; of most pages only the gist is left, as a vague "
        "memory.",
        ("base_checkpoint", "clean_corpus"),
        base.recitation,
    ),
    Step(
        "pairs",
        "Learning from the prompt",
        "Nothing in the model changes, yet the first pairs of the prompt decide how the last is completed. This is "
        "learning in context.",
        ("base_checkpoint",),
        base.pairs,
    ),
    Step(
        "prompted",
        "The base model as an assistant",
        "A base model only continues documents. If the document is a conversation in which an assistant answers, it "
        "continues that, and so becomes an assistant of a kind.",
        ("base_checkpoint",),
        base.prompted,
    ),
    Step(
        "conversation",
        "A conversation as tokens",
        "Fine-tuning continues the training on conversations. Special tokens mark whose turn it is, and only the "
        "tokens in «» are learned: those that the assistant itself must produce.",
        ("conversations",),
        assistant.conversation,
    ),
    Step(
        "fact",
        "A fact",
        "The assistant answers from its parameters, a memory that is good for what many pages say. No conversation "
        "contained this question in these words.",
        ("sft_checkpoint", "conversations"),
        assistant.fact,
    ),
    Step(
        "unknown",
        "Somebody who does not exist",
        "A model that has only seen confident answers gives one to every question. The assistant was also shown what "
        "it does not know, and should say so.",
        ("sft_checkpoint", "conversations"),
        assistant.fictitious,
    ),
    Step(
        "search",
        "Looking it up",
        "With a search tool the assistant need not remember. It writes a query between special tokens, the result is "
        "put into its context, its working memory, and it answers from there.",
        ("sft_checkpoint", "conversations", "search_index"),
        assistant.search,
    ),
    Step(
        "self",
        "Who it is",
        "A model has no self that it could look up. It answers as conversations written for this purpose taught it.",
        ("sft_checkpoint", "conversations"),
        assistant.small_talk,
    ),
    Step(
        "limits",
        "What it cannot do",
        "A small model that was trained on a small web knows little. An honest sentence is better than a poem without "
        "sense or an invented fact.",
        ("sft_checkpoint", "conversations"),
        assistant.limits,
    ),
    Step(
        "sums",
        "Models need tokens to think",
        "Each token gets the same, small amount of computation. Spread over the tokens of intermediate results, a sum "
        "is within reach; in a single token it hardly is; and Python is the most reliable.",
        ("sft_checkpoint", "conversations", "search_index"),
        assistant.sums,
    ),
    Step(
        "letters",
        "Models see tokens, not letters",
        "To the model a word is one or a few symbols. Spelling it out, letter by letter, or leaving it to Python makes "
        "the letters visible.",
        ("sft_checkpoint", "conversations", "search_index"),
        assistant.letters,
    ),
    Step(
        "reinforcement",
        "Learning by trial and error",
        "In reinforcement learning nobody shows a solution. The model tries many, and those that end with the right "
        "answer are made more probable.",
        ("rl_evaluation",),
        later.reinforcement,
    ),
    Step(
        "preference",
        "Which answer is better",
        "For open questions there is no right answer to check. A reward model learned from rankings stands in for a "
        "person's judgement; it is an imitation of it, and can be wrong.",
        ("sft_checkpoint", "reward_checkpoint", "response_pairs"),
        later.preference,
    ),
    Step(
        "tuned",
        "The tuned model",
        "Preference tuning makes answers with high rewards more probable. Compare the answers of the stages to the "
        "same questions.",
        ("sft_checkpoint", "rlhf_checkpoint", "reward_checkpoint", "response_pairs"),
        later.tuned,
    ),
)


def find_step(name: str) -> int:
    """The place of a step, given its number (from 1) or its name. Raises TourError."""
    names = [step.name for step in STEPS]
    if name.isdecimal() and 1 <= int(name) <= len(STEPS):
        return int(name) - 1
    if name in names:
        return names.index(name)
    raise TourError(f"no step {name!r}; there are 1 to {len(STEPS)}, or by name: {', '.join(names)}")


def take_step(place: int, visit: Visit) -> Report:
    """Take a step, or say why it is left out: an artifact is not built, or it has nothing to show."""
    step = STEPS[place]
    try:
        for asset in step.assets:
            visit.artifact(asset)
        return Report(step, place + 1, step.show(visit))
    except (ArtifactError, NothingToShow) as error:
        return Report(step, place + 1, [], str(error))


def overview(steps: Sequence[Step] = STEPS) -> list[str]:
    """The steps with their numbers and names."""
    return [f"{number:>2}  {step.name:<14} {step.title}" for number, step in enumerate(steps, 1)]
