"""Health, metrics and the description of the API."""

import re
from typing import Any

import httpx2
from fixtures_api import Api, add_person, problem_of
from fixtures_redis import RedisServer
from fixtures_store import access_event, claimed_camera

from app.store import events


def test_alive_is_not_ready(api: Api, redis_server: RedisServer) -> None:
    anybody = api.bearing(None)
    assert anybody.get("/readyz").json() == {"checks": {"store": "ok", "stream": "ok"}}
    redis_server.kill()
    answer = anybody.get("/readyz")
    assert problem_of(answer) == (503, "not-ready")
    assert answer.json()["checks"] == {"store": "ok", "stream": "no answer"}
    assert anybody.get("/livez").status_code == 200
    redis_server.start()
    assert anybody.get("/readyz").status_code == 200


def test_metrics_tell_of_requests_cameras_and_events_but_never_of_persons(api: Api, operator: httpx2.Client) -> None:
    person = add_person(operator)
    operator.get("/v1/buildings/main/persons/per_nobody")
    operator.get("/nowhere")
    camera = claimed_camera(api.services.store)
    with api.services.store.session() as session:
        events.add(session, access_event(camera, 1))
    text = operator.get("/metrics").text
    assert value(text, 'cardea_http_requests_total{operation="create_person",status="201"}') == 1
    assert value(text, 'cardea_http_requests_total{operation="get_person",status="404"}') == 1
    assert value(text, 'cardea_http_requests_total{operation="none",status="404"}') == 1
    assert value(text, 'cardea_http_request_seconds_count{operation="create_person"}') == 1
    assert value(text, 'cardea_cameras{building="main",state="starting"}') == 1
    assert value(text, "cardea_outbox_events") == 1 and value(text, "cardea_outbox_age_seconds") > 0
    assert value(text, "cardea_store_up") == 1
    assert person not in text


def value(text: str, series: str) -> float:
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    assert found, f"no {series} in\n{text}"
    return float(found[1])


def references(part: Any) -> set[str]:
    if isinstance(part, dict):
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*(references(value) for value in part.values()))
    return set().union(*(references(value) for value in part)) if isinstance(part, list) else set()


def test_the_description_is_complete(lasting_api: Api) -> None:
    document = httpx2.get(f"{lasting_api.address}/openapi.json").json()
    assert document["openapi"].startswith("3.1.") and document["info"]["title"] == "Cardea"
    for reference in references(document):
        target: Any = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    identities = [operation["operationId"] for operation in operations]
    assert len(identities) == len(set(identities)) and all(re.fullmatch("[a-z_]+", name) for name in identities)
    for operation in operations:
        assert operation["tags"] and operation["summary"] and operation["description"]
        for status, response in operation["responses"].items():
            if status >= "4":
                (content,) = response["content"].values()
                assert set(response["content"]) == {"application/problem+json"}
                assert content["examples"], (operation["operationId"], status)
    assert "face-unusable" in str(document["paths"]["/v1/buildings/{building}/persons/{person}/photos"]["post"])
    assert not re.search("HTTPValidationError", str(document))
