"""A local server that speaks the chat completions protocol, with replies that a test writes."""

import http.server
import json
import threading

from llm_assets.evaluation.endpoint import ChatEndpoint
from llm_assets.recipes import Endpoint


class Server(http.server.ThreadingHTTPServer):
    """Answers each request with `respond(number of the request, prompt)`, a (status, body); records the requests."""

    def __init__(self, respond):
        self.respond, self.requests = respond, []
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def endpoint(self, **fields):
        return ChatEndpoint(
            Endpoint(model="judge", url=f"http://127.0.0.1:{self.server_address[1]}/v1/", **fields),
            wait=lambda seconds: None,
        )


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, self.headers, body))
        status, answer = self.server.respond(len(self.server.requests), body["messages"][0]["content"])
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        return None


def chat(text):
    """The body of a chat completion with this text."""
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}
