"""Enrolment from an event: by the close picture of the visit, or by the right face of its snapshot."""

import io
from typing import Any

import httpx2
import pytest
from fixtures_api import ON_BOTH, Api, add_person, encoded, problem_of
from fixtures_store import access_event, camera_event, claimed_camera
from PIL import Image

from app.photos import enrol, read_photo
from app.store import audit, events, galleries
from app.types import AccessEvent, Camera
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder

COLLINS, HOPPER = "Eileen Collins", "Grace Hopper"
Nets = tuple[FaceFinder, Embedder]


@pytest.fixture
def camera(api: Api) -> Camera:
    return claimed_camera(api.services.store)


def stored(api: Api, event: AccessEvent) -> str:
    """Path of the enrolments of an event."""
    with api.services.store.session() as session:
        assert events.add(session, event)
    return f"/v1/buildings/main/events/{event.id}/enrolments"


def opened(photo: bytes) -> Image.Image:
    return Image.open(io.BytesIO(photo)).convert("RGB")


def close_picture(photo: bytes) -> bytes:
    return encoded(opened(photo).resize((300, 300)))


def similarity(api: Api, nets: Nets, person: str, photo: bytes) -> float:
    with api.services.store.reading() as session:
        (template,) = galleries.templates_of(session, "main", person, nets[1].card.id)
    return float(template @ enrol(read_photo(photo), *nets).vector)


@ON_BOTH
def test_a_stranger_becomes_a_resident(
    api: Api, operator: httpx2.Client, camera: Camera, portrait_files: dict[str, bytes], face_nets: Nets
) -> None:
    path = stored(api, access_event(camera, 1, portrait=close_picture(portrait_files[COLLINS])))
    made = operator.post(path, json={"new_person": {"name": COLLINS, "groups": ["residents"]}})
    assert made.status_code == 201, made.text
    person, photo = made.json()["person"], made.json()["photo"]
    assert (person["name"], person["photos"], photo["origin"]) == (COLLINS, 1, "event")
    assert operator.get(made.headers["location"]).json() == photo
    assert similarity(api, face_nets, person["id"], portrait_files[COLLINS]) > 0.9
    assert made.json()["notices"] == []
    again = operator.post(path, json={"new_person": {"name": "Somebody else"}})
    assert problem_of(again) == (409, "duplicate-photo") and again.json()["person"] == person["id"]
    persons = operator.get("/v1/buildings/main/persons").json()["items"]
    assert [entry["name"] for entry in persons] == [COLLINS]  # whoever was to be added with it is not
    with api.services.store.reading() as session:
        trail = audit.listing(session, 10, None, "main").items
    assert [entry.action for entry in trail] == ["photo.added", "person.created"]
    assert trail[0].detail["origin"] == "event" and trail[0].target == trail[1].target == person["id"]


@ON_BOTH
def test_the_picture_somebody_was_enrolled_from_goes_with_the_person(
    api: Api, operator: httpx2.Client, camera: Camera, portrait_files: dict[str, bytes]
) -> None:
    face = close_picture(portrait_files[COLLINS])
    path = stored(api, access_event(camera, 1, portrait=face, snapshot=face))
    stored(api, access_event(camera, 2, portrait=face))
    person = operator.post(path, json={"new_person": {"name": COLLINS}}).json()["person"]["id"]
    receipt = operator.delete(f"/v1/buildings/main/persons/{person}").json()
    assert (receipt["portraits"], receipt["snapshots"]) == (1, 1)
    pictures = [operator.get(f"/v1/buildings/main/events/{camera.id}.1.{n}/portrait").status_code for n in (1, 2)]
    assert pictures == [404, 200]


def test_the_snapshot_serves_when_there_is_no_close_picture(
    api: Api, operator: httpx2.Client, camera: Camera, portrait_files: dict[str, bytes], face_nets: Nets
) -> None:
    hall = Image.new("RGB", (640, 480), "grey")
    hall.paste(opened(portrait_files[COLLINS]).resize((240, 240)), (20, 120))
    hall.paste(opened(portrait_files[HOPPER]).resize((200, 240)), (400, 120))
    hopper = add_person(operator, HOPPER)
    event = access_event(camera, 1, snapshot=encoded(hall), box=(0.7, 0.3, 0.85, 0.6))
    made = operator.post(stored(api, event), json={"person": hopper})
    assert made.status_code == 201, made.text
    assert made.json()["person"]["photos"] == 1
    assert similarity(api, face_nets, hopper, portrait_files[HOPPER]) > 0.8
    assert similarity(api, face_nets, hopper, portrait_files[COLLINS]) < 0.4


def test_what_shows_no_usable_face_enrols_nobody(
    api: Api, operator: httpx2.Client, camera: Camera, portrait_files: dict[str, bytes]
) -> None:
    picture = encoded(opened(portrait_files[COLLINS]).resize((112, 112)).resize((90, 90)).resize((112, 112)))
    blurred = access_event(camera, 1, portrait=picture)
    empty = access_event(camera, 2, snapshot=encoded(Image.new("RGB", (640, 480), "grey")))
    body = {"new_person": {"name": COLLINS}}
    assert problem_of(operator.post(stored(api, blurred), json=body)) == (422, "face-unusable")
    assert problem_of(operator.post(stored(api, empty), json=body)) == (422, "no-face")
    for bare in (access_event(camera, 3, snapshot=None), access_event(camera, 4, snapshot=empty.snapshot, box=None)):
        assert problem_of(operator.post(stored(api, bare), json=body)) == (409, "no-event-picture")
    with api.services.store.session() as session:
        events.add(session, camera_event(camera, 9))
    state = f"/v1/buildings/main/events/{camera.id}.{camera.owner_epoch}.9/enrolments"
    assert problem_of(operator.post(state, json=body)) == (409, "no-event-picture")
    assert operator.get("/v1/buildings/main/persons").json()["items"] == []


def test_an_enrolment_names_one_person(
    api: Api, operator: httpx2.Client, camera: Camera, portrait_files: dict[str, bytes]
) -> None:
    path = stored(api, access_event(camera, 1, portrait=close_picture(portrait_files[COLLINS])))
    bodies: list[tuple[dict[str, Any], str]] = [
        ({}, "#/person"),
        ({"person": "per_nobody", "new_person": {"name": COLLINS}}, "#/person"),
        ({"new_person": {"name": ""}}, "#/new_person/name"),
        ({"new_person": {"name": COLLINS, "erase_on": "2020-01-01T00:00:00Z"}}, "#/erase_on"),
    ]
    for body, pointer in bodies:
        answer = operator.post(path, json=body)
        assert problem_of(answer) == (422, "invalid-request")
        assert pointer in [error["pointer"] for error in answer.json()["errors"]]
    assert problem_of(operator.post(path, json={"person": "per_nobody"})) == (404, "not-found")
