"""Takedowns: which models are marked, and which files still contain a text."""

import contextlib
import gzip
import json
import sqlite3

import polars as pl
import pytest

from llm_assets.artifacts import ArtifactError, Store
from llm_assets.artifacts.identity import Identity
from llm_assets.artifacts.purge import MarkedModel, Takedown, Takedowns, refuse_unfinished
from llm_assets.artifacts.record import FileEntry, Record, data_version
from llm_assets.artifacts.text_search import (
    files_containing,
    lines_not_containing,
    pieces_found_nowhere_else,
    text_pieces,
)

TEXT = (
    "The keeper of the northern lighthouse counted eleven herring boats; “none” came home before Ämter & sons.\n"
    "Her own title"
)


def put_model(store, asset, inputs, weights=b"w"):
    """Publish a model."""
    files = {"model.safetensors": weights + asset.encode()}
    identity = Identity(asset, None, "1", {}, inputs)
    staging = store.open_staging(identity)
    for name, content in files.items():
        (staging / name).write_bytes(content)
    entries = {name: FileEntry(bytes=len(content), sha256=content.hex()) for name, content in files.items()}
    record = Record(
        asset=asset,
        partition=None,
        identity=identity.digest,
        fields=identity.fields(),
        files=entries,
        data_version=data_version(entries),
    )
    return store.publish(identity, staging, record)


def test_models_built_from_a_marked_model_are_marked(tmp_path):
    store = Store(tmp_path)
    base = put_model(store, "base_checkpoint", {"token_shards/c": "gone"})
    continued = put_model(store, "base_checkpoint", {"base_checkpoint@before": base.data_version}, b"further")
    tuned = put_model(store, "sft_checkpoint", {"base_checkpoint": continued.data_version})
    other = put_model(store, "base_checkpoint", {"token_shards/d": "there"}, b"other")
    takedowns = Takedowns(store)
    marked = MarkedModel(key="base_checkpoint", identity=base.record.identity, data_version=base.data_version)
    takedown = Takedown(rule="site.example", began="2026-11-25", finished="2026-11-25", models=[marked])
    takedowns.save(takedown)
    assert takedowns.marked_models() == {model.record.identity: ["site.example"] for model in (base, continued, tuned)}
    assert other.record.identity not in takedowns.marked_models()
    store.delete(base)  # the models that continue it still hold the pages
    assert takedowns.marked_models() == {model.record.identity: ["site.example"] for model in (continued, tuned)}
    takedown.cleared = [base.record.identity]
    takedowns.save(takedown)
    assert takedowns.marked_models() == {}


def test_unfinished_and_unreadable_takedowns_are_refused(tmp_path):
    store = Store(tmp_path)
    refuse_unfinished(store)
    takedowns = Takedowns(store)
    takedowns.save(Takedown(rule="site.example", began="2026-11-25"))
    with pytest.raises(ArtifactError, match=r"run again: llm-assets takedown site\.example"):
        refuse_unfinished(store)
    takedowns.path("site.example").write_text("{")
    with pytest.raises(ArtifactError, match="not a readable takedown"):
        takedowns.load_all()


def test_a_takedown_of_version_0_1_is_readable(tmp_path):
    takedowns = Takedowns(Store(tmp_path))
    takedowns.save(Takedown(rule="site.example", began="2026-11-25", external_files=["/warcs/a.warc.gz"]))
    path = takedowns.path("site.example")
    path.write_text(path.read_text().replace('"external_files"', '"outside"'))
    (takedown,) = takedowns.load_all()
    assert takedown.external_files == ["/warcs/a.warc.gz"]


def test_text_is_found_in_every_kind_of_file(tmp_path):
    pieces = text_pieces([TEXT])
    assert all(piece in TEXT for piece in pieces) and len(pieces) == 3
    pl.DataFrame({"a": [[{"b": TEXT}]]}).write_parquet(tmp_path / "nested.parquet")
    (tmp_path / "page.html").write_text(TEXT.replace("&", "&amp;"))
    (tmp_path / "rows.json").write_text(json.dumps({"text": TEXT}))
    (tmp_path / "two.gz").write_bytes(gzip.compress(b"first") + gzip.compress(TEXT.encode())[:-4])
    (tmp_path / "long.bin").write_bytes(bytes((4 << 20) - 40) + TEXT.encode())  # across the boundary of two chunks
    with sqlite3.connect(tmp_path / "base.db") as connection:
        connection.execute("CREATE TABLE t (a TEXT)")
        connection.execute("INSERT INTO t VALUES (?)", ("x" * 5000 + TEXT,))
    (tmp_path / "nothing.txt").write_text("The keeper of the southern lighthouse")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and nothing else")
    (tmp_path / "tokens").write_bytes(b"123")
    files = sorted(tmp_path.iterdir())
    matches = files_containing(pieces, files, {tmp_path / "tokens": lambda: iter([b"...", TEXT.encode()])}.get)
    assert {path.name for path in files} - {path.name for path in matches} == {"nothing.txt", "broken.parquet"}
    assert files_containing([], files, lambda path: None) == []
    lines = [json.dumps({"question": TEXT}).encode(), b"another line"]
    assert lines_not_containing(pieces, lines) == [b"another line"]


def test_text_that_other_pages_contain_is_not_searched_for():
    pieces = text_pieces([TEXT])
    assert pieces_found_nowhere_else(pieces, [pl.Series([f"quoted: {pieces[0]}", "nothing"])]) == pieces[1:]


def test_a_sample_of_many_texts_is_searched_for():
    pieces = text_pieces(" ".join(f"{number}-{word}" for word in range(200)) for number in range(1000))
    assert 10_000 <= len(pieces) <= 20_000


def test_texts_are_found_in_a_database_in_a_folder_of_any_name(tmp_path):
    path = tmp_path / "50%20? #1" / "data.db"
    path.parent.mkdir()
    text = "the harbour master counted forty boats before the storm came in, and then he counted them again. " * 200
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE pages (text)")
        database.execute("INSERT INTO pages VALUES (?)", [text])  # in several pages of the file
    assert files_containing([text[3000:15_000]], [path], lambda path: None) == [path]
