"""Zones of cameras over REST, what to do about a camera, and the trail that its changes leave."""

from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from fixtures_api import Api, problem_of
from fixtures_store import claimed_camera

from app.advice import ADVICE
from app.store import audit, cameras
from app.types import CameraState

CAMERAS = "/v1/buildings/main/cameras"
CAMERA = {"name": "Front door", "source": "rtsp://viewer:hush-hush@192.0.2.10/live"}
ZONE = [[0.0, 0.1], [1, 0.1], [0.5, 1.0]]


def test_zones_come_back_as_sent_and_reach_the_worker(api: Api, operator: httpx2.Client) -> None:
    made = operator.post(CAMERAS, json=CAMERA | {"zones": [ZONE, ZONE[::-1]]})
    assert made.status_code == 201, made.text
    assert made.json()["zones"] == [ZONE, ZONE[::-1]]
    path = made.headers["location"]
    assert operator.get(path).json()["zones"] == made.json()["zones"]
    claimed_camera(api.services.store)
    with api.services.store.reading() as session:
        watched = {camera.id: camera for camera in cameras.watched(session, "watcher")}
    assert watched[made.json()["id"]].zones[0] == ((0.0, 0.1), (1.0, 0.1), (0.5, 1.0))
    assert operator.patch(path, json={"zones": []}).json()["zones"] == []


@pytest.mark.parametrize(
    ("zones", "pointer"),
    [
        ([[[0, 0], [1, 1]]], "#/zones/0"),
        ([ZONE, [[0, 0]] * 33], "#/zones/1"),
        ([ZONE] * 17, "#/zones"),
        ([[[0, 0], [1, 1], [0, 1.01]]], "#/zones/0/2/1"),
        ([[[0, 0], [1, 1], [-0.01, 1]]], "#/zones/0/2/0"),
        ([[[0, 0], [1, 1], [0]]], "#/zones/0/2"),
        ([[[0, 0], [1, 1], [0, 1, 1]]], "#/zones/0/2"),
        ([[[0, 0], [1, 1], ["0", 1]]], "#/zones/0/2/0"),
        ([[[0, 0], [1, 1], [0, 0]]], "#/zones/0"),
        (None, "#/zones"),
        ("everywhere", "#/zones"),
    ],
)
def test_zones_that_make_no_sense_are_refused(lasting_operator: httpx2.Client, zones: Any, pointer: str) -> None:
    answer = lasting_operator.post(CAMERAS, json=CAMERA | {"zones": zones})
    assert problem_of(answer) == (422, "invalid-request")
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_every_state_has_its_advice(api: Api, operator: httpx2.Client) -> None:
    camera = claimed_camera(api.services.store)
    path = f"{CAMERAS}/{camera.id}"
    told = {None: operator.get(path).json()["advice"]}
    for state in CameraState:
        with api.services.store.session() as session:
            cameras.set_state(session, camera.id, camera.owner_epoch, state, detail="", at=datetime.now(UTC))
        told[state] = operator.get(path).json()["advice"]
    assert {state: told[state] for state in CameraState} == ADVICE and told[CameraState.ONLINE] == ""
    told["off"] = operator.patch(path, json={"enabled": False}).json()["advice"]
    assert len(set(told.values())) == len(told)


def test_changes_leave_a_trail_that_names_fields_and_no_secrets(api: Api, operator: httpx2.Client) -> None:
    path = operator.post(CAMERAS, json=CAMERA).headers["location"]
    camera = path.rpartition("/")[2]
    other = "rtsp://viewer:psst-psst@192.0.2.10/live"
    assert operator.patch(path, json={"source": other, "zones": [ZONE], "door": "", "fps": 2}).status_code == 200
    assert operator.patch(path, json={"fps": 2}).status_code == 200  # as it is already: nothing happened
    assert operator.delete(path).status_code == 204
    with api.services.store.reading() as session:
        entries = audit.listing(session, 10, building="main", action="camera.").items[::-1]
    assert [(entry.action, entry.target) for entry in entries] == [
        (f"camera.{what}", camera) for what in ("created", "updated", "deleted")
    ]
    assert entries[1].detail == {"fields": ["fps", "source", "zones"]}
    assert {entry.actor.kind for entry in entries} == {"key"}
    assert "hush-hush" not in repr(entries) and "psst-psst" not in repr(entries)
