"""Buildings over REST: how long they keep events, changes by revision, and that only an empty one goes."""

from typing import Any

import httpx2
import pytest
from fixtures_api import Api, add_person, problem_of

from app.store.records import Scope

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
