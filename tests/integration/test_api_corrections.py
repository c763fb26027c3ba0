"""Corrections of events over REST, and what is typed in an event."""

from typing import Any

import httpx2
import pytest
from fixtures_api import ON_BOTH, Api, add_person, problem_of
from fixtures_store import access_event, camera_event, claimed_camera, silence

from app.store import audit, events
from app.types import Camera, Decision, Reason

EVENTS = "/v1/buildings/main/events"


@pytest.fixture
def camera(api: Api) -> Camera:
    return claimed_camera(api.services.store)


def stored(api: Api, camera: Camera, sequence: int, person: str | None) -> str:
    """Path of an event that names this person, or a stranger."""
    named = {"decision": Decision.GRANTED, "reasons": (Reason.MATCHED,), "person": person}
    event = access_event(camera, sequence, portrait=b"portrait", **(named if person else {}))
    with api.services.store.session() as session:
        events.add(session, event)
    return f"{EVENTS}/{event.id}"


def identities(client: httpx2.Client, **filters: Any) -> list[str]:
    answer = client.get(EVENTS, params=filters)
    assert answer.status_code == 200, answer.text
    return [f"{EVENTS}/{event['id']}" for event in answer.json()["items"]]


@ON_BOTH
def test_a_mistake_is_corrected_corrected_again_and_taken_back(
    api: Api, operator: httpx2.Client, camera: Camera
) -> None:
    collins, brother = add_person(operator), add_person(operator, "Kim Collins")
    wrong, right = stored(api, camera, 1, collins), stored(api, camera, 2, collins)
    said = operator.put(f"{wrong}/correction", json={"verdict": "wrong_person"})
    assert said.status_code == 200, said.text
    body = {"verdict": "wrong_person", "person": brother, "note": "It was his brother."}
    for _ in range(2):
        said = operator.put(f"{wrong}/correction", json=body)
    assert said.json() == body | {"actor": "operator of None", "at": said.json()["at"]}
    event = operator.get(wrong).json()
    assert event["correction"] == said.json()
    assert event["data"]["decision"] == "granted" and event["data"]["person"]["id"] == collins
    assert identities(operator, corrected=True) == [wrong] and identities(operator, corrected=False) == [right]
    with api.services.store.reading() as session:
        trail = audit.listing(session, 10, None, "main", "event.").items
    assert [(entry.action, entry.target) for entry in trail] == [("event.corrected", event["id"])] * 3
    assert trail[0].detail == {"verdict": "wrong_person", "person": brother}
    assert operator.delete(f"{wrong}/correction").status_code == 204
    assert operator.get(wrong).json()["correction"] is None
    assert problem_of(operator.delete(f"{wrong}/correction")) == (404, "not-found")


@ON_BOTH
def test_events_are_found_by_door_and_visit(api: Api, operator: httpx2.Client, camera: Camera) -> None:
    with api.services.store.session() as session:
        events.add(session, access_event(camera, 1, door="front", visit="a"))
        events.add(session, access_event(camera, 2, door="garage", visit="a"))
        events.add(session, camera_event(camera, 3))
    first, second = (f"{EVENTS}/{camera.id}.{camera.owner_epoch}.{number}" for number in (1, 2))
    assert identities(operator, door="front") == [first] and identities(operator, door="Front") == []
    assert identities(operator, visit="a") == [second, first] and identities(operator, visit="a", door="garage") == [
        second
    ]


def test_what_does_not_fit_the_event_is_refused(api: Api, operator: httpx2.Client, camera: Camera) -> None:
    collins = add_person(operator)
    named, stranger = stored(api, camera, 1, collins), stored(api, camera, 2, None)
    with api.services.store.session() as session:
        events.add(session, camera_event(camera, 3))
    state = f"{EVENTS}/{camera.id}.{camera.owner_epoch}.3"
    refused: list[tuple[str, dict[str, Any], tuple[int, str]]] = [
        (state, {"verdict": "not_a_person"}, (409, "conflict")),
        (stranger, {"verdict": "wrong_person"}, (409, "conflict")),
        (named, {"verdict": "wrong_person", "person": collins}, (409, "conflict")),
        (named, {"verdict": "wrong_person", "person": "per_nobody"}, (404, "not-found")),
        (f"{EVENTS}/nothing", {"verdict": "not_a_person"}, (404, "not-found")),
        (stranger, {"verdict": "is_person"}, (422, "invalid-request")),
        (stranger, {"verdict": "not_a_person", "person": collins}, (422, "invalid-request")),
        (stranger, {"verdict": "somebody"}, (422, "invalid-request")),
        (stranger, {"verdict": "not_a_person", "note": "x" * 501}, (422, "invalid-request")),
        (stranger, {}, (422, "invalid-request")),
    ]
    for path, body, expected in refused:
        assert problem_of(operator.put(f"{path}/correction", json=body)) == expected, body
    assert identities(operator, corrected=True) == []
    said = operator.put(f"{stranger}/correction", json={"verdict": "is_person", "person": collins})
    assert said.status_code == 200, said.text


def test_a_correction_forgets_who_is_erased(api: Api, operator: httpx2.Client, camera: Camera) -> None:
    collins = add_person(operator)
    stranger = stored(api, camera, 1, None)
    body = {"verdict": "is_person", "person": collins, "note": "Eileen"}
    operator.put(f"{stranger}/correction", json=body)
    silence(api.services.store, "watcher", 60)  # an erasure would wait for it
    assert operator.delete(f"/v1/buildings/main/persons/{collins}").status_code == 200
    left = operator.get(stranger).json()["correction"]
    assert (left["verdict"], left["person"], left["note"]) == ("is_person", None, "")


def test_the_close_picture_is_private(api: Api, operator: httpx2.Client, camera: Camera) -> None:
    path = stored(api, camera, 1, None)
    picture = operator.get(operator.get(path).json()["portrait"])
    assert picture.content == b"portrait" and "no-store" in picture.headers["cache-control"]
    with api.services.store.session() as session:
        events.add(session, access_event(camera, 2))
    without = f"{EVENTS}/{camera.id}.{camera.owner_epoch}.2"
    assert operator.get(without).json()["portrait"] is None
    assert problem_of(operator.get(f"{without}/portrait")) == (404, "not-found")


def test_the_data_of_an_event_is_described(lasting_api: Api) -> None:
    schemas = httpx2.get(f"{lasting_api.address}/openapi.json").json()["components"]["schemas"]
    kinds = schemas["EventRead"]["properties"]["data"]["anyOf"]
    assert [kind["$ref"].split("/")[-1] for kind in kinds] == ["AccessData", "CameraData", "TamperData"]
    assert set(schemas["EventRead"]["examples"][0]["data"]) == set(schemas["AccessData"]["properties"])
    assert set(schemas["EventRead"]["examples"][1]["data"]) == set(schemas["CameraData"]["properties"])
