"""Who may do what: every operation is tried with every scope, without a key, and with another building's key."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from fixtures_api import Api, problem_of

from app.store import keys
from app.store.records import Scope

OPEN = {"get_liveness", "get_readiness", "get_problem_type"}
RECEIVE = {"list_events", "get_event", "stream_events"}
READ = RECEIVE | {
    "list_buildings",
    "get_building",
    "list_persons",
    "get_person",
    "list_photos",
    "get_photo",
    "get_photo_image",
    "list_cameras",
    "get_camera",
    "get_camera_timings",
    "get_event_snapshot",
    "get_event_portrait",
    "export_events",
    "get_metrics",
}
WRITE = {
    "create_building",
    "update_building",
    "delete_building",
    "list_audit",
    "list_building_audit",
    "create_person",
    "update_person",
    "erase_person",
    "add_photo",
    "erase_photo",
    "check_face",
    "identify_face",
    "verify_face",
    "get_gallery_health",
    "correct_event",
    "take_back_correction",
    "enrol_from_event",
    "create_enrolment",
    "list_operations",
    "get_operation",
    "cancel_operation",
    "list_operation_items",
    "list_webhooks",
    "create_webhook",
    "get_webhook",
    "update_webhook",
    "delete_webhook",
    "create_webhook_secret",
    "list_deliveries",
    "create_delivery",
    "create_camera",
    "update_camera",
    "delete_camera",
    "check_camera",
    "list_api_keys",
    "create_api_key",
    "get_api_key",
    "update_api_key",
    "revoke_api_key",
}
MAY = {Scope.DEVICE: RECEIVE, Scope.VIEWER: READ, Scope.OPERATOR: READ | WRITE}
BODIES: dict[str, dict[str, Any]] = {
    "create_building": {"json": {"id": "third", "name": "Third"}},
    "create_person": {"json": {"name": "Zoë"}},
    "update_person": {"json": {"name": "Zoë"}},
    "add_photo": {"files": {"photo": ("me.jpg", b"not a photo")}},
    "check_face": {"files": {"photo": ("me.jpg", b"not a photo")}},
    "identify_face": {"files": {"photo": ("me.jpg", b"not a photo")}},
    "verify_face": {"files": {"photo": ("me.jpg", b"not a photo")}},
    "correct_event": {"json": {"verdict": "wrong_person"}},
    "enrol_from_event": {"json": {"person": "nobody"}},
    "create_enrolment": {"files": {"archive": ("residents.zip", b"not an archive")}},
    "create_webhook": {"json": {"name": "hook", "url": "https://192.0.2.1/in"}},
    "update_webhook": {"json": {"name": "hook"}},
    "create_delivery": {"json": {"event": "nothing"}},
    "create_camera": {"json": {"name": "Door", "source": "rtsp://camera/1"}},
    "update_camera": {"json": {"name": "Door"}},
    "check_camera": {"json": {"source": "rtsp://127.0.0.1:1/live"}},
    "update_building": {"json": {"event_days": 30}},
    "update_api_key": {"json": {"name": "key"}},
    "create_api_key": {"json": {"name": "key", "scope": "viewer", "building": "main"}},
}


def operations(api: Api) -> dict[str, tuple[str, str]]:
    document = httpx2.get(f"{api.address}/openapi.json").json()
    return {
        operation["operationId"]: (method.upper(), path)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def status_of(client: httpx2.Client, operation: str, method: str, path: str, building: str = "main") -> int:
    """Status of a call whose path names nothing that exists but the building."""
    path = re.sub(r"{[a-z_]+}", "nothing", path.replace("{building}", building))
    with client.stream(method, path, **BODIES.get(operation, {})) as answer:
        assert answer.status_code < 500, f"{operation}: {answer.read().decode()}"
        return answer.status_code


def test_every_operation_has_a_row_in_this_test(lasting_api: Api) -> None:
    assert set(operations(lasting_api)) == OPEN | READ | WRITE


def test_without_a_key_only_health_and_problem_types_answer(api: Api) -> None:
    stranger, guesser = api.bearing(None), api.bearing("cardea_guessed")
    for operation, (method, path) in operations(api).items():
        for client in (stranger, guesser):
            refused = status_of(client, operation, method, path) in (401, 429)  # 429: too many bad keys from here
            assert refused is (operation not in OPEN), operation
    answer = stranger.get("/v1/buildings")
    assert problem_of(answer) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("scope", list(Scope))
def test_a_scope_opens_what_it_says_and_nothing_else(api: Api, scope: Scope) -> None:
    client = api.client(scope)
    for operation, (method, path) in operations(api).items():
        refused = status_of(client, operation, method, path) == 403
        assert refused is (operation not in MAY[scope] | OPEN), operation


def test_a_key_of_another_building_opens_no_route_of_this_one(api: Api) -> None:
    api.client().post("/v1/buildings", json={"id": "annex", "name": "Annex"})
    client = api.client(Scope.OPERATOR, "annex")
    tried = 0
    for operation, (method, path) in operations(api).items():
        if "{building}" not in path:
            continue
        for building in ("main", "nowhere"):  # whether it exists shows in nothing
            assert status_of(client, operation, method, path, building) == 403, operation
        tried += 1
        if operation != "delete_building":  # the key would end with its building
            assert status_of(client, operation, method, path, "annex") != 403, operation
    assert tried >= 20
    assert problem_of(client.get("/v1/buildings/main")) == (403, "other-building")
    assert [building["id"] for building in client.get("/v1/buildings").json()["items"]] == ["annex"]
    assert problem_of(client.post("/v1/buildings", json={"id": "third", "name": "x"})) == (403, "other-building")
    assert problem_of(client.get("/metrics")) == (403, "other-building")


def test_a_key_ends_on_time(api: Api) -> None:
    with api.services.store.session() as session:
        past, future = (datetime.now(UTC) + timedelta(seconds=seconds) for seconds in (-1, 60))
        over = keys.create(session, "over", Scope.VIEWER, None, past)[1]
        running = keys.create(session, "running", Scope.VIEWER, None, future)[1]
    assert problem_of(api.bearing(over).get("/v1/buildings")) == (401, "unauthenticated")
    assert api.bearing(running).get("/v1/buildings").status_code == 200


@pytest.mark.parametrize("header", ["", "Bearer", "Basic YTpi", "cardea_abc", "Bearer ä\xff", "Bearer a b"])
def test_a_malformed_authorization_is_no_key(lasting_api: Api, header: str) -> None:
    answer = httpx2.get(f"{lasting_api.address}/v1/buildings", headers={"Authorization": header.encode("latin-1")})
    assert problem_of(answer) == (401, "unauthenticated")
