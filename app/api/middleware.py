"""What stands around every request: its id, its measurements, the last catch, the limit on its body, and its key."""

import contextlib
import json
import logging
import re
import secrets
import time

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.auth import KeyRefusedError, check_key, note_refusal
from app.api.key_log import KeyLog
from app.api.limits import check_refused
from app.api.problems import ProblemError, answer_error, respond
from app.api.services import Services
from app.enrolment.archives import ARCHIVE_BYTES
from app.errors import StoreUnavailableError
from app.photos import MAX_BYTES
from app.store.records import KeyRecord, Refusal

JSON_BYTES = 1_000_000
MULTIPART_BYTES = 100_000  # multipart/form-data adds its boundaries and headers
UPLOAD_BYTES = MAX_BYTES + MULTIPART_BYTES

GUARDED = ("/v1/", "/metrics")

_TAKES_ARCHIVES = re.compile(r"/v1/buildings/[^/]+/enrolments")
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
        largest = ARCHIVE_BYTES + MULTIPART_BYTES if _TAKES_ARCHIVES.fullmatch(scope["path"]) else UPLOAD_BYTES
        limit = largest if upload else JSON_BYTES
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


class KeyCheck:
    """Looks the key up before the body is read: whoever has none cannot make the server read megabytes."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or not scope["path"].startswith(GUARDED):
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        try:
            key = await run_in_threadpool(_key_of, request)
        except (ProblemError, StoreUnavailableError) as error:
            await answer_error(request, error)(scope, receive, send)
            return
        scope["state"]["key"] = key
        await self.app(scope, receive, send)


def _key_of(request: Request) -> KeyRecord:
    """Return the key of a request.

    Raises:
        ProblemError: it has none, or the key is not good, or too many came from there that were not.
    """
    services: Services = request.app.state.services
    log: KeyLog = request.app.state.key_log
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    try:
        if scheme.lower() != "bearer" or not secret:
            raise KeyRefusedError(Refusal.MISSING)
        key = check_key(services, secret.strip())
    except KeyRefusedError as error:
        note_refusal(request, error.reason, error.key, error.prefix)
        if error.reason is not Refusal.MISSING:
            check_refused(request)
        raise
    log.used(key)
    return key


class Unambiguous:
    """Refuses what means different things to different readers: a name twice in one JSON object, NUL in a query."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if b"%00" in scope["query_string"]:  # PostgreSQL takes no such text, and nothing here is named so
            await respond(Request(scope), "malformed-request", "The query holds a NUL.")(scope, receive, send)
            return
        media_type = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
        if not media_type.endswith(("/json", "+json")):
            await self.app(scope, receive, send)
            return
        try:
            body = await Request(scope, receive).body()
        except HTTPException as error:  # too long
            await answer_error(Request(scope), error)(scope, receive, send)
            return
        except ClientDisconnect:
            return
        if _names_twice(body):
            detail = "An object of the body has two members of one name."
            await respond(Request(scope), "malformed-json", detail)(scope, receive, send)
            return
        await self.app(scope, _given(body, receive), send)


def _names_twice(body: bytes) -> bool:
    twice = False

    def members(pairs: list[tuple[str, object]]) -> None:
        nonlocal twice
        twice = twice or len({name for name, _ in pairs}) < len(pairs)

    with contextlib.suppress(ValueError, RecursionError):  # the endpoint says what is wrong with such a body
        json.loads(body, object_pairs_hook=members)
    return twice


def _given(body: bytes, receive: Receive) -> Receive:
    given = False

    async def giving() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return giving
