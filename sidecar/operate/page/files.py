"""The page's own files, and the headers with which a browser keeps to them."""

from __future__ import annotations

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}

HEADERS = {
    # Nothing but our own files, no matter what a lambda puts into a text; and no other page may frame this one.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
"""What the page's answers carry. `nosniff` and `no-store` are in all answers of the server."""

_FOLDER = files(__package__) / "static"


class Files:
    """The files, read once: they are small."""

    def __init__(self) -> None:
        self._bodies = {
            one.name: one.read_bytes() for one in _FOLDER.iterdir() if one.name.rpartition(".")[2] in _TYPES
        }

    @property
    def names(self) -> list[str]:
        """The names, each of which is a path below `/`."""
        return sorted(self._bodies)

    async def serve(self, request: Request) -> Response:
        """The file that the path names; `/` is `index.html`."""
        name = request.url.path.removeprefix("/") or "index.html"
        kind = _TYPES[name.rpartition(".")[2]]
        return Response(self._bodies[name], media_type=kind, headers=HEADERS)
