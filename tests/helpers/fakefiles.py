"""A small file server on this machine, for tests of what downloads: it resumes, breaks off and refuses as told."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FakeFiles:
    """Serves files from memory and notes what was asked.

    Attributes:
        files: path -> bytes.
        asked: "path range" of every request.
        cuts: after how many bytes the next responses break off; one is taken at each request.
        refusals: path -> HTTP status.
        ranges: whether a Range is honoured.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.cuts: list[int] = []
        self.refusals: dict[str, int] = {}
        self.ranges = True
        own = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                wanted = self.headers.get("Range", "")
                own.asked.append(f"{self.path} {wanted}".strip())
                content = own.files.get(self.path)
                status = own.refusals.get(self.path, 404 if content is None else 200)
                content = content if content is not None and status == 200 else b""
                start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and own.ranges else 0
                if start:
                    status = 416 if start >= len(content) else 206
                self.send_response(status)
                if status == 206:
                    self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
                body = content[start:]
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: own.cuts.pop(0)] if own.cuts else body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
