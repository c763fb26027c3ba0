"""The description of the API as clients read it: examples for everything, each of which fits its schema."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from fixtures_api import Api
from jsonschema_rs import Draft202012Validator

PICTURES = {"image/jpeg"}


@pytest.fixture(scope="module")
def document(lasting_api: Api) -> dict[str, Any]:
    """The OpenAPI document."""
    return dict(httpx2.get(f"{lasting_api.address}/openapi.json").json())


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for methods in document["paths"].values():
        for operation in methods.values():
            yield operation["operationId"], operation


def contents(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each content of a request or an answer: where it is, its media type, schema and examples."""
    for name, operation in operations(document):
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            yield f"{name}: request", media_type, content
        for status, response in operation["responses"].items():
            for media_type, content in response.get("content", {}).items():
                yield f"{name}: {status}", media_type, content


def examples(content: dict[str, Any]) -> list[Any]:
    one = [content["example"]] if "example" in content else []
    return one + [example["value"] for example in content.get("examples", {}).values()]


def test_every_request_and_answer_has_an_example(document: dict[str, Any]) -> None:
    lacking = [
        f"{where} {media_type}"
        for where, media_type, content in contents(document)
        if media_type not in PICTURES and not examples(content)
    ]
    assert not lacking


def test_every_example_fits_its_schema(document: dict[str, Any]) -> None:
    wrong, fitting = [], 0
    for where, media_type, content in contents(document):
        schema = {**content.get("schema", {}), "components": document["components"]}
        validator = Draft202012Validator(schema, validate_formats=True)
        for example in examples(content):
            errors = [f"{where} {media_type}: {error.message}" for error in validator.iter_errors(example)]
            wrong += errors
            fitting += not errors
    assert not wrong
    assert fitting > 500


def test_an_example_that_does_not_fit_would_be_found(document: dict[str, Any]) -> None:
    reference = {"$ref": "#/components/schemas/KeyCreate", "components": document["components"]}
    validator = Draft202012Validator(reference, validate_formats=True)
    good = {"name": "gate", "scope": "device", "building": None}
    assert validator.is_valid(good)
    for bad in ({**good, "scope": "root"}, {**good, "extra": 1}, {**good, "expires_at": "soon"}, {"name": "gate"}):
        assert not validator.is_valid(bad), bad


def test_every_operation_names_its_scope_and_its_problems(document: dict[str, Any]) -> None:
    open_to_all = {"get_liveness", "get_readiness", "get_problem_type"}
    for name, operation in operations(document):
        assert ("security" in operation) is (name not in open_to_all), name
        if "security" not in operation:
            continue
        (requirement,) = operation["security"]
        assert len(requirement["key"]) == 1 and requirement["key"][0] in ("operator", "viewer", "device"), name
        assert {"401", "403", "429", "503"} <= set(operation["responses"]), name


def test_every_post_takes_an_idempotency_key(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            takes = any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", []))
            assert takes is (method == "post"), (method, path)


def test_a_post_that_answers_200_changes_nothing(document: dict[str, Any]) -> None:
    """Replies with 200 are not kept, so a repetition is done again. Whoever adds one here has thought of that."""
    asking = {"identify_face", "verify_face", "check_face", "check_camera"}
    posts = {
        methods["post"]["operationId"]: methods["post"] for methods in document["paths"].values() if "post" in methods
    }
    assert {name for name, operation in posts.items() if "200" in operation["responses"]} <= asking
