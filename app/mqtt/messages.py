"""What goes to the broker: topics, payloads and how long each message is worth anything. Pure.

Home Assistant once opened a door at night because a broker repeated its last message after a reconnect. So a grant is
never retained, carries the seconds that it is still valid as its expiry, and is not sent at all when they are over.
"""

import json
import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.store.records import Door
from app.types import Decision

WORTH_SECONDS = 300  # how long anything but a grant is news; older events are in the history
ONLINE, OFFLINE = "online", "offline"


@dataclass(frozen=True, slots=True)
class Message:
    """One message; always sent with QoS 1."""

    topic: str
    payload: str
    retain: bool
    expiry: int | None  # seconds; None: for ever


def availability_topic(root: str) -> str:
    """Return where the broker says whether we are there."""
    return f"{root}/availability"


def event_message(root: str, event: dict[str, Any], now: datetime) -> Message | None:
    """Return the message of a CloudEvent; None when it is no longer worth anything.

    Args:
        root: first level of all topics.
        now: aware.
    """
    data = event["data"]
    place = f"{root}/{data['building']}/{data['camera']}"
    payload = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    if "decision" not in data:
        topic = f"{place}/tampered" if "tampered" in data else f"{place}/state"
        return Message(topic, payload, retain=True, expiry=None)
    if data["decision"] == Decision.GRANTED:
        left = (datetime.fromisoformat(data["expires_at"]) - now).total_seconds()
    else:
        left = WORTH_SECONDS - (now - datetime.fromisoformat(event["time"])).total_seconds()
    return Message(f"{place}/access", payload, retain=False, expiry=math.ceil(left)) if left > 0 else None


def discovery(root: str, prefix: str, door: Door, version: str) -> list[Message]:
    """Return what makes Home Assistant show a camera: an event entity for visits, whether frames come and show enough.

    Args:
        prefix: Home Assistant's discovery prefix.
    """
    place = f"{root}/{door.building}/{door.camera}"
    common = {
        "availability_topic": availability_topic(root),
        "device": {
            "identifiers": [f"cardea_{door.camera}"],
            "name": door.name,
            "manufacturer": "Cardea",
            "model": "Door camera",
            "sw_version": version,
        }
        | ({"suggested_area": door.door} if door.door else {}),
        "qos": 1,
    }
    entities = (_visits(place, door.camera), _frames(place, door.camera), _tampered(place, door.camera))
    return [
        Message(topic, json.dumps(common | entity), retain=True, expiry=None)
        for topic, entity in zip(discovery_topics(prefix, door.camera), entities, strict=True)
    ]


def _visits(place: str, camera: str) -> dict[str, object]:
    """The entity shows the name and refuses what came too late, whatever the broker did with it."""
    return {
        "name": "Visit",
        "unique_id": f"cardea_{camera}_access",
        "state_topic": f"{place}/access",
        "event_types": [str(decision) for decision in Decision],
        "value_template": (
            "{% set d = value_json.data %}"
            "{% if d.decision != 'granted' or as_datetime(d.expires_at) > now() %}"
            "{{ {'event_type': d.decision, 'person': d.person.name if d.person else none, 'door': d.door,"
            " 'reasons': d.reasons, 'event': value_json.id, 'expires_at': d.expires_at} | to_json }}"
            "{% endif %}"
        ),
        "icon": "mdi:door",
    }


def _frames(place: str, camera: str) -> dict[str, object]:
    """The template tells on from off; every other state of a camera is one of trouble."""
    return {
        "name": "Camera",
        "unique_id": f"cardea_{camera}_state",
        "state_topic": f"{place}/state",
        "value_template": "{{ 'online' if value_json.data.state == 'online' else 'offline' }}",
        "payload_on": "online",
        "payload_off": "offline",
        "device_class": "connectivity",
        "entity_category": "diagnostic",
    }


def _tampered(place: str, camera: str) -> dict[str, object]:
    """On while the camera is covered, turned or out of focus."""
    return {
        "name": "Tampered",
        "unique_id": f"cardea_{camera}_tampered",
        "state_topic": f"{place}/tampered",
        "value_template": "{{ 'on' if value_json.data.tampered else 'off' }}",
        "json_attributes_topic": f"{place}/tampered",
        "json_attributes_template": (
            "{{ {'kind': value_json.data.kind, 'detail': value_json.data.detail, 'since': value_json.data.since,"
            " 'ended_by': value_json.data.ended_by} | to_json }}"
        ),
        "payload_on": "on",
        "payload_off": "off",
        "device_class": "tamper",
    }


def removal(prefix: str, camera: str) -> list[Message]:
    """Return what makes Home Assistant forget a camera."""
    return [Message(topic, "", retain=True, expiry=None) for topic in discovery_topics(prefix, camera)]


def discovery_topics(prefix: str, camera: str) -> tuple[str, str, str]:
    """Return where the three entities of a camera are described."""
    sensors = f"{prefix}/binary_sensor/cardea_{camera}"
    return (
        f"{prefix}/event/cardea_{camera}/access/config",
        f"{sensors}/state/config",
        f"{sensors}/tampered/config",
    )
