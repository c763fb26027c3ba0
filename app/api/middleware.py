"""What stands around every request: its id, its measurements, the last catch, and the limit on its body."""

import logging
import re
import secrets
import time

from fastapi import Request
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import respond
from app.photos import MAX_BYTES

JSON_BYTES = 1_000_000
UPLOAD_BYTES = MAX_BYTES + 100_000  # multipart/form-data adds its boundaries and headers

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_log = logging.getLogger(__name__)


class Watch:
    """The outermost layer: names each request, counts and times it, and answers when nobody else could."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self.app = app
        self._requests = Counter(
            "cardea_http_requests", "Answers by operation and status", ["operation", "status"], registry=registry
        )
        self._seconds = Histogram(
            "cardea_http_request_seconds", "Time to the first byte of the answer", ["operation"], registry=registry
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        began = time.monotonic()
        started = False

        async def observed(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
                operation = getattr(scope.get("route"), "name", "none")
                self._requests.labels(operation, message["status"]).inc()
                self._seconds.labels(operation).observe(time.monotonic() - began)
            await send(message)

        try:
            await self.app(scope, receive, observed)
        except Exception:
            _log.exception("request %s %s %r failed", request_id, scope["method"], scope["path"])
            if started:
                raise  # the connection must break: half an answer is not an answer
            answer = respond(Request(scope), "internal-error", "The server could not handle the request.")
            await answer(scope, receive, observed)


class BodyLimit:
    """Refuses a body that announces too many bytes, and cuts off one that goes on past the limit."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        upload = headers.get("content-type", "").lower().startswith("multipart/form-data")
        limit = UPLOAD_BYTES if upload else JSON_BYTES
        detail = f"The body of this request may have {limit} bytes."
        announced = headers.get("content-length", "0")
        if announced.isdecimal() and int(announced) > limit:
            await respond(Request(scope), "upload-too-large", detail)(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, detail)
            return message

        await self.app(scope, counted, send)
