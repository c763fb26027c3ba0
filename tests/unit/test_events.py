"""The message of an event: what CloudEvents demands, what consumers were promised, and nothing else."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime

from fixtures_redis import make_event

from app.events import to_cloud_event
from app.types import CameraEvent, CameraState, Decision, Ending, Reason, TamperEvent, TamperKind

NOON = datetime(2026, 6, 1, 12, 0, 0, 250, tzinfo=UTC)
OFFLINE = CameraEvent("cam.3.9", 9, 3, "main", "cam", CameraState.OFFLINE, CameraState.ONLINE, "refused", NOON)
PROMISED = {
    *("sequence", "owner_epoch", "building", "camera", "door", "visit", "decision", "reasons", "person", "similarity"),
    *("threshold", "margin", "quality", "box", "nets", "captured_at", "decided_at", "expires_at", "latency_ms"),
    "snapshot",
}


def test_both_kinds_keep_to_cloudevents() -> None:
    for event in (make_event(), OFFLINE):
        message = to_cloud_event(event)
        assert all(re.fullmatch("[a-z0-9]{1,20}", name) for name in message)
        assert message["specversion"] == "1.0"
        assert all(isinstance(message[name], str) and message[name] for name in message if name != "data")
        assert datetime.fromisoformat(message["time"]).tzinfo is not None
        assert json.loads(json.dumps(message, allow_nan=False)) == message


def test_an_access_event_holds_every_promised_field() -> None:
    event = make_event(sequence=7, owner_epoch=2, decided_at=NOON)
    message = to_cloud_event(event)
    assert message["id"] == event.id
    assert message["type"] == "org.cardea.access.granted.v1"
    assert message["source"] == "/buildings/main/cameras/cam_front"
    assert message["subject"] == "visits/visit-cam_front-2-7"
    assert message["time"] == "2026-06-01T12:00:00.000250Z"
    data = message["data"]
    assert set(data) == PROMISED
    assert data["person"] == {"id": "per_1", "name": "Zoë Ågren"}
    assert (data["sequence"], data["owner_epoch"], data["decision"]) == (7, 2, "granted")
    assert data["similarity"] == 0.7123
    assert data["box"] == [0.25, 0.1, 0.5, 0.4]
    assert data["snapshot"] == f"/v1/buildings/main/events/{event.id}/snapshot"
    assert datetime.fromisoformat(data["expires_at"]) == event.expires_at


def test_what_is_not_known_is_null() -> None:
    event = make_event(
        decision=Decision.UNDECIDED,
        reasons=(Reason.NO_FACE,),
        person=None,
        person_name=None,
        similarity=None,
        margin=None,
        quality=None,
        box=None,
    )
    message = to_cloud_event(event, has_snapshot=False)
    assert message["type"] == "org.cardea.access.undecided.v1"
    assert message["data"]["reasons"] == ["no_face"]
    for name in ("person", "similarity", "margin", "quality", "box", "snapshot"):
        assert message["data"][name] is None


def test_a_camera_event_tells_both_states() -> None:
    message = to_cloud_event(OFFLINE)
    assert message["type"] == "org.cardea.camera.state.v1"
    assert message["subject"] == "cameras/cam"
    assert message["data"] == {
        "sequence": 9,
        "owner_epoch": 3,
        "building": "main",
        "camera": "cam",
        "state": "offline",
        "previous": "online",
        "detail": "refused",
        "at": "2026-06-01T12:00:00.000250Z",
    }


def test_a_tampering_tells_its_kind_and_its_span() -> None:
    since = NOON.replace(minute=0, microsecond=0)
    begun = TamperEvent("cam.3.9", 9, 3, "main", "cam", TamperKind.COVERED, since, None, None, "nothing to see", NOON)
    message = to_cloud_event(begun)
    assert (message["type"], message["subject"]) == ("org.cardea.camera.tampered.v1", "cameras/cam")
    assert message["data"] == {
        "sequence": 9,
        "owner_epoch": 3,
        "building": "main",
        "camera": "cam",
        "tampered": True,
        "kind": "covered",
        "detail": "nothing to see",
        "since": "2026-06-01T12:00:00.000000Z",
        "ended_at": None,
        "ended_by": None,
        "at": "2026-06-01T12:00:00.000250Z",
    }
    data = to_cloud_event(replace(begun, ended_at=NOON, ended_by=Ending.RECOVERED))["data"]
    assert data["tampered"] is False
    assert (data["ended_at"], data["ended_by"]) == ("2026-06-01T12:00:00.000250Z", "recovered")


def test_the_sequence_attribute_grows_as_text_through_numbers_and_take_overs() -> None:
    places = [(1, 9), (1, 10), (1, 123456), (2, 1), (10, 1)]
    texts = [to_cloud_event(make_event(sequence, owner_epoch=epoch))["sequence"] for epoch, sequence in places]
    assert texts == sorted(texts)
    assert len(set(texts)) == len(texts)
