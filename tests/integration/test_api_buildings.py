"""Buildings over REST: how long they keep events, changes by revision, and that only an empty one goes."""

import itertools
from typing import Any

import httpx2
import pytest
from fixtures_api import Api, add_person, api_at, problem_of
from fixtures_store import unit_vector

from app.store import audit, people
from app.store.records import NewPhoto, PersonFields, Scope
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder

TOWER = "/v1/buildings/tower"


def tower(client: httpx2.Client, **more: Any) -> httpx2.Response:
    answer = client.post("/v1/buildings", json={"id": "tower", "name": "Tower", **more})
    assert answer.status_code == 201, answer.text
    return answer


def test_a_building_says_how_long_it_keeps_events(operator: httpx2.Client) -> None:
    made = tower(operator, event_days=90, snapshot_days=14)
    assert (made.json()["event_days"], made.json()["snapshot_days"], made.json()["revision"]) == (90, 14, 1)
    changed = operator.patch(TOWER, json={"snapshot_days": None}, headers={"If-Match": made.headers["ETag"]})
    assert changed.json() == made.json() | {"snapshot_days": None, "revision": 2}
    read = operator.get(TOWER)
    assert read.json() == changed.json() and read.headers["ETag"] == changed.headers["ETag"] == '"2"'
    assert problem_of(operator.patch(TOWER, json={"name": "x"}, headers={"If-Match": '"1"'})) == (
        412,
        "precondition-failed",
    )
    assert operator.patch(TOWER, json={}).json()["revision"] == 2


def test_a_building_says_how_strict_it_is(api: Api, operator: httpx2.Client) -> None:
    made = tower(operator)
    assert made.json()["target_fpir"] == 1e-3  # what this installation begins with
    changed = operator.patch(TOWER, json={"target_fpir": 1e-4}, headers={"If-Match": made.headers["ETag"]})
    assert changed.json() == made.json() | {"target_fpir": 1e-4, "revision": 2}
    late = operator.patch(TOWER, json={"target_fpir": 0.1}, headers={"If-Match": made.headers["ETag"]})
    assert problem_of(late) == (412, "precondition-failed")
    assert operator.get(TOWER).json()["target_fpir"] == 1e-4
    with api.services.store.reading() as session:
        (entry,) = audit.listing(session, 9, None, "tower", "building.changed").items
    assert entry.detail == {"fields": ["target_fpir"], "target_fpir": {"from": 1e-3, "to": 1e-4}}
    strict = operator.post("/v1/buildings", json={"id": "vault", "name": "Vault", "target_fpir": 1e-6})
    assert strict.json()["target_fpir"] == 1e-6


def test_new_buildings_begin_with_what_the_installation_says(
    sqlite_url: str, face_nets: tuple[FaceFinder, Embedder]
) -> None:
    with api_at(sqlite_url, "redis://127.0.0.1:1/0", face_nets, target_fpir=2e-5) as api:
        assert tower(api.client()).json()["target_fpir"] == 2e-5


@pytest.mark.parametrize("target", [0, -0.1, 0.99e-6, 0.11, 1, "0.001", True, None, [0.001]])
def test_a_target_is_a_sensible_share(lasting_operator: httpx2.Client, target: object) -> None:
    answer = lasting_operator.patch("/v1/buildings/main", json={"target_fpir": target})
    assert problem_of(answer) == (422, "invalid-request")
    assert answer.json()["errors"][0]["pointer"] == "#/target_fpir"


def test_a_target_that_nobody_knows_a_threshold_for_is_refused(api: Api, operator: httpx2.Client) -> None:
    embedder = api.services.embedder()
    most = embedder.most_templates(1e-6)
    tower(operator)
    enrol_unit_vectors(api, [(f"Person {number}", 1) for number in range(most - 1)] + [("Eileen", 4)])
    refused = operator.patch(TOWER, json={"target_fpir": 1e-6})  # most - 1 and the square root of 4
    assert problem_of(refused) == (422, "invalid-request")
    (error,) = refused.json()["errors"]
    assert error["pointer"] == "#/target_fpir" and f"known for {most} people with a photo each" in error["detail"]
    assert operator.patch(TOWER, json={"target_fpir": 2e-6}).status_code == 200


def test_many_photos_of_one_person_count_less_than_many_people(api: Api, operator: httpx2.Client) -> None:
    tower(operator)
    enrol_unit_vectors(api, [("Eileen", api.services.embedder().most_templates(1e-6) + 1)])
    assert operator.patch(TOWER, json={"target_fpir": 1e-6}).status_code == 200


def enrol_unit_vectors(api: Api, persons: list[tuple[str, int]]) -> None:
    """Enrol people in the tower, each with so many photos."""
    seeds = itertools.count()
    with api.services.store.session() as session:
        for name, photos in persons:
            person = people.create(session, "tower", PersonFields(name)).id
            for _ in range(photos):
                photo = NewPhoto(b"picture", "image/jpeg", 640, 480, 0.8)
                embedder, vector = api.services.embedder().card.id, unit_vector(next(seeds))
                people.add_photo(session, "tower", person, photo, embedder=embedder, vector=vector)


@pytest.mark.parametrize("days", [0, -1, 36_501, 1.5, "30", True])
def test_days_are_whole_and_sensible(lasting_operator: httpx2.Client, days: object) -> None:
    for field in ("event_days", "snapshot_days"):
        answer = lasting_operator.patch("/v1/buildings/main", json={field: days})
        assert problem_of(answer) == (422, "invalid-request"), field


def test_an_empty_building_is_deleted_with_its_keys(api: Api, operator: httpx2.Client) -> None:
    tower(operator)
    local = api.client(Scope.VIEWER, "tower")
    assert local.get(TOWER).status_code == 200
    person = add_person(operator, building="tower")
    assert problem_of(operator.delete(TOWER)) == (409, "conflict")
    operator.delete(f"{TOWER}/persons/{person}")
    assert problem_of(operator.delete(TOWER, headers={"If-Match": '"7"'})) == (412, "precondition-failed")
    assert operator.delete(TOWER).status_code == 204
    assert problem_of(operator.get(TOWER)) == (404, "not-found")
    assert problem_of(operator.delete(TOWER)) == (404, "not-found")
    assert problem_of(local.get(TOWER)) == (401, "unauthenticated")
    assert problem_of(operator.delete("/v1/buildings/main")) == (409, "conflict")


def test_a_building_of_cameras_stays(operator: httpx2.Client) -> None:
    tower(operator)
    operator.post(f"{TOWER}/cameras", json={"name": "Door", "source": "rtsp://camera/1"})
    assert problem_of(operator.delete(TOWER)) == (409, "conflict")
