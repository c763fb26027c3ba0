"""The description of the API: OpenAPI 3.1 with stable operation ids, examples and every type of problem."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from app.api.problems import ProblemBody, documented

TITLE = "Cardea"
DESCRIPTION = """Knows who stands at the door. Buildings hold persons with photos, cameras, and the events of both.

Errors are problems (RFC 9457) whose `type` is stable. Lists are read page by page with `page_token`. Changes take
`If-Match` with the `ETag` that was read. Every time has a zone.

Each operation names the scope that its key needs; `operator` holds `viewer`, which holds `device`. A `POST` may carry
`Idempotency-Key`: when it is sent again within 24 hours with the same key and content, its first answer comes again,
with `Idempotent-Replayed: true`; what was refused or only asked is done anew.

Limits: a key may ask for identify, verify and face-checks 60 times in a minute; an address may try to log in 10 times
in a minute and send 30 bad keys, good ones always work. `Retry-After` says how long to wait."""
EVERYWHERE = ("malformed-request", "invalid-request", "internal-error")
WITH_KEY = ("unauthenticated", "scope-too-small", "other-building", "too-many-requests", "store-unavailable")
WITH_IDEMPOTENCY = ("invalid-idempotency-key", "request-in-progress", "idempotency-key-reused")
WITH_BODY = ("malformed-json", "upload-too-large", "unsupported-media-type")


_IDEMPOTENCY_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "of your choice, new for each new request; a repetition with the same key is not done again",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    "example": "6b1f5c9e-3f0e-4c55-9d0e-0a3f6f2b7c11",
}


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
    for schema in components.values():
        if "examples" in schema:
            schema["examples"] = [_whole(shown, schema, components) for shown in schema["examples"]]
    for operations in document["paths"].values():
        for method, operation in operations.items():
            _add_problems(operation, method)
            _name_scope(operation)
            if _idempotent(operation, method):
                operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
            _add_examples(operation, components)
    return document


def _add_problems(operation: dict[str, Any], method: str) -> None:
    codes: tuple[str, ...] = EVERYWHERE
    codes += WITH_KEY if "security" in operation else ()
    codes += WITH_BODY if "requestBody" in operation else ()
    codes += WITH_IDEMPOTENCY if _idempotent(operation, method) else ()
    responses = operation["responses"]
    if "application/json" in responses.get("422", {}).get("content", {}):  # FastAPI's own form of it
        del responses["422"]
    for status, general in documented(*codes).items():
        present = responses.setdefault(str(status), general)
        for media_type, content in general["content"].items():
            examples = present["content"][media_type]["examples"]
            examples.update(content["examples"] | examples)


def _idempotent(operation: dict[str, Any], method: str) -> bool:
    return method == "post" and "security" in operation


def _name_scope(operation: dict[str, Any]) -> None:
    """Leave one requirement with the scope; the framework lists one for each dependency that wants the key."""
    if "security" in operation:
        scopes = {scope for entry in operation["security"] for scope in entry["key"]}
        operation["security"] = [{"key": sorted(scopes)}]


def _add_examples(operation: dict[str, Any], components: dict[str, Any]) -> None:
    """Give every JSON content an example made from those of its schema."""
    contents = [operation.get("requestBody", {}).get("content", {})]
    contents += [response.get("content", {}) for response in operation["responses"].values()]
    for content in contents:
        for media in content.values():
            if "examples" not in media and "example" not in media:
                example = _example(media.get("schema", {}), components)
                if example is not None:
                    media["example"] = example


def _example(schema: dict[str, Any], components: dict[str, Any]) -> Any:
    """Return an example of a schema: its own, or one put together from its parts; None when it cannot be had."""
    if "$ref" in schema:
        return _example(components[schema["$ref"].rpartition("/")[2]], components)
    for word in ("examples", "enum"):
        if word in schema:
            return schema[word][0]
    if "const" in schema:
        return schema["const"]
    if schema.get("type") == "array":
        item = _example(schema["items"], components)
        return None if item is None else [item]
    if schema.get("type") == "object" and "properties" in schema:
        parts = {name: _part(part, components) for name, part in schema["properties"].items()}
        return None if None in parts.values() else parts
    return None


def _whole(example: Any, schema: dict[str, Any], components: dict[str, Any]) -> Any:
    """Put the nulls back that the framework has dropped from an example: what is required and left out was one."""
    if "$ref" in schema:
        return _whole(example, components[schema["$ref"].rpartition("/")[2]], components)
    if "anyOf" in schema and example is not None:
        return _whole(example, _fitting(example, schema["anyOf"], components), components)
    if isinstance(example, list):
        return [_whole(item, schema.get("items", {}), components) for item in example]
    if not isinstance(example, dict):
        return example
    parts = {
        name: _whole(value, schema.get("properties", {}).get(name, {}), components) for name, value in example.items()
    }
    return dict.fromkeys(schema.get("required", [])) | parts


def _fitting(example: Any, choices: list[dict[str, Any]], components: dict[str, Any]) -> dict[str, Any]:
    """Return the choice that knows every member of the example; the first one for whatever has no members."""
    known = [components[one["$ref"].rpartition("/")[2]] if "$ref" in one else one for one in choices]
    members = set(example) if isinstance(example, dict) else set()
    return next((one for one in known if members <= set(one.get("properties", {}))), known[0])


def _part(schema: dict[str, Any], components: dict[str, Any]) -> Any:
    return schema["default"] if schema.get("default") is not None else _example(schema, components)
