"""A server of the sample pipeline: its models, pairs, conversations, indexes and reports are those of the stages."""

import contextlib
import shutil
from dataclasses import replace

import pytest

from llm_assets.compute import LocalEngine
from llm_assets.graph import open_workspace
from llm_assets.serving.explorer.ranking_versions import RankingsBuilds
from llm_assets.serving.server import open_tools
from llm_assets.settings import load_settings
from tests.support.isolation import isolate
from tests.support.model_server import LIMITS, ModelServer
from tests.support.sample_pipeline import sample_recipe

SHORT_RESULTS = replace(LIMITS, result_tokens=40)  # a context of 160 tokens has to hold an answer after it


@contextlib.contextmanager
def pipeline_server(source, folder, build_further=None):
    """A server of a copy of the pipeline's data, to which votes are added.

    source: the folder of `shared_pipeline`. build_further: called with the workspace before the server starts. A build
    of `human_rankings`, which is a process of its own, does nothing (tests/serving/test_rankings_version.py).
    """
    shutil.copytree(source / "data", folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, folder / "data")
        patch.setattr(RankingsBuilds, "command", lambda self: ["true"])
        workspace, settings = open_workspace(sample_recipe()), load_settings()
        workspace.engine = LocalEngine(1)
        if build_further is not None:
            build_further(workspace)
        with (
            open_tools(workspace, ("search", "python")) as tools,
            ModelServer({}, SHORT_RESULTS, tools=tools, workspace=workspace, settings=settings) as server,
        ):
            yield server


def artifact(server, asset, crawl=None):
    """An artifact of the server's recipe."""
    return server.service.checkpoints.workspace.resolver().artifact(asset, crawl)
