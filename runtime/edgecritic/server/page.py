"""The page at ``/`` and its files, which come with the package."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response

from edgecritic.server.failures import Failure

_TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".json": "application/json",
}
# Nothing but our own files may run, be shown or be called; pictures that a person picks are blobs.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


class Page:
    """Answers with the package's own files, which are listed once: no path is ever joined."""

    def __init__(self) -> None:
        self._files = dict(_listed(files("edgecritic.server") / "page", ""))

    async def index(self, _request: Request) -> Response:
        """The page itself."""
        return self._file("index.html")

    async def asset(self, request: Request) -> Response:
        """One of its files."""
        return self._file(request.path_params["name"])

    def _file(self, name: str) -> Response:
        file = self._files.get(name)
        if file is None:
            raise Failure(404, "not_found", f"there is no {name[:80]!r} here", "see /openapi.json")
        kind = next((kind for end, kind in _TYPES.items() if name.endswith(end)), "text/plain")
        headers = {
            "Content-Type": kind,
            "Content-Security-Policy": _POLICY,
            "Cache-Control": "no-cache",
        }
        return Response(file.read_bytes(), headers=headers)


def _listed(folder: Traversable, prefix: str) -> list[tuple[str, Traversable]]:
    if not folder.is_dir():
        return []
    found: list[tuple[str, Traversable]] = []
    for entry in folder.iterdir():
        name = prefix + entry.name
        found += _listed(entry, f"{name}/") if entry.is_dir() else [(name, entry)]
    return found
