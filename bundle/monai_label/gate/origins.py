"""Who may ask: requests of foreign web pages, of foreign host names, and larger than the limit are turned away."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

JSON_LIMIT_BYTES = 1 << 20
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
LOOPBACK_ORIGIN = rf"https?://({'|'.join(map(re.escape, LOOPBACK))})(:[0-9]{{1,5}})?"


class Gate:
    """Stands before a server. A web page of anywhere can make a browser send to loopback, under a name of its own too.

    Args:
        app: the server.
        origins: allowed besides those of loopback; their hosts may be asked by.
        limit_bytes: of a form, as it is declared; what is sent without a length the server itself counts.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str], limit_bytes: int) -> None:
        self.app, self.origins, self.limit_bytes = app, origins, limit_bytes
        self.hosts = {*LOOPBACK, *(_host(origin.split("://")[1]) for origin in origins)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 or 413 with a sentence, or pass the request on."""
        answer = self._refusal(scope["headers"]) if scope["type"] == "http" else None
        await (answer or self.app)(scope, receive, send)

    def _refusal(self, headers: Sequence[tuple[bytes, bytes]]) -> JSONResponse | None:
        def sent(name: bytes) -> list[str]:
            return [value.decode("latin-1") for key, value in headers if key == name]

        hosts, origins = sent(b"host"), sent(b"origin")
        if len(hosts) != 1 or _host(hosts[0]) not in self.hosts:
            return _answer(403, "this server does not answer by this host name: start it with --allow-origin")
        if any(not self._allows(origin) for origin in origins):
            return _answer(403, "this server does not answer to pages of this origin: start it with --allow-origin")
        is_form = any(kind.startswith("multipart/") for kind in sent(b"content-type"))
        limit_bytes = self.limit_bytes if is_form else JSON_LIMIT_BYTES
        if any(int(length) > limit_bytes for length in sent(b"content-length")):
            return too_large(limit_bytes)
        return None

    def _allows(self, origin: str) -> bool:
        return origin in self.origins or re.fullmatch(LOOPBACK_ORIGIN, origin) is not None


def too_large(limit_bytes: int) -> JSONResponse:
    """The answer to a request beyond the limit."""
    return _answer(413, f"more than {limit_bytes} bytes: for larger uploads start the server with --upload-limit-gib")


def _host(text: str) -> str | None:
    match = re.fullmatch(r"(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:[0-9]{1,5})?", text.lower())
    return match[1] if match else None


def _answer(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"detail": sentence}, status)
