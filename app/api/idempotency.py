"""Idempotency-Key on every POST (draft-ietf-httpapi-idempotency-key-header): a request sent twice is done once.

The first answer that tells of a change (201, 202, 204) is kept for a day and given again. Refusals are not kept, for
nothing was changed, and neither is a 200, which only answers a question and may be asked again: a person's name from
an answer of `identify` then outlives no erasure. The one gap: when the process dies between a change and the keeping
of its answer, a repetition more than a minute later is a new request.
"""

import hashlib
import logging
import re
import tempfile
from typing import IO

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import ProblemError, answer_error
from app.errors import StoreUnavailableError
from app.store import idempotency
from app.store.engine import Store
from app.store.idempotency import Refused, Reply

KEPT = (201, 202, 204)
HEADERS = ("content-type", "location", "etag", "cache-control")  # of an answer that are kept
IN_MEMORY = 1_000_000  # bytes of a body; more goes into a temporary file
CHUNK = 65_536
RETRY_SECONDS = "1"

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_log = logging.getLogger(__name__)


class Idempotency:
    """Stands around the endpoints, inside the check of the key, which says who asks."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        asked = scope["type"] == "http" and scope["method"] == "POST" and "key" in scope["state"]
        given = Headers(scope=scope).getlist("idempotency-key") if asked else []
        if not given:
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as body:
            try:
                identity = _identity(request, given)
                fingerprint = await _read(request, receive, body)
                claimed = await run_in_threadpool(_claim, request, identity, fingerprint)
            except (ProblemError, StoreUnavailableError, HTTPException) as error:
                await answer_error(request, error)(scope, receive, send)
                return
            if isinstance(claimed, Reply):
                await _repeat(claimed, send)
                return
            await self._first(request, _Claim(request, identity, claimed), _replay(body, receive), send)

    async def _first(self, request: Request, claim: "_Claim", receive: Receive, send: Send) -> None:
        try:
            await self.app(request.scope, receive, claim.watch(send))
        finally:
            await claim.end()


class _Claim:
    """The right to answer a request first. What is neither kept nor released can be taken over after a minute."""

    def __init__(self, request: Request, identity: str, mark: str) -> None:
        self._request = request
        self._identity = identity
        self._mark = mark
        self._start: Message | None = None
        self._body = b""
        self._ended = False

    def watch(self, send: Send) -> Send:
        """Return a `send` that keeps the answer before its last byte leaves."""

        async def watching(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._start = message
            elif self._start is not None and self._start["status"] in KEPT:
                self._body += message.get("body", b"")
                if not message.get("more_body", False):
                    await self.end()
            await send(message)

        return watching

    async def end(self) -> None:
        """Keep the answer, or release the claim when there is none to keep."""
        if self._ended:
            return
        self._ended = True
        try:
            await run_in_threadpool(self._keep)
        except StoreUnavailableError as error:  # the change is made: its answer must go out all the same
            _log.warning("request %s: its answer cannot be kept: %s", self._request.state.request_id, error)

    def _keep(self) -> None:
        with _store(self._request).session() as session:
            if self._start is None or self._start["status"] not in KEPT:
                idempotency.release(session, self._identity, self._mark)
                return
            headers = Headers(raw=self._start["headers"])
            kept = {name: headers[name] for name in HEADERS if name in headers}
            reply = Reply(self._start["status"], kept, self._body)
            resource = headers.get("location", self._request.url.path)
            idempotency.complete(session, self._identity, self._mark, resource, reply)


class _Fingerprint:
    """SHA-256 of what is asked for. The boundary of a form does not count: clients draw a new one for each try."""

    def __init__(self, request: Request) -> None:
        self._hash = hashlib.sha256(request.scope["query_string"] + b"\n")
        self._form: MultipartParser | None = None
        media_type, options = parse_options_header(request.headers.get("content-type", ""))
        self._hash.update(media_type + b"\n")
        if media_type == b"multipart/form-data" and options.get(b"boundary"):
            self._form = MultipartParser(
                options[b"boundary"],
                {
                    "on_part_begin": self._mark,
                    "on_header_field": self._span,
                    "on_header_value": self._span,
                    "on_header_end": self._mark,
                    "on_headers_finished": self._mark,
                    "on_part_data": self._span,
                },
            )

    def update(self, data: bytes) -> None:
        """Take more of the body."""
        if self._form is None:
            self._hash.update(data)
            return
        try:
            self._form.write(data)
        except MultipartParseError:  # the endpoint will refuse it
            self._hash.update(data)

    def hexdigest(self) -> str:
        """Return the digest of all that was taken."""
        return self._hash.hexdigest()

    def _span(self, data: bytes, start: int, end: int) -> None:
        self._hash.update(data[start:end])

    def _mark(self) -> None:
        self._hash.update(b"\0")


def _identity(request: Request, given: list[str]) -> str:
    """Return what the store calls this request.

    Raises:
        ProblemError: the header is malformed.
    """
    if len(given) != 1 or not _KEY.fullmatch(given[0]):
        raise ProblemError("invalid-idempotency-key", "Idempotency-Key is one word of 1 to 255 visible ASCII signs.")
    parts = (request.state.key.id, request.method, request.url.path, given[0])
    return hashlib.sha256("\n".join(parts).encode(errors="replace")).hexdigest()


async def _read(request: Request, receive: Receive, body: IO[bytes]) -> str:
    """Read the body into a file and return its fingerprint."""
    fingerprint = _Fingerprint(request)
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ProblemError("malformed-request", "The connection ended in the middle of the body.")
        body.write(message.get("body", b""))
        fingerprint.update(message.get("body", b""))
        if not message.get("more_body", False):
            return fingerprint.hexdigest()


def _claim(request: Request, identity: str, fingerprint: str) -> Reply | str:
    with _store(request).session() as session:
        claimed = idempotency.claim(session, identity, fingerprint)
    if claimed is Refused.RUNNING:
        detail = "The first request with this key has no answer yet."
        raise ProblemError("request-in-progress", detail, {"Retry-After": RETRY_SECONDS})
    if claimed is Refused.OTHER_REQUEST:
        raise ProblemError("idempotency-key-reused", "The first request with this key asked for something else.")
    assert not isinstance(claimed, Refused)
    return claimed


def _replay(body: IO[bytes], receive: Receive) -> Receive:
    """Return a `receive` that gives the body out once more and then goes on with the connection."""
    body.seek(0)
    ended = False

    async def replaying() -> Message:
        nonlocal ended
        if ended:
            return await receive()
        data = body.read(CHUNK)
        ended = len(data) < CHUNK
        return {"type": "http.request", "body": data, "more_body": not ended}

    return replaying


async def _repeat(reply: Reply, send: Send) -> None:
    headers = MutableHeaders(reply.headers | {"Idempotent-Replayed": "true"})
    if reply.status != 204:
        headers["Content-Length"] = str(len(reply.body))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers.raw})
    await send({"type": "http.response.body", "body": reply.body})


def _store(request: Request) -> Store:
    store: Store = request.app.state.services.store
    return store
