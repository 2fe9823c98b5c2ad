"""A small fake of the Hugging Face hub, on this machine, for tests of what downloads."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

REVISION = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """Serves repositories from memory and notes what was asked; `refusals` answer a repository with an error."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.refusals: dict[str, tuple[int, str]] = {}
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                path = unquote(urlsplit(self.path).path)
                hub.asked.append(f"{self.command} {path}")
                status, headers, body = hub.answer(path)
                self.send_response(status)
                for key, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        parts = (
            path.strip("/").removeprefix("api/").split("/")
        )  # datasets/owner/name/tree|resolve|revision/revision/...
        if parts[0] not in ("datasets", "models"):
            parts = ["models", *parts]  # files of models are served without the word
        name = "/".join(parts[1:3])
        if name in self.refusals:
            status, code = self.refusals[name]
            return status, {"X-Error-Code": code}, b"{}"
        if name not in self.repositories:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if parts[4] not in (REVISION, "main"):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        files = self.repositories[name]
        if parts[3] == "revision":
            about = {"id": name, "sha": REVISION, "siblings": [{"rfilename": p} for p in files]}
            return 200, {"Content-Type": "application/json"}, json.dumps(about).encode()
        if parts[3] == "tree":
            tree = [
                {"type": "file", "path": p, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                for p, c in files.items()
            ]
            return 200, {"Content-Type": "application/json"}, json.dumps(tree).encode()
        content = files["/".join(parts[5:])]
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": REVISION}
        return 200, headers, content
