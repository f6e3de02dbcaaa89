"""A model hub on this machine: the few answers of huggingface.co that huggingface-hub asks for."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class StandInHub:
    """One repository with one commit, called ``main``.

    Attributes:
        kind: ``models`` or ``datasets``.
        files: content by path.
        token: without it the repository is not there.
        gated: access is never granted.
        broken: every request is answered with status 503.
        cuts: how often the connection is cut, by path, when half of a file has been sent.
        sent: (path, first byte) of each download that was begun.
    """

    repo: str = "critics/tiny"
    kind: str = "models"
    files: dict[str, bytes] = field(default_factory=dict)
    token: str = ""
    gated: bool = False
    broken: bool = False
    cuts: dict[str, int] = field(default_factory=dict)
    sent: list[tuple[str, int]] = field(default_factory=list)
    url: str = ""

    @contextmanager
    def serving(self) -> Iterator[StandInHub]:
        """Serve on a free port of this machine."""
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: StandInHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, hub = unquote(urlsplit(self.path).path), self.hub
        known = not hub.token or self.headers.get("Authorization") == f"Bearer {hub.token}"
        if hub.broken:
            self._error(503, "")
        elif hub.repo not in path or not known:
            self._error(401, "RepoNotFound")
        elif hub.gated:
            self._error(403, "GatedRepo")
        elif path.startswith(f"/api/{hub.kind}/"):
            self._listing(path.removeprefix(f"/api/{hub.kind}/{hub.repo}").strip("/").split("/"))
        else:
            folder = "" if hub.kind == "models" else f"/{hub.kind}"
            revision, _, name = path.removeprefix(f"{folder}/{hub.repo}/resolve/").partition("/")
            if revision != COMMIT:
                self._error(404, "RevisionNotFound")
            elif name not in hub.files:
                self._error(404, "EntryNotFound")
            else:
                self._file(name)

    def _listing(self, rest: list[str]) -> None:
        kind, revision = (*rest, "main")[:2] if rest != [""] else ("revision", "main")
        if revision not in ("main", COMMIT):
            return self._error(404, "RevisionNotFound")
        if kind == "revision":
            siblings = [{"rfilename": name} for name in self.hub.files]
            return self._json({"id": self.hub.repo, "sha": COMMIT, "siblings": siblings})
        tree = [
            {"type": "file", "path": name, "size": len(content), "oid": _etag(content)}
            for name, content in self.hub.files.items()
        ]
        return self._json(tree)

    def _file(self, name: str) -> None:
        content, hub = self.hub.files[name], self.hub
        asked = self.headers.get("Range", "")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{_etag(content)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        hub.sent.append((name, start))
        if hub.cuts.get(name, 0) > 0:
            hub.cuts[name] -= 1
            self.wfile.write(content[start : start + (len(content) - start) // 2])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)
        else:
            self.wfile.write(content[start:])

    def _json(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _error(self, status: int, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _etag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
