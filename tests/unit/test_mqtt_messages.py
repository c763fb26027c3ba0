"""What goes to an MQTT broker, and what no longer does."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from fixtures_redis import make_event

from app.events import to_cloud_event
from app.mqtt.messages import Message, discovery, event_message, removal
from app.store.records import Door
from app.types import CameraEvent, CameraState, Decision, Ending, TamperEvent, TamperKind

GRANT = to_cloud_event(make_event(1))
EXPIRES = datetime.fromisoformat(GRANT["data"]["expires_at"])


def test_a_grant_expires_and_is_not_retained() -> None:
    message = event_message("cardea", GRANT, EXPIRES - timedelta(seconds=2.5))
    assert message is not None
    assert (message.retain, message.expiry) == (False, 3)
    assert message.topic == f"cardea/{GRANT['data']['building']}/{GRANT['data']['camera']}/access"
    assert json.loads(message.payload) == GRANT


@pytest.mark.parametrize("late", [0.0, 0.001, 3600.0])
def test_a_late_grant_is_not_sent(late: float) -> None:
    assert event_message("cardea", GRANT, EXPIRES + timedelta(seconds=late)) is None


def test_other_decisions_are_news_for_a_while() -> None:
    event = to_cloud_event(make_event(1, decision=Decision.UNKNOWN, person=None, person_name=None))
    moment = datetime.fromisoformat(event["time"])
    message = event_message("cardea", event, moment + timedelta(seconds=100))
    assert message is not None
    assert (message.retain, message.expiry) == (False, 200)
    assert event_message("cardea", event, moment + timedelta(seconds=300)) is None


def test_the_state_of_a_camera_is_retained() -> None:
    event = CameraEvent("c.1.1", 1, 1, "main", "c", CameraState.OFFLINE, None, "", datetime(2026, 1, 1, tzinfo=UTC))
    message = event_message("cardea", to_cloud_event(event), datetime.now(UTC))
    assert message is not None
    assert (message.topic, message.retain, message.expiry) == ("cardea/main/c/state", True, None)


@pytest.mark.parametrize("ended", [False, True])
def test_tampering_is_retained_in_a_topic_of_its_own(ended: bool) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    end, how = (moment, Ending.ACCEPTED) if ended else (None, None)
    event = TamperEvent("c.1.2", 2, 1, "main", "c", TamperKind.TURNED, moment, end, how, "", moment)
    message = event_message("cardea", to_cloud_event(event), datetime.now(UTC))
    assert message is not None
    assert (message.topic, message.retain, message.expiry) == ("cardea/main/c/tampered", True, None)
    data = json.loads(message.payload)["data"]
    assert (data["tampered"], data["ended_by"]) == (not ended, "accepted" if ended else None)


def test_discovery_describes_and_forgets_the_same_entities() -> None:
    door = Door("main", "cam_1", "Front door", "front")
    told, forgotten = discovery("cardea", "homeassistant", door, "0.1.0"), removal("homeassistant", "cam_1")
    assert [message.topic for message in told] == [message.topic for message in forgotten]
    assert forgotten[0] == Message(forgotten[0].topic, "", retain=True, expiry=None)
    visits, frames, tampered = (json.loads(message.payload) for message in told)
    assert (tampered["device_class"], tampered["state_topic"]) == ("tamper", "cardea/main/cam_1/tampered")
    assert len({entity["unique_id"] for entity in (visits, frames, tampered)}) == 3
    assert visits["event_types"] == ["granted", "denied", "unknown", "undecided"]
    assert visits["state_topic"] == "cardea/main/cam_1/access"
    assert frames["device"] == visits["device"]
    assert frames["device"]["suggested_area"] == "front"
    assert "suggested_area" not in json.loads(discovery("c", "h", Door("main", "x", "X", ""), "1")[0].payload)["device"]
