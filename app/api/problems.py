"""Problems (RFC 9457): the one place where an error becomes an answer.

Our own errors, FastAPI's and those nobody foresaw all end in ``application/problem+json`` with a type of
`problem_types`. No answer repeats what was sent: a body may hold a password.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from app.api.problem_types import PROBLEM_TYPES
from app.errors import (
    CardeaError,
    ConflictError,
    CursorError,
    DuplicatePhotoError,
    EmbedderError,
    NotFoundError,
    PhotoError,
    RevisionError,
    StoreUnavailableError,
)

_log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = "2"
SHOWN = 3  # errors of a body that its problem's detail repeats

# The most exact class comes first.
_CODES: tuple[tuple[type[CardeaError], str], ...] = (
    (NotFoundError, "not-found"),
    (RevisionError, "precondition-failed"),
    (DuplicatePhotoError, "duplicate-photo"),
    (ConflictError, "conflict"),
    (CursorError, "invalid-page-token"),
    (EmbedderError, "other-embedder"),
    (StoreUnavailableError, "store-unavailable"),
    (CardeaError, "internal-error"),
)
_STATUSES = {400: "malformed-request", 404: "not-found", 405: "method-not-allowed", 413: "upload-too-large"}


class FieldError(BaseModel):
    """One place of the request that breaks the schema."""

    pointer: str | None = Field(default=None, description="JSON pointer into the body", examples=["#/name"])
    parameter: str | None = Field(default=None, description="name of the path, query or header parameter")
    code: str = Field(examples=["string_too_long"])
    detail: str


class ProblemBody(BaseModel):
    """An answer with status 400 or above."""

    type: str = Field(description="stable; GET it to read what to do", examples=["/problems/no-face"])
    title: str
    status: int
    detail: str
    instance: str = Field(description="path of the request")
    request_id: str = Field(description="to be found in the server's log and in X-Request-Id")
    errors: list[FieldError] | None = Field(default=None, description="of invalid-request")
    reasons: list[str] | None = Field(default=None, description="of face-unusable: codes such as blurred")
    person: str | None = Field(default=None, description="of duplicate-photo: who has it")
    checks: dict[str, str] | None = Field(
        default=None, description="of not-ready: `ok` or what is wrong, by dependency"
    )


class ProblemError(CardeaError):
    """The request cannot be answered as asked."""

    def __init__(
        self,
        code: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        **members: Sequence[Any] | Mapping[str, str],
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.headers = headers
        self.members = members


def invalid(pointer: str, detail: str) -> ProblemError:
    """Return the problem of a body that fits the schema but makes no sense at `pointer`."""
    error = FieldError(pointer=pointer, code="value_error", detail=detail)
    return ProblemError("invalid-request", detail, errors=[error])


def respond(
    request: Request, code: str, detail: str, headers: Mapping[str, str] | None = None, **members: Any
) -> JSONResponse:
    """Return the answer for one problem."""
    row = PROBLEM_TYPES[code]
    body = ProblemBody(
        type=row.uri,
        title=row.title,
        status=row.status,
        detail=detail,
        instance=request.url.path,
        request_id=request.state.request_id,
        **members,
    )
    return JSONResponse(body.model_dump(exclude_none=True), row.status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Hand every error that an endpoint may raise to this module."""
    app.add_exception_handler(CardeaError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


def answer_error(request: Request, error: CardeaError | HTTPException) -> JSONResponse:
    """Return the answer for an error that happened outside the application, in a layer around it."""
    return _http(request, error) if isinstance(error, HTTPException) else _ours(request, error)


def documented(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses of these problems, an example for each."""
    responses: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        row = PROBLEM_TYPES[code]
        entry = responses.setdefault(
            row.status,
            {
                "description": row.title,
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}, "examples": {}}},
            },
        )
        example = {"type": row.uri, "title": row.title, "status": row.status, "detail": row.advice}
        example |= {"instance": "/v1/buildings/main", "request_id": "8f3c1d2a9b7e4f60"}
        entry["content"][MEDIA_TYPE]["examples"][code] = {"summary": row.title, "value": example}
    return responses


router = APIRouter(prefix="/problems", tags=["problems"])


_TYPE = {
    "type": "/problems/no-face",
    "title": "No face was found.",
    "status": 422,
    "advice": "Take a photo from the front.",
}


@router.get(
    "/{code}",
    responses=documented("not-found")
    | {200: {"content": {"application/json": {"example": _TYPE}}, "description": "The type"}},
)
def get_problem_type(code: str) -> dict[str, str | int]:
    """Say what a type of problem means and what to do about it."""
    row = PROBLEM_TYPES.get(code)
    if row is None:
        raise NotFoundError("There is no such type of problem.")
    return {"type": row.uri, "title": row.title, "status": row.status, "advice": row.advice}


def _ours(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, ProblemError):
        return respond(request, error.code, str(error), error.headers, **error.members)
    if isinstance(error, DuplicatePhotoError):
        return respond(request, "duplicate-photo", str(error), person=error.person)
    if isinstance(error, PhotoError):
        return respond(request, error.code, str(error), reasons=list(error.reasons) or None)
    code = next(code for kind, code in _CODES if isinstance(error, kind))
    if code == "internal-error":
        raise error  # one of the server's own troubles: the outermost layer logs it and keeps it to itself
    if code == "other-embedder":
        return respond(request, code, str(error), {"Retry-After": RETRY_SECONDS})
    if code == "store-unavailable":
        _log.warning("request %s: %s", request.state.request_id, error)  # the text may name hosts and tables
        detail = "The database does not answer; a change may have been made all the same."
        return respond(request, code, detail, {"Retry-After": RETRY_SECONDS})
    return respond(request, code, str(error))


def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = _STATUSES[error.status_code]
    if code == "method-not-allowed":
        allowed = ", ".join(_methods(request))
        return respond(request, code, f"This path knows {allowed}.", {"Allow": allowed})
    detail = "There is nothing at this path." if code == "not-found" else str(error.detail)
    return respond(request, code, detail)


def _methods(request: Request) -> list[str]:
    """Return the methods of all operations of this path; the framework names those of one."""
    operations = request.app.openapi()["paths"].items()
    fitting = [known for path, known in operations if compile_path(path)[0].fullmatch(request.url.path)]
    return sorted({method.upper() for known in fitting for method in known})


def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return respond(
            request, "malformed-json", f"The body breaks off or has a wrong sign near byte {first['loc'][1]}."
        )
    if first["loc"] == ("body",) and not _is_json(request) and first["type"] != "missing":
        return respond(request, "unsupported-media-type", "The body of this operation is application/json.")
    errors = [_place(entry) for entry in error.errors()]
    told = "; ".join(f"{error.pointer or error.parameter}: {error.detail}" for error in errors[:SHOWN])
    return respond(request, "invalid-request", told, errors=errors)


def _is_json(request: Request) -> bool:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type.startswith("application/") and media_type.endswith(("/json", "+json"))


def _place(entry: dict[str, Any]) -> FieldError:
    where, *path = entry["loc"]
    detail = str(entry["msg"]).removeprefix("Value error, ")
    if where == "body":
        pointer = "#" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
        return FieldError(pointer=pointer, code=entry["type"], detail=detail)
    return FieldError(parameter=str(path[0]), code=entry["type"], detail=detail)
