"""A small embeddings API on this machine, which can be told to misbehave."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

Answer = tuple[int, dict[str, str], bytes]


class FakeApi:
    """Serves ``/v1/embeddings`` and notes what was asked.

    Attributes:
        asked: the texts of every request, refused ones included.
        headers: the headers of every request, by lower-case name.
        bodies: the bodies of every request.
        next: answers to give instead of the right one, the first one first; None is the right one.
        limit: the largest batch taken; 0 for any.
        salt: another one is another model.
        delay: seconds before every response.
    """

    def __init__(self, width: int = 8) -> None:
        self.width = width
        self.salt = ""
        self.limit = 0
        self.refusal = "batch size is invalid, it should not be larger than {limit}."
        self.delay = 0.0
        self.key = ""
        self.asked: list[list[str]] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.next: list[Answer | Callable[[Sequence[str]], Answer] | None] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                api.asked.append(body["input"])
                api.bodies.append(body)
                api.headers.append({k.lower(): v for k, v in self.headers.items()})
                time.sleep(api.delay)
                status, headers, content = api.answer(self.path, body)
                try:
                    if status == 0:  # hang up in the middle of a response
                        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + content)
                        self.close_connection = True
                        return
                    self.send_response(status)
                    for key, value in {"Content-Type": "application/json", **headers}.items():
                        self.send_header(key, value)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    self.close_connection = True

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def texts(self) -> list[str]:
        """All texts that were sent, in their order."""
        return [text for some in self.asked for text in some]

    def vector(self, text: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256((self.salt + text).encode()).digest()[:8], "little")
        return np.random.default_rng(seed).normal(size=self.width).astype(np.float32)

    def right(self, texts: Sequence[str], encoding: str = "float") -> dict[str, Any]:
        def form(row: np.ndarray) -> Any:
            return base64.b64encode(row.astype("<f4").tobytes()).decode() if encoding == "base64" else row.tolist()

        data = [{"object": "embedding", "index": i, "embedding": form(self.vector(t))} for i, t in enumerate(texts)]
        tokens = sum(map(len, texts))
        return {"object": "list", "data": data, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}

    def answer(self, path: str, body: dict[str, Any]) -> Answer:
        texts = body["input"]
        planned = self.next.pop(0) if self.next else None
        if planned is not None:
            return planned(texts) if callable(planned) else planned
        if path != "/v1/embeddings":
            return 404, {}, b'{"error": {"message": "unknown route"}}'
        if self.key and self.headers[-1].get("authorization") != f"Bearer {self.key}":
            given = self.headers[-1].get("authorization", "")
            return 401, {}, json.dumps({"error": {"message": f"Incorrect API key provided: {given}"}}).encode()
        if self.limit and len(texts) > self.limit:
            return 400, {}, json.dumps({"error": {"message": self.refusal.format(limit=self.limit)}}).encode()
        return 200, {}, json.dumps(self.right(texts, body.get("encoding_format", "float"))).encode()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
