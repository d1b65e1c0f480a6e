"""An OpenAI-compatible server that samples the completions of reinforcement learning and RLHF."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from llm_assets.artifacts.identity import EXECUTION_ONLY

from .finetuning import Endpoint
from .frozen import Frozen


class ServerRequest(Frozen):
    """A POST request to the server. `{folder}` and `{weights}` in its texts stand for the folder of the policy and for
    the identity of its weights.
    """

    path: str = Field(pattern="^/", description="path and query from the server's root")
    body: dict[str, Any] = Field({}, description="JSON object that is sent; if it is empty, the request has no body")


class RolloutServer(Endpoint):
    """A server that samples with the policy's newest weights, such as vLLM.

    Before each step the trainer writes the policy into a folder and has the server read it. The log-probabilities that
    train the policy are computed by the trainer.
    """

    model: Annotated[str, EXECUTION_ONLY] = Field(
        "policy",
        min_length=1,
        description="the model's name at the server; `{weights}` in it stands for the identity of the weights",
    )
    url: Annotated[str, EXECUTION_ONLY] = Field(
        "http://127.0.0.1:8000/v1", description="base URL, to which /completions is added"
    )
    folder: Annotated[str, EXECUTION_ONLY] = Field(
        min_length=1,
        description="folder that the policy is written to, in the layout of transformers. The server reads it, too",
    )
    reload: Annotated[tuple[ServerRequest, ...], EXECUTION_ONLY] = Field(
        (
            ServerRequest(path="/collective_rpc", body={"method": "reload_weights"}),
            ServerRequest(path="/reset_prefix_cache"),
        ),
        description="requests after which the server has read the folder again; the default is vLLM's, in its "
        "development mode",
    )
    command: Annotated[tuple[str, ...], EXECUTION_ONLY] = Field(
        (),
        description="program and arguments that restart the server, instead of `reload`. The trainer waits for at most "
        "`timeout` seconds until the server answers",
    )
    dtype: Literal["fp32", "bf16", "fp16"] = Field("bf16", description="type of the weights in the folder")
    tolerance: Annotated[float, EXECUTION_ONLY] = Field(
        0.05,
        gt=0,
        description="largest mean difference between the server's log-probabilities of its samples and the trainer's, "
        "in nats per token; above it the training stops, because the server does not serve the policy",
    )
    timeout: Annotated[float, EXECUTION_ONLY] = Field(600.0, gt=0, description="seconds per request")
    concurrency: Annotated[int, EXECUTION_ONLY] = Field(64, ge=1, le=4096, description="concurrent requests")

    @model_validator(mode="after")
    def _is_reachable(self) -> RolloutServer:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError(f"server.url: {self.url!r} is no http(s) URL")
        if not self.reload and not self.command:
            raise ValueError("server: without reload or command the server would keep the weights that it began with")
        return self
