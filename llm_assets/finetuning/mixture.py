"""The mixture of generated conversations and those of the user's files, decontaminated against the evaluation."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm_assets.artifacts.progress import Progress
from llm_assets.dialogue.conversation_files import read_conversations
from llm_assets.dialogue.messages import to_json
from llm_assets.dialogue.splits import stable_share
from llm_assets.evaluation.overlap import Phrases, question_phrases
from llm_assets.model.chat import Message
from llm_assets.recipes import ConversationFile, Conversations

from .dialogues import generate_conversations
from .material import Material

TOOL_SETS = ((), ("search",), ("python",), ("search", "python"))
GENERATED = "generated"  # source of conversations that are from no file


@dataclass
class Mixture:
    """The conversations that are trained on, and those that were left out.

    evaluated: phrases of the evaluations' questions, which no user message may contain. overlaps: conversations that
    contain one. mentions: number of conversations that mention a held-out name. rejects: rows of files that are not
    valid conversations.
    """

    evaluated: Phrases = field(default_factory=Phrases)
    rows: list[dict[str, Any]] = field(default_factory=list)
    overlaps: list[dict[str, Any]] = field(default_factory=list)
    rejects: list[dict[str, Any]] = field(default_factory=list)
    mentions: int = 0

    def read(self, file: ConversationFile) -> Iterator[tuple[int, Sequence[Message]]]:
        """A file's conversations with their line numbers. Invalid rows are added to the rejects."""
        for row in read_conversations(Path(file.path).expanduser()):
            if row.problem:
                self.rejects.append({"file": file.name, "line": row.line, "reason": row.problem})
            else:
                yield row.line, row.messages

    def decontaminate(self, evaluation: Sequence[dict[str, Any]], settings: Conversations) -> None:
        """Record the questions that may not be trained on: the evaluation's and the user's evaluation files'."""
        questions = [(row["question"], row["group"]) for row in evaluation]
        for file in settings.evaluation_files:
            for _, messages in self.read(file):
                questions += [(message.content, file.name) for message in messages if message.role == "user"]
        self.evaluated = question_phrases(questions, settings.overlap_words)

    def add(self, source: str, line: int, messages: Sequence[Message], sources: Sequence[str]) -> None:
        """Add a conversation, unless a user message shares a question with an evaluation."""
        for message in messages:
            shared = self.evaluated.find(message.content) if message.role == "user" else None
            if shared:
                overlap = {"source": source, "line": line, "evaluation": shared[1], "shared": shared[0]}
                self.overlaps.append(overlap)
                return
        self.rows.append(
            {
                "conversation": len(self.rows),
                "source": source,
                "sources": json.dumps(list(sources)),
                "line": line,
                "messages": to_json(messages),
            }
        )

    def add_generated(
        self,
        progress: Progress,
        settings: Conversations,
        material: Material,
        weights: dict[str, float],
        held_out_names: Iterable[str],
    ) -> None:
        """Generate conversations and add those that mention no held-out name."""
        held_out_phrases = Phrases()
        for name in sorted(held_out_names):
            held_out_phrases.add(name, name)
        progress.start(settings.count, "conversations")
        count, tool_sets = settings.count if weights else 0, tuple(zip(TOOL_SETS, settings.tools, strict=True))
        generated = generate_conversations(settings.seed, count, material, weights, tool_sets, settings.turns)
        for number, (messages, sources) in enumerate(generated):
            if any(held_out_phrases.find(message.content) for message in messages):
                self.mentions += 1
            else:
                self.add(GENERATED, number, messages, sources)
            if number % 1_000 == 0:
                progress.advance(number)

    def add_files(self, files: Sequence[ConversationFile], seed: int) -> dict[str, int]:
        """Add the conversations of all files; by file, how many rows of the mixture they are.

        A file with a `share` is repeated after the others, in proportion to what they and the generated conversations
        amount to.
        """
        counts = {file.name: self.add_file(file, seed) for file in files if file.share is None}
        others, shares = len(self.rows), sum(file.share or 0.0 for file in files)
        for file in files:
            if file.share is not None:
                counts[file.name] = self.add_file(file, seed, round(others * file.share / (1 - shares)))
        return {file.name: counts[file.name] for file in files}

    def add_file(self, file: ConversationFile, seed: int, wanted: int | None = None) -> int:
        """Add a file's conversations, at most `max_rows` of them, drawn by hash, as often as its `repeat` says.

        wanted: rows of the mixture that the file is to become, in place of `repeat`. Returns how many it became; those
        that share a question with an evaluation count as none.
        """
        count_before, conversations = len(self.rows), list(self.read(file))
        if file.max_rows is not None and len(conversations) > file.max_rows:
            by_hash = sorted(conversations, key=lambda row: stable_share("row", str(seed), file.name, str(row[0])))
            conversations = sorted(by_hash[: file.max_rows], key=lambda row: row[0])
        for line, messages in conversations:
            self.add(file.name, line, messages, [file.name])
        added = self.rows[count_before:]
        if wanted is None and file.repeat is not None:
            wanted = round(len(added) * file.repeat)
        if wanted is not None and added:
            by_hash = sorted(added, key=lambda row: stable_share("repeat", str(seed), file.name, str(row["line"])))
            whole, rest = divmod(wanted, len(added))
            drawn = {row["line"] for row in by_hash[:rest]}
            self.rows[count_before:] = []
            for row in added:
                for _ in range(whole + (row["line"] in drawn)):
                    self.rows.append({**row, "conversation": len(self.rows)})
        return len(self.rows) - count_before
