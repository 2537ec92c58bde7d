"""The routes of the page, next to those of the scoring interface."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import JSONResponse, Response

from ppi_train.errors import UserError
from ppi_train.modes.serve.page import MOST_BYTES, PageModel, TooMuchError

_FILES = Path(__file__).with_name("static")
_TYPES = {"page.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
# Nothing from elsewhere, and no script in the page itself: a name that is markup stays text.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_MOST_DROPPED = 64 << 20
# Requests that are scored or wait for that: each has a thread, of which /invocations also needs some.
_AT_ONCE = 3


class RateLimit:
    """Lets a number of requests pass in each minute, of all readers together."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute, self._left = per_minute, float(per_minute)
        self._lock, self._at = threading.Lock(), time.monotonic()

    def passes(self) -> bool:
        """Whether one more request may pass now."""
        with self._lock:
            now = time.monotonic()
            gained = (now - self._at) * self._per_minute / 60
            self._left, self._at = min(float(self._per_minute), self._left + gained), now
            if self._left < 1:
                return False
            self._left -= 1
            return True


def refuse_other_hosts(app: FastAPI) -> None:
    """Answers only requests that name this machine as their host.

    A page of another site can give its own name the address 127.0.0.1, and would then read every answer.
    """
    hosts = ["127.0.0.1", "localhost", "::1", "[::1]"]
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)


def add_page(app: FastAPI, model: PageModel, *, per_minute: int) -> None:
    """Adds the page and its requests to the application.

    Args:
        app: The application.
        model: What scores.
        per_minute: Requests of the page that are answered.
    """
    limit, places = RateLimit(per_minute), asyncio.Semaphore(_AT_ONCE)

    async def about() -> Response:
        return JSONResponse(model.about(), headers=_HEADERS)

    async def score(request: Request) -> Response:
        if not limit.passes():
            return _refusal(429, f"too many requests: at most {per_minute} a minute are answered; try again")
        if places.locked():
            return _refusal(429, f"the server is busy: {_AT_ONCE} requests are being scored; try again")
        async with places:
            return await _scored(model, request)

    for path, name in (("/", "page.html"), ("/page.css", "page.css"), ("/page.js", "page.js")):
        app.get(path)(_static(name))
    app.get("/page/about")(about)
    app.post("/page/score")(score)


def _static(name: str) -> Callable[[], Awaitable[Response]]:
    content = (_FILES / name).read_bytes()

    async def answer() -> Response:
        return Response(content, media_type=f"{_TYPES[name]}; charset=utf-8", headers=_HEADERS)

    return answer


async def _scored(model: PageModel, request: Request) -> Response:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return _refusal(415, "expected JSON")  # which no page of another site can send unasked
    body = await _body_of(request)
    if body is None:
        return _refusal(413, f"the text is too long: at most {MOST_BYTES:,} bytes; score more with `predict`")
    try:
        fields = json.loads(body)
        if not isinstance(fields, dict):
            raise ValueError("it is no object")
    except (ValueError, RecursionError) as error:
        return _refusal(400, f"expected JSON with the fields a and b; {error}")
    try:
        found = await asyncio.to_thread(model.score, fields)
    except UserError as error:
        return _refusal(413 if isinstance(error, TooMuchError) else 400, str(error))
    return JSONResponse(found, headers=_HEADERS)


async def _body_of(request: Request) -> bytes | None:
    """The body of a request; None if it is too long.

    Of a body that is too long the rest is read and dropped, within bounds: a browser that may not send all
    of it would show an answer as a broken connection.
    """
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > _MOST_DROPPED:
            return None
        if size <= MOST_BYTES:
            parts.append(part)
    return b"".join(parts) if size <= MOST_BYTES else None


def _refusal(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status_code=status, headers=_HEADERS)
