"""SQL of people who are not trusted: what is refused, what is limited, and what still works."""

import json
import os
import time
from dataclasses import replace

import polars as pl
import pytest

from llm_assets import locked_sql_process
from llm_assets.locked_sql import LockedSqlError, SqlLimits, run_locked_sql, sql_job
from llm_assets.locked_sql_process import answer

LIMITS = SqlLimits(seconds=30.0, memory=256 << 20, rows=100, characters=50)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Two tables, one in a file whose name is a pattern, and a file beside them that is no table."""
    folder = tmp_path_factory.mktemp("tables [1]* 'a'")
    frame = pl.DataFrame({"url": ["http://a/", "http://b/"], "n": [1, 2], "text": ["x" * 80, "y"]})
    for name in ("pages", "secret"):
        frame.write_parquet(folder / f"{name}[2]?.parquet")
    return {"pages": [folder / "pages[2]?.parquet"]}


def secret(tables):
    return str(tables["pages"][0]).replace("pages", "secret").replace("'", "''")


# What is attempted, and a part of the message. {secret} is another file, {own} the table's own file.
HOSTILE = [
    ("COPY pages TO '/tmp/stolen.csv'", "only SELECT"),
    ("COPY (SELECT 1) TO '{own}' (FORMAT parquet, use_tmp_file false)", "only SELECT"),
    ("WITH x AS (COPY (SELECT 1) TO '{own}' (use_tmp_file false)) SELECT * FROM pages", "disabled by configuration"),
    ("WITH x AS (COPY (SELECT 1) TO 'table://pages/0.parquet' (use_tmp_file false)) FROM x", "can only be read"),
    ("WITH x AS (COPY (SELECT 1) TO 'table://pages/1.parquet' (use_tmp_file false)) FROM x", "can only be read"),
    ("WITH x AS (COPY (SELECT 1) TO '/dev/shm/x.csv') FROM x", "disabled by configuration"),
    ("WITH x AS (INSERT INTO pages VALUES ('a', 1, 'b') RETURNING *) FROM x", "Error"),
    ("WITH x AS (DELETE FROM pages RETURNING *) FROM x", "Error"),
    ("SELECT * FROM query('WITH x AS (COPY (SELECT 1) TO ''/tmp/x.csv'') FROM x')", "Error"),
    ("ATTACH '/tmp/other.db'", "only SELECT"),
    ("ATTACH ':memory:' AS m", "only SELECT"),
    ("DETACH memory", "only SELECT"),
    ("INSTALL httpfs", "only SELECT is allowed, not INSTALL"),
    ("/* a /* b */ */ force install httpfs", "only SELECT is allowed, not FORCE"),
    ("LOAD httpfs", "only SELECT"),
    ("LOAD '/tmp/evil.duckdb_extension'", "only SELECT"),
    ("PRAGMA database_list", "only SELECT"),
    ("PRAGMA enable_profiling", "only SELECT"),
    ("SET memory_limit = '1TB'", "only SELECT"),
    ("SET enable_external_access = true", "only SELECT"),
    ("RESET lock_configuration", "only SELECT"),
    ("CREATE TABLE t AS SELECT 1", "only SELECT"),
    ("CREATE MACRO f() AS 1", "only SELECT"),
    ("CREATE SECRET (TYPE s3)", "only SELECT"),
    ("DROP VIEW pages", "only SELECT"),
    ("CALL pragma_version()", "only SELECT"),
    ("PREPARE p AS SELECT 1", "only SELECT"),
    ("EXPLAIN ANALYZE COPY pages TO '/tmp/x.csv'", "only SELECT"),
    ("EXPORT DATABASE '/tmp/x'", "only SELECT"),
    ("IMPORT DATABASE '/tmp/x'", "only SELECT"),
    ("BEGIN", "only SELECT is allowed, not BEGIN"),
    ("UPDATE EXTENSIONS", "only SELECT is allowed, not UPDATE"),
    ("WITH x AS (SELECT 1) DELETE FROM pages", "only SELECT is allowed, not DELETE"),
    ("PIVOT pages ON url", "only SELECT is allowed, not PIVOT without its values"),
    ("SELECT * FROM (PIVOT pages ON url)", "not PIVOT without its values"),
    ("SELECT 1; DROP VIEW pages", "one statement"),
    ("", "one statement"),
    ("-- nothing", "one statement"),
    ("SELECT * FROM read_csv('/etc/passwd')", "disabled by configuration"),
    ("SELECT * FROM read_text('/etc/passwd')", "disabled by configuration"),
    ("SELECT * FROM read_blob('/proc/self/environ')", "disabled by configuration"),
    ("SELECT * FROM read_json('/etc/hostname')", "disabled by configuration"),
    ("SELECT * FROM sniff_csv('/etc/passwd')", "disabled by configuration"),
    ("SELECT * FROM '{secret}'", "disabled by configuration"),
    ("SELECT * FROM read_parquet('{secret}')", "disabled by configuration"),
    ("SELECT * FROM parquet_metadata('{secret}')", "disabled by configuration"),
    ("SELECT * FROM glob('/etc/*')", "disabled by configuration"),
    ("SELECT * FROM read_parquet('http://127.0.0.1:9/x.parquet')", "disabled by configuration"),
    ("SELECT * FROM read_parquet('s3://bucket/x.parquet')", "disabled by configuration"),
    ("SELECT * FROM read_parquet('table://../secret.parquet')", "Error"),
    ("SELECT getenv('HOME')", "does not exist"),
    ("FROM duckdb_secrets()", "disabled by configuration"),
    ("SELECT * FROM job", "does not exist"),
    ("SELECT * FROM sys.modules", "does not exist"),
    ("SELECT " + "(" * 2000 + "1" + ")" * 2000, "Error"),
    ("SELECT \x00", "Error"),
]


# The same for statements that need the limits of a process.
GREEDY = [
    ("SELECT length(repeat('x', 4000000000))", "MiB of memory"),
    ("SELECT * FROM range(100000) a, range(100000) b ORDER BY random()", "MiB of memory"),
    ("WITH RECURSIVE t AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM t) SELECT max(a) FROM t", "longer than 1.5 sec"),
    ("SELECT count(*) FROM range(1000000) a, range(1000000) b", "longer than 1.5 sec"),
    ("WITH x AS (COPY (SELECT 1) TO 'table://pages/0.parquet' (use_tmp_file false)) FROM x", "can only be read"),
    ("SELECT " + "1 + " * 6000 + "1", "characters"),
]


@pytest.fixture
def unchanged(tables):
    """The files are the same after the test."""

    def state():
        file = tables["pages"][0]
        return file.read_bytes(), file.stat().st_mtime_ns, sorted(os.listdir(file.parent))

    before = state()
    yield
    assert state() == before
    assert not any(os.path.exists(path) for path in ("/tmp/stolen.csv", "/dev/shm/x.csv", "/tmp/x.csv"))


def test_hostile_statements_are_refused_with_a_message(tables, unchanged):
    own_file = str(tables["pages"][0]).replace("'", "''")
    wrong = {}
    for text, part in HOSTILE:
        statement = text.replace("{own}", own_file).replace("{secret}", secret(tables))
        result = answer(sql_job(tables, statement, LIMITS))  # in this process: a process takes half a second to start
        if part not in result.get("error", ""):
            wrong[text] = result
    assert not wrong


@pytest.mark.parametrize(("statement", "part"), GREEDY)
def test_greedy_statements_are_stopped(tables, unchanged, statement, part):
    with pytest.raises(LockedSqlError, match=part):
        run_locked_sql(tables, statement, replace(LIMITS, seconds=1.5))


def test_a_statement_that_nobody_waits_for_is_ended(tables):
    times = []
    statement = "SELECT sum(a.range * b.range) FROM range(1000000) a, range(1000000) b"
    with pytest.raises(LockedSqlError, match="cancelled"):
        run_locked_sql(tables, statement, LIMITS, 0, lambda: times.append(time.monotonic()) or len(times) > 5)
    assert times[-1] - times[0] < LIMITS.seconds


def test_tables_are_read_by_any_select(tables):
    result = run_locked_sql(tables, "SELECT n, text FROM Pages WHERE url LIKE 'http%' ORDER BY n", LIMITS)
    assert result.columns == ["n", "text"] and result.types == ["BIGINT", "VARCHAR"] and not result.more
    assert result.rows == [[1, "x" * 50 + "…"], [2, "y"]]
    assert run_locked_sql(tables, "SHOW TABLES", LIMITS).rows == [["pages"]]
    assert [row[0] for row in run_locked_sql(tables, "DESCRIBE pages", LIMITS).rows] == ["url", "n", "text"]


def test_rows_are_limited_and_can_be_skipped(tables):
    first = run_locked_sql(tables, "SELECT * FROM range(250)", LIMITS)
    assert len(first.rows) == 100 and first.more
    last = run_locked_sql(tables, "SELECT * FROM range(250)", LIMITS, skip=200)
    assert [row[0] for row in last.rows] == list(range(200, 250)) and not last.more
    assert len(run_locked_sql(tables, "SELECT * FROM range(1000000000000)", LIMITS).rows) == 100


def test_every_type_of_value_becomes_json(tables):
    values = "NULL, 'nan'::DOUBLE, 1::HUGEINT << 100, DATE '2026-01-02', [1, 2], {'a': 1}, 'ab'::BLOB, true"
    (row,) = run_locked_sql(tables, f"SELECT {values}, 1.5::DECIMAL(4, 1)", LIMITS).rows
    assert row == [None, "nan", str(1 << 100), "2026-01-02", [1, 2], {"a": 1}, "6162", True, "1.5"]


@pytest.mark.parametrize(
    "value",
    [
        "range(30000)",
        "list_transform(range(3000), lambda x: repeat('y', 40))",
        "list_transform(range(9000), lambda x: {'name': x})",
        "list_transform(range(3000), lambda x: [NULL, NULL, NULL, NULL, NULL])",
        "map(range(9000), range(9000))",
    ],
)
def test_a_single_row_does_not_exceed_the_output(tables, monkeypatch, value):
    monkeypatch.setattr(locked_sql_process, "OUTPUT", 1 << 16)
    result = answer(sql_job(tables, f"SELECT {value}, 1 FROM range(3)", LIMITS))
    assert 0.5 < len(json.dumps(result)) / (1 << 16) < 1.1
    ((row, _),) = result["rows"]
    assert result["more"] and "…" in json.dumps(row, ensure_ascii=False)[-12:]
