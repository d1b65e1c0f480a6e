"""Tables are read and written under their exact names: no name is a pattern, and no folder is a column.

Part files bear the names of WARC files, which other people choose, and the data folder may lie anywhere.
"""

import ast
import re
from pathlib import Path

import polars as pl
import pytest

import llm_assets
from llm_assets.artifacts.step import Task
from llm_assets.artifacts.tables import batches, read_json_lines, read_table, row_count, scan_table, write_table
from llm_assets.sql import query
from tests.support.toy import Letters

ROOT = Path(llm_assets.__file__).parents[1]
NAMES = [
    "crawl[1]",
    "crawl1",
    "a*b",
    "aXb",
    "q?",
    "q1",
    "100% #1 {x}",
    "{a,b}",
    "back\\slash",
    "[]",
    "[!a]",
    "it's",
    "ü",
]
FOLDERS = ["plain", "a [b]/url=zzz/**/s3:/50%? #1 {x}", "back\\slash"]
# By default, these take a path for a pattern, or add columns to what they read.
READERS = re.compile(
    "(read|scan|sink|write)_(parquet|csv|ndjson|ipc|lines)|read_table|(read|write)_dataset|ParquetDataset"
)
_STATEMENT_READS = re.compile(r"(?<!_)read_parquet\(([^()]*)\)")


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_name_is_read_and_written_as_it_is(tmp_path, folder):
    # glob(7) and the partitions of Hive are conventions of shells and of one data warehouse. A file that is opened by
    # its path has no such conventions (POSIX, "Pathname": any byte but NUL and the slash).
    files = [tmp_path / folder / f"{name}.parquet" for name in NAMES]
    files[0].parent.mkdir(parents=True)
    for file, name in zip(files, NAMES, strict=True):
        write_table(pl.DataFrame({"url": [name]}), file)
    for file, name in zip(files, NAMES, strict=True):
        expected = [{"url": name}]
        assert read_table(file).to_dicts() == read_table(str(file)).to_dicts() == expected
        assert query("SELECT * FROM read_parquet($f, hive_partitioning = false)", f=[str(file)]).to_dicts() == expected
        assert [row for frame in batches(file) for row in frame.to_dicts()] == expected
        assert row_count(file) == 1
    # Several files: in the order in which they are named.
    assert scan_table(reversed(files)).collect()["url"].to_list() == NAMES[::-1]
    everything = query("SELECT url FROM read_parquet($f, hive_partitioning = false)", f=[str(file) for file in files])
    assert everything["url"].to_list() == NAMES


def test_a_task_of_any_name_writes_its_table(tmp_path):
    for name in NAMES:
        with Task(tmp_path / FOLDERS[1], name) as task:
            task.table("letters", Letters).append({"name": name, "letters": 1, "doc_id": name})
    written = [tmp_path / FOLDERS[1] / "letters" / f"{name}.parquet" for name in NAMES]
    assert read_table(written)["name"].to_list() == NAMES


def test_json_lines_are_read_under_their_exact_name(tmp_path):
    for name in ("curve[1]", "curve1"):
        (tmp_path / f"{name}.jsonl").write_text(f'{{"name": "{name}"}}\n')
    assert read_json_lines(tmp_path / "curve[1].jsonl").to_dicts() == [{"name": "curve[1]"}]


def test_no_files_are_an_empty_table_of_the_schema():
    assert read_table([], schema={"url": pl.String, "n": pl.Int64}).schema == {"url": pl.String, "n": pl.Int64}
    with pytest.raises(pl.exceptions.ComputeError, match="empty input"):
        read_table([])


def calls_of_readers(source: str) -> list[str]:
    """Calls such as ``pl.read_parquet(…)``, wherever they are."""
    calls = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [
        f"{call.lineno}: {ast.unparse(call)}"
        for call in calls
        if isinstance(call, ast.Attribute) and READERS.fullmatch(call.attr)
    ]


def test_only_one_module_opens_tables():
    module = ROOT / "llm_assets" / "artifacts" / "tables.py"
    sources = [path for top in ("llm_assets", "resources", "benchmarks") for path in (ROOT / top).rglob("*.py")]
    calls = {path.relative_to(ROOT).as_posix(): calls_of_readers(path.read_text()) for path in sources}
    assert len(calls.pop(module.relative_to(ROOT).as_posix())) == 3  # scan_parquet, write_parquet and read_ndjson
    assert len(calls.pop("llm_assets/sql.py")) == 1  # DuckDB's write_parquet, which takes an exact path
    assert {path: names for path, names in calls.items() if names} == {}
    assert calls_of_readers("import polars as pl\npl.scan_parquet(path)") == ["2: pl.scan_parquet"]


def test_every_statement_takes_paths_for_names_only():
    sources = [*(ROOT / "sql").glob("*.sql"), *(ROOT / "llm_assets").rglob("*.py")]
    reads = [(path.name, read) for path in sources for read in _STATEMENT_READS.findall(path.read_text())]
    assert len(reads) > 20
    assert [(name, read) for name, read in reads if not read.endswith("hive_partitioning = false")] == []
