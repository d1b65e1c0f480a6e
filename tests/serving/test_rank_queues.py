"""A vote changes the inputs of the model that rankings train; the model and its pairs stay there."""

import json
from dataclasses import replace

import pytest

from llm_assets.artifacts import Artifact
from llm_assets.artifacts.errors import NotBuilt
from llm_assets.artifacts.record import RECORD, write_atomic
from llm_assets.preference.human_rankings import HUMAN_RANKINGS
from llm_assets.preference.ranking_files import add_ranking, rankings_file
from llm_assets.preference.response_pairs import pair_digest
from llm_assets.recipes import Recipe, WarcFiles
from llm_assets.recipes.preference import HumanRankings, RankingFile
from llm_assets.serving import checkpoints as checkpoints_module
from llm_assets.serving.checkpoints import Checkpoints
from llm_assets.serving.errors import ApiError
from llm_assets.serving.explorer import reading
from llm_assets.serving.explorer.rank_queues import RankQueues
from llm_assets.serving.explorer.reading import Reader
from llm_assets.serving.server import named_checkpoints
from tests.support.stand_ins import build_all, stand_in

RLHF = "rlhf_checkpoint"
TEXTS = [{"question": f"Who is {number}?", "first": "A painter.", "second": "A doctor."} for number in range(4)]
PAIRS = [{"pair": pair_digest(*row.values()), "subject": "", **row} for row in TEXTS]


@pytest.fixture
def workspace(tmp_path):
    """A workspace whose recipe names the file of the labeller ann, with an rlhf_checkpoint that depends on it."""
    file = rankings_file(tmp_path, "ann")
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({**TEXTS[0], "preferred": "first", "labeller": "ann"}) + "\n")
    rankings = HumanRankings(files=(RankingFile(path=str(file), name="ann"),))
    recipe = Recipe(name="ranked", crawls={"c": WarcFiles(path=str(tmp_path))}, human_rankings=rankings)
    pairs = stand_in("response_pairs", {"pairs": PAIRS, "prompts": [{"question": "Who?", "split": "train"}]})

    def write(folder):
        (folder / "shape.json").write_text("{}")

    tuned = replace(stand_in(RLHF, {"adversarial": PAIRS}, write=write), inputs=(HUMAN_RANKINGS.name,))
    return build_all([pairs, HUMAN_RANKINGS, tuned], recipe, tmp_path / "artifacts")[0]


def test_a_vote_takes_neither_the_model_nor_its_pairs_away(workspace, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints_module, "REMEMBERED_SECONDS", 0.0)
    checkpoints, queues = Checkpoints(workspace, {}, RLHF), RankQueues(workspace, tmp_path)
    names = (None, RLHF, "rlhf")
    folders = [checkpoints.find(name) for name in names]
    opened = queues.open(True)
    pair, *_ = opened.queue.next("ann")
    add_ranking(rankings_file(tmp_path, "ann"), pair, "tie", "ann", opened.models)
    with pytest.raises(NotBuilt):
        workspace.resolver().artifact(RLHF, None)
    assert [checkpoints.find(name) for name in names] == folders and checkpoints.names() == [RLHF]
    assert checkpoints.is_stale(RLHF) and queues.open(True) is opened
    restarted = named_checkpoints(workspace, (RLHF,))
    assert restarted.find(None) == folders[0] and restarted.is_stale(RLHF)
    assert RankQueues(workspace, tmp_path).open(True).models == opened.models
    (folders[0][1] / "shape.json").unlink()
    with pytest.raises(ApiError) as error:
        checkpoints.find(RLHF)
    assert error.value.status == 404


def test_pairs_that_a_takedown_removed_are_no_longer_ranked(workspace, tmp_path):
    queues = RankQueues(workspace, tmp_path)
    opened = queues.open(True)
    add_ranking(rankings_file(tmp_path, "ann"), PAIRS[1], "tie", "ann")  # the artifact is no longer current
    assert queues.open(True) is opened
    (artifact,) = workspace.store.artifacts(RLHF)
    workspace.store.delete(artifact)
    with pytest.raises(NotBuilt):
        queues.open(True)


def test_pairs_of_an_artifact_that_lost_its_texts_are_read_again(workspace, tmp_path):
    queues = RankQueues(workspace, tmp_path)
    assert queues.open(True).queue.pairs
    (artifact,) = workspace.store.artifacts(RLHF)
    files = {name: file for name, file in artifact.record.files.items() if not name.startswith("adversarial")}
    stripped = artifact.record.model_copy(update={"files": files})
    write_atomic(artifact.folder / RECORD, stripped.dump())
    workspace.store.replace(artifact, Artifact(artifact.folder, stripped))
    assert not queues.open(True).queue.pairs


def test_adversarial_pairs_name_the_model_that_was_tuned(workspace, tmp_path):
    models = RankQueues(workspace, tmp_path).open(True).models
    identity = workspace.resolver().artifact(RLHF, None).record.short_id
    assert models["first"] == {"name": RLHF, "identity": identity} and models["second"]["name"] != RLHF


def test_what_was_skipped_stays_skipped_however_much_else_is_read(workspace, tmp_path):
    queues = RankQueues(workspace, tmp_path)
    skipped, *_ = queues.open(False).queue.next("bea")
    queues.open(False).queue.next("bea", skipped["pair"])
    queues.open(True)
    for _ in PAIRS:
        pair, left, _ = queues.open(False).queue.next("bea")
        assert pair != skipped and left == len(PAIRS) - 1


def test_a_value_that_is_used_stays_in_memory():
    reader, computed_keys = Reader(None, None), []

    def remembered(key):
        return reader.remembered(key, lambda: computed_keys.append(key) or key, 1000.0)

    for key in range(reading.REMEMBERED):
        remembered(key)
    remembered(0)
    for key in range(reading.REMEMBERED, 2 * reading.REMEMBERED - 1):
        remembered(key)
    assert remembered(0) == 0 and computed_keys.count(0) == 1 and len(reader._locks) == reading.REMEMBERED
