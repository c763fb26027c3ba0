"""The route of a page: what an endpoint raises becomes a page in plain words, and every answer has its headers."""

import logging
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from app.api.problem_types import PROBLEM_TYPES
from app.api.problems import ProblemError
from app.errors import (
    CardeaError,
    ConflictError,
    CursorError,
    EmbedderError,
    NotFoundError,
    RevisionError,
    StoreUnavailableError,
)
from app.web.rendering import render
from app.web.visitor import ForgeryError, LoginNeededError

_log = logging.getLogger(__name__)

POLICY = "; ".join(
    (
        "default-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "object-src 'none'",
    )
)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # with "no-referrer" our own forms would come with `Origin: null`
    "X-Content-Type-Options": "nosniff",
}

# The most exact class comes first: status, headline, what to do.
_TROUBLE: tuple[tuple[type[Exception], int, str, str], ...] = (
    (ForgeryError, 403, "That form was too old", "Go back, load the page again and repeat what you did."),
    (NotFoundError, 404, "This is not here", "It may have been deleted, or it belongs to another building."),
    (RevisionError, 412, "Somebody was quicker", "It was changed meanwhile. Load the page again and repeat yours."),
    (ConflictError, 409, "That does not fit", "Something like it is there already. Go back and look at it first."),
    (CursorError, 422, "This list has moved on", "Go back to its first page."),
    (EmbedderError, 503, "Faces cannot be compared now", "Try again in a moment. If it stays so: `cardea db check`."),
    (StoreUnavailableError, 503, "The database does not answer", "Doors stay shut meanwhile. Try again in a moment."),
    (RequestValidationError, 422, "This address cannot be read", "Go back and follow a link instead."),
    (HTTPException, 400, "This request cannot be read", "Go back, load the page again and repeat what you did."),
)


class PageRoute(APIRoute):
    """A route that answers people."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the endpoint with errors turned into pages and with the headers of a page."""
        endpoint = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                response = await endpoint(request)
            except LoginNeededError:
                response = _to_login(request)
            except (CardeaError, RequestValidationError, HTTPException) as error:
                response = _trouble(request, error)
            response.headers.update(HEADERS)
            return response

        return handle


def _to_login(request: Request) -> Response:
    """Send people to the log-in page, and from there back to where they wanted to go."""
    if request.headers.get("accept", "").startswith("text/event-stream"):
        return Response(status_code=204)  # tells a live page's connection not to come back
    if request.method != "GET":
        return RedirectResponse("/login", 303)
    if request.headers.get("sec-fetch-site") == "cross-site":
        # The strict cookie stays behind when a link on another site leads here. From our own page it comes along.
        return render(request, "arrival.html", here=str(request.url))
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse("/login" if path == "/" else f"/login?next={quote(path, safe='')}", 303)


def _trouble(request: Request, error: Exception) -> HTMLResponse:
    if isinstance(error, ProblemError):
        row = PROBLEM_TYPES[error.code]
        answer = render(request, "trouble.html", row.status, headline=row.title, advice=str(error))
        answer.headers.update(error.headers or {})
        return answer
    fitting = [row for row in _TROUBLE if isinstance(error, row[0])]
    if not fitting:
        raise error  # one of the server's own troubles: the outermost layer logs it and keeps it to itself
    _, status, headline, advice = fitting[0]
    if status == 503:
        _log.warning("request %s: %s", request.state.request_id, error)
    if isinstance(error, HTTPException):
        status = error.status_code
    return render(request, "trouble.html", status, headline=headline, advice=advice)
