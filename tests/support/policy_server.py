"""A local server that samples with the policy of a folder, which it reads again on request.

It speaks what `llm_assets.training.rollout_server` needs of an OpenAI-compatible server: completions of token ids.
"""

import http.server
import json
import threading
from pathlib import Path

from llm_assets.model.published_tokenizer import read_tokenizer
from llm_assets.model.published_weights import load_published
from llm_assets.model.sampling import Engine, Sampling
from llm_assets.training.plan import RolloutService, ServerRequest
from llm_assets.training.rollout_server import FINGERPRINT, weights_identity

RELOAD = "/reload"


class PolicyServer(http.server.ThreadingHTTPServer):
    """Serves the policy of `folder`. names_weights: whether it says which weights it serves.

    change(answer): changes an answer before it is sent, as a server with faults would. requests: paths and bodies.
    """

    daemon_threads = True
    request_queue_size = 128  # many requests come at once

    def __init__(self, folder, names_weights=True, change=lambda answer: answer):
        self.folder, self.names_weights, self.change = Path(folder), names_weights, change
        self.requests, self.engine, self.weights, self.is_stuck = [], None, "", False
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def service(self, **fields):
        """The server as a plan names it."""
        return RolloutService(
            **{
                "url": f"http://127.0.0.1:{self.server_address[1]}/v1",
                "model": "policy",
                "folder": str(self.folder),
                "reload": (ServerRequest(RELOAD, {"path": "{folder}"}),),
                "dtype": "fp32",
                "tolerance": 1e-3,
                "retries": 1,
                "concurrency": 8,
                **fields,
            }
        )

    def reload(self, body):
        """Read the folder again, unless the server is stuck with the weights that it has."""
        if self.engine is None or not self.is_stuck:
            folder = Path(body["path"])
            encoding = read_tokenizer(folder)
            self.engine, self.weights = Engine(load_published(folder, encoding), encoding), weights_identity(folder)
        return {}

    def complete(self, body):
        sampling = Sampling(
            max_tokens=body["max_tokens"],
            temperature=body["temperature"],
            seed=body["seed"],
            last=body["stop_token_ids"],
        )
        [completion] = self.engine.complete([body["prompt"]], sampling)
        choice = {
            "text": self.engine.encoding.decode(completion.tokens),
            "token_ids": completion.tokens,
            "logprobs": {"token_logprobs": self.log_probabilities(body["prompt"], completion.tokens)},
            "finish_reason": "stop" if completion.finish == "stop" else "length",
        }
        fingerprint = f"{FINGERPRINT}{self.weights}" if self.names_weights else None
        return {"model": body["model"], "choices": [choice], "system_fingerprint": fingerprint}

    def log_probabilities(self, prompt, tokens):
        """As vLLM and transformers compute them: the padding of the embedding has probabilities too."""
        prompts = [[*prompt, *tokens[:place]] for place in range(len(tokens))]
        scored = self.engine.likelihoods(prompts, [[token] for token in tokens], padded=True)
        return [likelihood.log_probability for likelihood in scored]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or "{}")
        with self.server.lock:
            self.server.requests.append((self.path, body))
            answer = self.server.reload(body) if self.path == RELOAD else self.server.complete(body)
        self.answer(self.server.change(answer))

    def do_GET(self):
        self.answer({"data": [{"id": "policy"}]})

    def answer(self, value):
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        return None
