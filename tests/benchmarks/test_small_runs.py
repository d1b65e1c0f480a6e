"""Every benchmark runs at small size, and reports what its documentation promises."""

import contextlib
import gzip
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec

import polars as pl
import pytest

from llm_assets.cli.crawl_rates import READS
from llm_assets.compute import forks
from llm_assets.compute.allocator import ALLOCATOR
from llm_assets.curation.extraction import extract
from llm_assets.settings import PROJECT
from llm_assets.training.shards import SPLITS
from llm_assets.warc import read_captures
from tests.support.token_shards import write_shards
from tests.support.training_jobs import ENCODING, TEXTS
from tests.support.warcs import page, story, write

SHAPE = ("--depth", "1", "--width", "32", "--context", "64", "--vocabulary", "300", "--tied", "--rounds", "1")
# Benchmarks with a test file of their own.
TESTED_ELSEWHERE = {
    "controls.py",
    "demonstrations.py",
    "datatrove_recipe.py",
    "ends_with_parent.py",
    "search_after_recrawl.py",
}


def run_benchmark(name, tmp_path, *words, **environment):
    """The result of a benchmark, as it writes it to a file."""
    result = tmp_path / "result.json"
    command = [sys.executable, str(PROJECT / "benchmarks" / name), *words, "--json", str(result)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    return json.loads(result.read_text())


def run_torch_benchmark(name, tmp_path, *words):
    """The same of a benchmark that needs torch, in a fork of a process that has imported it, which takes 4 s."""
    if not forks.can_fork_training():
        return run_benchmark(name, tmp_path, *words)
    result, output = tmp_path / "result.json", tmp_path / "output.txt"
    environment = {**ALLOCATOR, **os.environ, "PYTHONUNBUFFERED": "1"}  # as of `run_job`, whose server forks this, too
    # The working folder takes the place of the program's folder on the module path.
    with output.open("w") as file, contextlib.chdir(PROJECT / "benchmarks"):
        words = (*words, "--json", str(result))
        code = forks.run_module(name.removesuffix(".py"), words, environment, file.fileno())
    assert code == 0, output.read_text()  # its errors are in those of this process
    return json.loads(result.read_text())


def check_curation(tmp_path):
    for i in range(2):
        pages = [page(f"http://host{i}.example/{j}", story(10 * i + j)) for j in range(2)]
        write(tmp_path / "warc" / f"{i}.warc.gz", pages)
    result = run_benchmark("curation.py", tmp_path, "--warc", str(tmp_path / "warc"), "--workers", "1")
    assert result["pages"] == 4 and result["pages_per_cpu_second"] > 0
    assert {"extracted_text", "clean_corpus", "corpus_report"} <= result["stages"].keys()
    assert "quality_filtered_text" in result["threshold"]["rebuilt"]


def check_dagster_steps(tmp_path):
    result = run_benchmark("dagster_steps.py", tmp_path, "--assets", "3", "--executors", "in process")
    assert result["seconds_per_step"].keys() == {"in process"}
    assert result["seconds_per_asset_in_process"].keys() == {
        "no check",
        "check within its asset's step",
        "check in a step of its own",
    }


def check_extraction(tmp_path):
    rows = []
    for number in range(2):
        (tmp_path / f"{number}.html.gz").write_bytes(gzip.compress(story(number)))
        rows.append({"name": str(number), "file": f"{number}.html.gz", "text": TEXTS[number]})
    with gzip.open(tmp_path / "expected.jsonl.gz", "wt") as file:
        file.write("\n".join(map(json.dumps, rows)))
    result = run_benchmark("extraction.py", tmp_path, "--pages", str(tmp_path), "--only", "llm_assets")["llm_assets"]
    assert result["pages"] == 2 and result["pages_per_cpu_second"] > 0
    assert 0 <= result["f1"] <= 1


def check_extraction_pages(tmp_path):
    write(tmp_path / "web" / "a.warc.gz", [page("http://host.example/", story(1))])
    offset = next(capture.offset for capture in read_captures(tmp_path / "web" / "a.warc.gz"))
    text = extract(story(1)).text
    strings = {"required": [text[:20]], "forbidden": ["not on this page"]}
    origin = {"file": "a.warc.gz", "offset": offset, "site": "host.example", "kind": "post", "language": "en"}
    (tmp_path / "pages.json").write_text(json.dumps([{**origin, **strings, "url": "http://host.example/"}]))
    words = ("--web", str(tmp_path / "web"), "--specification", str(tmp_path / "pages.json"))
    result = run_benchmark("extraction_pages.py", tmp_path, *words)["llm_assets"]
    assert result["pages"] == 1 and result["all"] == {"f1": 1.0, "precision": 1.0, "recall": 1.0}


def check_sampling(tmp_path):
    result = run_torch_benchmark("sampling.py", tmp_path, *SHAPE, "--prompt", "4", "--tokens", "4")
    for batch in ("batch 1", "batch 64"):
        assert result[batch]["tokens_per_second"] > 0 and result[batch]["transformers"] > 0


def check_policy_step(tmp_path):
    words = ("--prompts", "2", "--samples", "2", "--prompt", "4", "--tokens", "4")
    result = run_torch_benchmark("policy_step.py", tmp_path, *SHAPE, *words)
    assert 0 < result["rollout_seconds"] < result["step_seconds"] and 0 < result["tokens"] <= 16
    result = run_torch_benchmark("policy_step.py", tmp_path, *SHAPE, *words, "--mean-length", "2")
    assert 0 < result["tokens"] < 16


def check_loss_curve(tmp_path):
    documents = [ENCODING.document(text) for text in TEXTS]
    for split in SPLITS:
        write_shards(tmp_path / "shards", documents[: 100 if split == "train" else 20], 10_000, split)
    size = ("--vocabulary", "500", "--boundary", str(ENCODING.bos), "--depth", "1", "--width", "32", "--context", "32")
    steps = ("--steps", "4", "--batch-size", "4", "--micro-batch-size", "2", "--validations", "2")
    result = run_torch_benchmark("loss_curve.py", tmp_path, "--shards", str(tmp_path / "shards"), *size, *steps)
    assert result["tokens"] == 4 * 4 * 32 and result["ours"]["validation"].keys() == {"2", "4"}
    assert result["ours"]["losses"][-1] < result["ours"]["losses"][0]


def check_serving(tmp_path):
    words = ("--context", "128", "--chats", "4", "--tokens", "4")
    result = run_torch_benchmark("serving.py", tmp_path, *SHAPE, *words)
    for server in ("llm_assets", *(["llama.cpp"] if find_spec("xllamacpp") else [])):
        assert result[server]["first_token_milliseconds"] > 0 and result[server]["ratio"] > 0
    assert result["page_milliseconds"] == "no Playwright or Chromium" or result["page_milliseconds"] > 0


def check_snapshot_plan(tmp_path):
    for i in range(2):
        pages = [page(f"http://host{i}.example/{j}", story(10 * i + j)) for j in range(6)]
        write(tmp_path / "warc" / f"{i}.warc.gz", pages)
    words = ("--files", "4", "--measured", "2", "--vocabulary", "300")
    result = run_benchmark("snapshot_plan.py", tmp_path, "--warc", str(tmp_path / "warc"), *words)
    assert (result["measured"]["files"], result["run"]["files"]) == (2, 4)
    assert result["measured"]["captures"] + result["run"]["captures"] == 12
    # Pages that are as alike as these are predicted from a third of them.
    assert result["stages"].keys() == READS.keys()
    for name in ("filtered_urls", "extracted_text"):
        assert result["stages"][name]["kept_pages"]["error"] == 0
        assert result["stages"][name]["kept_pages"]["actual"] == result["run"]["captures"]
    assert abs(result["stages"]["extracted_text"]["tokens"]["error"]) < 0.1
    assert abs(result["all"]["written"]["error"]) < 0.5
    for comparison in (result["all"]["cpu_seconds"], result["wall"]):
        assert 0.25 < comparison["predicted"] / comparison["actual"] < 4  # on a machine that does other work
    assert result["wall"]["actual"] < result["all"]["cpu_seconds"]["actual"]
    assert "extracted_text" in result["engine"]


def check_step_parts(tmp_path):
    words = ("--batch-size", "2", "--steps", "8", "--repeats", "2")
    result = run_torch_benchmark("step_parts.py", tmp_path, *SHAPE, *words)
    assert result["attention_milliseconds"]["mask"] > 0
    assert result["optimiser_milliseconds"].keys() == {"adamw", "muon, one matrix at a time", "muon, stacks"}
    assert result["decoding_differences"]["plain, fp32"] < 1e-4
    assert result["training_differences"]["plain"] == 0 and result["training_differences"]["savings"] < 1e-5


def check_search(tmp_path):
    (tmp_path / "corpus" / "text").mkdir(parents=True)
    pages = pl.DataFrame({"url": [f"http://host.example/{n}" for n in range(40)], "text": TEXTS[:40]})
    pages.write_parquet(tmp_path / "corpus" / "text" / "0.parquet")
    result = run_benchmark("search.py", tmp_path, "--corpus", str(tmp_path / "corpus"), "--queries", "10")
    assert result["queries"] == 10 and result["engines"]["sqlite fts5"]["found"] == 1.0


def check_object_store(tmp_path):
    pytest.importorskip("obstore")
    result = run_benchmark("object_store.py", tmp_path, "--artifacts", "12")
    assert result["artifacts"] == 12 and result["local"].keys() == result["at the url"].keys()


def check_scale(tmp_path):
    pytest.importorskip("ray", reason="the Ray engine needs the extra 'ray'")
    for i in range(2):
        pages = [page(f"http://host{i}.example/{j}", story(10 * i + j)) for j in range(2)]
        write(tmp_path / "warc" / f"{i}.warc.gz", pages)
    words = ("--warc", str(tmp_path / "warc"), "--cores", "1", "--rounds", "1")
    result = run_benchmark("scale.py", tmp_path, *words)
    (engines,) = result["rounds"]
    assert result["ratio"] > 0 and result["cpu_ratio"] > 0 and engines["ray"]["tasks"] == engines["local"]["tasks"] > 10
    assert engines["ray"]["stages"].keys() == engines["local"]["stages"].keys()


def check_growth(tmp_path):
    words = ("--sizes", "1", "2", "--scale", "0.05", "--plot", str(tmp_path / "plot.svg"))
    words += ("--sampled-rows", "10", "--only", "check token_shards *_corpus")
    result = run_benchmark("growth.py", tmp_path, *words)
    (by_size,) = result["operations"].values()
    for size in ("1", "2"):
        assert 0 < by_size[size]["anonymous_mb"] <= by_size[size]["peak_mb"] and by_size[size]["cpu"] > 0
    # Of about twice as many documents, no more texts are decoded: 10, give or take what chance does.
    summaries = [by_size[size]["summary"] for size in ("1", "2")]
    first, second = (int(summary.split(" ")[0]) for summary in summaries)
    assert second > 1.5 * first > 20
    assert all(0 < int(re.search(r"a sample of (\d+)", summary)[1]) < 25 for summary in summaries)
    assert "</svg>" in (tmp_path / "plot.svg").read_text()


def check_trace(tmp_path):
    write_shards(tmp_path / "shards", [ENCODING.document(text) for text in TEXTS[:20]], 10_000)
    words = ("--tokens", "500", "5000", "--segment-tokens", "2000", "--answers", "2")
    result = run_benchmark("trace.py", tmp_path, "--shards", str(tmp_path / "shards"), *words)
    small, large = result["sizes"]
    assert (small["segments"], large["segments"]) == (1, 3) and large["bytes_per_token"] >= 6
    assert large["answer_ms"] > 0 and result["gigabyte"]["tokens"] == 500_000_000


def check_tokenizer(tmp_path):
    (tmp_path / "text.txt").write_text("\n".join(TEXTS))
    words = ("--text", str(tmp_path / "text.txt"), "--vocabulary", "400", "--bytes", "20000")
    result = run_benchmark("tokenizer.py", tmp_path, *words)
    assert result["bytes_per_token"] > 1 and result["training_ratio"] > 0 and result["encoding_ratio"] > 0


def check_training(tmp_path):
    words = (*SHAPE, "--micro-batch-size", "2", "--steps", "1")
    result = run_benchmark("training.py", tmp_path, *words, TORCHDYNAMO_DISABLE="1")  # compiling would take a minute
    assert result["tokens_per_second"].keys() == {
        "ours",
        "ours, AdamW alone",
        "ours, compiled by layers",
        "ours, not compiled",
        "reference",
        "reference, compiled",
    }
    assert result["mfu"]["ours"] > 0


def check_tuning(tmp_path):
    words = ("--sequences", "2", "--pairs", "2", "--rank", "2", "--save")
    result = run_torch_benchmark("tuning.py", tmp_path, *SHAPE, *words)
    assert result["contestants"]["sft, all weights"]["saving"].keys() == {"training_waits_seconds", "seconds", "bytes"}
    assert {"sft, all weights", "dpo, LoRA, activation checkpointing"} < result["contestants"].keys()
    assert len(result["contestants"]) == 8
    for figures in result["contestants"].values():
        assert figures["tokens_per_second"] > 0 and figures["mfu"] > 0 and figures["estimated_memory"] > 0


SMALL_RUNS = {
    "curation.py": check_curation,
    "dagster_steps.py": check_dagster_steps,
    "extraction.py": check_extraction,
    "extraction_pages.py": check_extraction_pages,
    "growth.py": check_growth,
    "loss_curve.py": check_loss_curve,
    "object_store.py": check_object_store,
    "policy_step.py": check_policy_step,
    "sampling.py": check_sampling,
    "scale.py": check_scale,
    "search.py": check_search,
    "serving.py": check_serving,
    "snapshot_plan.py": check_snapshot_plan,
    "step_parts.py": check_step_parts,
    "tokenizer.py": check_tokenizer,
    "trace.py": check_trace,
    "training.py": check_training,
    "tuning.py": check_tuning,
}


@pytest.mark.parametrize("name", SMALL_RUNS)
def test_a_benchmark_runs_at_small_size(name, tmp_path):
    SMALL_RUNS[name](tmp_path)


def test_every_benchmark_is_tested():
    programs = {path.name for path in (PROJECT / "benchmarks").glob("*.py") if "__main__" in path.read_text()}
    assert programs == SMALL_RUNS.keys() | TESTED_ELSEWHERE


def test_the_makefile_passes_options_that_the_benchmarks_have():
    """``make bench`` and ``make bench-model`` are too slow for a test; their options are compared with each --help."""
    lines = re.findall(r"\$\(BIN\)/python (benchmarks/\w+\.py) (.*)", (PROJECT / "Makefile").read_text())
    shape = re.search(r"^SHAPE := (.*)$", (PROJECT / "Makefile").read_text(), re.MULTILINE)[1]
    assert len(lines) == 4
    for program, words in lines:
        command = [sys.executable, str(PROJECT / program), "--help"]
        usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        options = re.findall(r"--[\w-]+", words.replace("$(SHAPE)", shape))
        assert options and all(re.search(rf"{option}\b", usage) for option in options), f"{program} {words}"
