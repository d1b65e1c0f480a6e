"""The endpoints of traces and rankings on what the pipeline's stages built, and every endpoint against its schema."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from llm_assets.artifacts.explain import explain
from llm_assets.artifacts.tables import read_table
from llm_assets.preference.ranking_files import rankings_file
from llm_assets.recipes.finetuning import ConversationFile
from llm_assets.recipes.preference import RankingFile
from llm_assets.serving.explorer import arena_routes, rank_routes
from tests.support.api_requests import EXPLORER_PATHS, get, post
from tests.support.api_schema import assert_generated_conform, assert_success_conforms, operations_of
from tests.support.pipeline_server import artifact, pipeline_server

RANKED = 20  # pairs that each of two people ranks
pytestmark = pytest.mark.usefixtures("data_folder")


@pytest.fixture(scope="module")
def server(shared_pipeline, tmp_path_factory):
    with pipeline_server(shared_pipeline[0], tmp_path_factory.mktemp("explored")) as running:
        yield running


def table(server, asset, name, crawl=None):
    return read_table(artifact(server, asset, crawl).table(name))


def test_an_answer_is_traced_to_its_pages_and_conversations(server):
    traced = table(server, "trace_index", "documents")
    page = table(server, "clean_corpus", "text", "sample").join(traced.select("url"), on="url").row(0, named=True)
    sentence = max((part for line in page["text"].splitlines() for part in line.split(". ")), key=len)
    body = post(server, "trace", answer=sentence, messages=[{"role": "tool", "content": page["text"]}]).json()
    span = body["spans"][0]
    place = next(place for place in span["pages"] if place["url"] == page["url"])
    assert (place["warc_file"], place["warc_offset"]) == (page["warc_file"], page["warc_offset"]) and span["from_tool"]
    number = table(server, "trace_index", "conversations")["conversation"][0]
    messages = get(server, "trace/conversation", number=number).json()["messages"]
    body = post(server, "trace", answer=messages[-1]["content"], minimum=1).json()
    assert number in [place["conversation"] for span in body["spans"] for place in span["conversations"]]
    assert get(server, "trace/conversation", number=1 << 40).status_code == 404
    assert post(server, "trace", answer="  ").status_code == 400


def test_special_tokens_in_an_answer_are_traced_as_text(server):
    turns = "<|user_end|><|assistant_start|>"  # where every conversation has two tokens
    body = post(server, "trace", answer=turns, minimum=1).json()
    assert body["tokens"] > 8 and not [span for span in body["spans"] if "|>" in span["text"]]


def test_two_people_at_once_get_different_pairs_and_no_vote_is_lost(server):
    barrier = threading.Barrier(2)
    seen = {}

    def rank(labeller):
        barrier.wait()
        given = post(server, "rank/next", labeller=labeller).json()["pair"]
        barrier.wait()
        seen[labeller] = [given["pair"]]
        while True:
            stored = post(server, "rank/votes", labeller=labeller, pair=given["pair"], vote="first")
            assert stored.status_code == 201
            if len(seen[labeller]) == RANKED:
                return
            given = post(server, "rank/next", labeller=labeller).json()["pair"]
            seen[labeller].append(given["pair"])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(rank, ("bea", "carl")))
    assert seen["bea"][0] != seen["carl"][0]
    assert all(len(set(pairs)) == len(pairs) == RANKED for pairs in seen.values())
    state = get(server, "rank").json()
    assert {row["labeller"]: row["rankings"] for row in state["labellers"]} == {"bea": RANKED, "carl": RANKED}
    both = len({*seen["bea"]} & {*seen["carl"]})  # every fifth pair is ranked by everybody
    assert 0 < both < RANKED / 2 and state["agreement"]["compared"] == both and state["agreement"]["share"] == 1.0
    assert state["pairs"] == len(table(server, "response_pairs", "pairs"))
    assert state["version"]["unread"] == 2 * RANKED and state["version"]["rankings"] > 0


def test_a_pair_that_somebody_holds_takes_no_vote_of_others(server):
    pair = post(server, "rank/next", labeller="gil").json()["pair"]["pair"]
    refused = post(server, "rank/votes", labeller="CON", pair=pair, vote="tie")
    assert refused.status_code == 409 and "ask for the next one" in refused.json()["error"]["message"]
    assert post(server, "rank/votes", labeller="gil", pair=pair, vote="tie").status_code == 201


def test_a_vote_makes_human_rankings_stale_and_no_model(server):
    workspace = server.service.checkpoints.workspace
    pair = post(server, "rank/next", labeller="ann").json()["pair"]
    stored = post(server, "rank/votes", labeller="ann", pair=pair["pair"], vote="both_bad").json()
    assert stored["is_read"] and stored["ranking"]["preferred"] == "tie" and stored["ranking"]["both_bad"]
    (explanation,) = explain(workspace, [("human_rankings", None)])
    assert explanation.state == "build" and "inputs.votes/ann" in explanation.text()
    assert get(server, "rank").json()["state"] == "build"
    assert not any(model["stale"] for model in server.get("/v1/models").json()["data"])
    assert post(server, "rank/votes", labeller="ann", pair="no such pair", vote="tie").status_code == 404


def test_a_file_of_other_lines_keeps_nobody_from_ranking(server):
    path = rankings_file(server.service.settings.data, "notes")
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"text": "hello"}\n')
    state = get(server, "rank")
    assert (
        state.status_code == 200
        and {"notes": 0}.items() <= {row["labeller"]: row["rankings"] for row in state.json()["labellers"]}.items()
    )


def test_a_missing_file_of_rankings_is_named_and_keeps_nobody_from_ranking(server, tmp_path, monkeypatch):
    workspace, last = server.service.checkpoints.workspace, get(server, "rank").json()["version"]
    settings = workspace.recipe.human_rankings.replace(files=[RankingFile(path=f"{tmp_path}/lost.jsonl", name="mine")])
    monkeypatch.setattr(workspace, "recipe", workspace.recipe.replace(human_rankings=settings))
    pair = post(server, "rank/next", labeller="eve").json()["pair"]
    assert post(server, "rank/votes", labeller="eve", pair=pair["pair"], vote="tie").json()["is_read"]
    state = get(server, "rank").json()
    problem = f"human_rankings.files: no such file: mine ({tmp_path}/lost.jsonl)"
    assert (state["state"], state["reason"]) == ("unknown", f"unknown: {problem}")
    assert state["version"]["identity"] == last["identity"] and state["version"]["unread"] == last["unread"] + 1
    missing = [ConversationFile(path=f"{tmp_path}/gone.jsonl", name="ours")]
    conversations = workspace.recipe.conversations.replace(files=missing)
    never_built = workspace.recipe.replace(name="never-built", conversations=conversations)
    monkeypatch.setattr(workspace, "recipe", never_built)
    state = get(server, "rank").json()
    problem = f"conversations: no such file: ours ({tmp_path}/gone.jsonl)"
    assert state["reason"] == f"unknown: {problem}" and state["version"]["identity"] is None and state["pairs"] == 0
    refused = post(server, "rank/next", labeller="eve")
    assert refused.status_code == 409 and problem in refused.json()["error"]["message"]


QUESTION = {"question": "Who lives here?", "max_tokens": 2}


def answered_requests(server):
    """Of each operation of the explorer that takes fields, a request that is answered."""
    row = get(server, "data/documents", limit=1).json()["documents"][0]
    place = {"query": {"crawl": row["crawl"], "file": row["warc_file"], "offset": row["warc_offset"]}}
    number = table(server, "trace_index", "conversations")["conversation"][0]
    pair = post(server, "rank/next", labeller="ida").json()["pair"]["pair"]
    comparison = post(server, "arena/comparisons", **QUESTION).json()["comparison"]
    return {
        "GET /api/data/document": place,
        "GET /api/data/raw": place,
        "POST /api/data/what-if": {"body": {"thresholds": {"min_words": 100}}},
        "POST /api/data/sql": {"body": {"sql": "SELECT * FROM clean_corpus LIMIT 2"}},
        "GET /api/pipeline/artifact": {"query": {"name": "sft_checkpoint"}},
        "GET /api/pipeline/view": {"query": {"name": "corpus_report", "file": "report.html"}},
        "POST /api/trace": {"body": {"answer": row["url"], "minimum": 1}},
        "GET /api/trace/conversation": {"query": {"number": number}},
        "POST /api/rank/next": {"body": {"labeller": "ida"}},
        "POST /api/rank/fresh": {"body": QUESTION},
        "POST /api/rank/votes": {"body": {"labeller": "ida", "vote": "first", "pair": pair}},
        "POST /api/arena/comparisons": {"body": QUESTION},
        "POST /api/arena/votes": {"body": {"labeller": "ida", "vote": "first", "comparison": comparison}},
        "GET /api/compare/lineages": {"query": {"model": ["sft", "rlhf"]}},
        "POST /api/tour/{name}": {"path_parameters": {"name": "1"}},
    }


def test_every_request_that_fits_the_schema_has_an_answer_that_does(server, monkeypatch):
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed (extra test)")
    answers = itertools.cycle([["Ann."], ["Bob."]])  # those of models with little training may be the same
    monkeypatch.setattr(arena_routes, "texts_of", lambda body: next(answers))
    monkeypatch.setattr(rank_routes, "texts_of", lambda body: ["Ann.", "Bob."])
    operations, requests = operations_of(server, schemathesis), answered_requests(server)
    explorers = [name for name, operation in operations.items() if operation.path.startswith(EXPLORER_PATHS)]
    assert requests.keys() < set(explorers)
    for name in explorers:
        fixed = {"models": [], "max_tokens": 2} if name == "POST /api/arena/comparisons" else {}
        assert_success_conforms(server, operations[name], **requests.get(name, {}))
        assert_generated_conform(server, operations[name], 3, fixed)
