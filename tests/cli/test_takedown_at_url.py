"""A takedown in a store at a URL also removes what killed deletions and builds left there."""

from types import SimpleNamespace

import pytest

from llm_assets.artifacts import materialize
from llm_assets.artifacts.lease import Lease
from llm_assets.artifacts.purge import Takedown, Takedowns
from llm_assets.artifacts.remote_place import ClaimedPlace
from llm_assets.cli.takedown_purge import remove_artifacts
from tests.support.toy import LETTERS, WORDS, ToyRecipe, machine, make_folder


def test_nothing_of_a_killed_deletion_or_build_remains(tmp_path, monkeypatch):
    pytest.importorskip("obstore")
    ws = machine(f"local://{tmp_path}/url", tmp_path / "cache", ToyRecipe(folder=str(make_folder(tmp_path / "in"))))
    artifact = materialize(LETTERS, "a", ws).artifact
    with monkeypatch.context() as patch:
        patch.setattr(Lease, "release", lambda held: held._end_renewals())
        patch.setattr(Lease, "publish", None)
        with pytest.raises(TypeError):
            materialize(WORDS, "a", ws)  # has uploaded its files
        patch.setattr(ClaimedPlace, "clear_staging", None)
        with pytest.raises(TypeError):
            ws.store.delete(artifact)
    takedown = Takedown(rule="site.example", began="2026-11-25", removed={artifact.record.short_id: "letters/a"})
    plan = SimpleNamespace(removed=[], models=[])
    remove_artifacts(plan, ws, takedown, Takedowns(ws.store))
    remains = [item.key for item in ws.store.objects.list("") if item.key.startswith(("letters", "words", ".staging"))]
    assert remains == [] and not artifact.folder.exists()
    assert not list((tmp_path / "cache" / ".staging").glob("*/*/*"))
