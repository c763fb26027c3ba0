"""The description of the API: OpenAPI 3.1 with stable operation ids, examples and every type of problem."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from app.api.problems import ProblemBody, documented

TITLE = "Cardea"
DESCRIPTION = """Knows who stands at the door. Buildings hold persons with photos, cameras, and the events of both.

Errors are problems (RFC 9457) whose `type` is stable. Lists are read page by page with `page_token`. Changes take
`If-Match` with the `ETag` that was read. Every time has a zone."""
EVERYWHERE = ("malformed-request", "invalid-request", "internal-error")
WITH_KEY = ("unauthenticated", "scope-too-small", "other-building", "store-unavailable")
WITH_BODY = ("malformed-json", "upload-too-large", "unsupported-media-type")


def operation_id(route: APIRoute) -> str:
    """Return the name of the endpoint's function, which is unique over all modules."""
    return route.name


def describe(app: FastAPI, version: str) -> dict[str, Any]:
    """Return the document; problems that any operation of its kind may answer are added here."""
    document = get_openapi(
        title=TITLE, version=version, description=DESCRIPTION, routes=app.routes, openapi_version="3.1.0"
    )
    components = document["components"]["schemas"]
    components.pop("HTTPValidationError", None)
    components.pop("ValidationError", None)
    problem = ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}")
    components |= problem.pop("$defs") | {"ProblemBody": problem}
    for operations in document["paths"].values():
        for operation in operations.values():
            _add_problems(operation)
    return document


def _add_problems(operation: dict[str, Any]) -> None:
    codes: tuple[str, ...] = EVERYWHERE
    codes += WITH_KEY if "security" in operation else ()
    codes += WITH_BODY if "requestBody" in operation else ()
    responses = operation["responses"]
    if "application/json" in responses.get("422", {}).get("content", {}):  # FastAPI's own form of it
        del responses["422"]
    for status, general in documented(*codes).items():
        present = responses.setdefault(str(status), general)
        for media_type, content in general["content"].items():
            examples = present["content"][media_type]["examples"]
            examples.update(content["examples"] | examples)
