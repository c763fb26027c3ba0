"""The MQTT thread: reads the event stream as a consumer group and publishes what is still news.

What is read is acknowledged after the broker has confirmed it, so a crash repeats an event but loses none; an event
that waited until it was worth nothing is acknowledged without being sent. One process of an installation has the
bridge.
"""

import json
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import redis

from app.errors import BrokerUnavailableError, StoreUnavailableError
from app.events import connect
from app.mqtt.broker import Broker
from app.mqtt.messages import discovery, event_message, removal
from app.side_job import SideJob
from app.store.records import Door

GROUP, CONSUMER = "cardea-mqtt", "bridge"
BATCH = 50
BLOCK_MS = 1000
ANNOUNCE_SECONDS = 30.0  # how soon Home Assistant knows a new camera
PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0)  # seconds between tries

log = logging.getLogger(__name__)

Entry = tuple[str, dict[str, str]]


class MqttBridge(SideJob):
    """Carries the stream's events to a broker.

    Args:
        redis_url: of the event stream.
        stream: its key.
        doors: returns the cameras of all buildings; may raise `StoreUnavailableError`.
        root: first level of all topics.
        prefix: Home Assistant's discovery prefix.
        version: of the product, which Home Assistant shows.
    """

    def __init__(
        self,
        broker: Broker,
        redis_url: str,
        stream: str,
        doors: Callable[[], list[Door]],
        root: str,
        prefix: str,
        version: str,
    ) -> None:
        self._broker = broker
        self._redis = connect(redis_url)
        self._stream = stream
        self._doors = doors
        self._root, self._prefix, self._version = root, prefix, version
        self._announced: dict[str, Door] = {}
        self._announce_at = 0.0  # monotonic
        self._failures = 0
        super().__init__("mqtt")

    def stop(self) -> None:
        """Stop; what was not carried stays in the stream."""
        super().stop()
        self._broker.leave()
        self._redis.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._round()
                self._failures = 0
            except (BrokerUnavailableError, redis.RedisError) as error:
                if self._failures == 0:
                    log.warning("MQTT: %s; trying again", error)
                self._stopping.wait(PAUSES[min(self._failures, len(PAUSES) - 1)])
                self._failures += 1

    def _round(self) -> None:
        if not self._broker.connected:
            self._broker.connect()
            self._announced.clear()  # the broker may have forgotten what was retained
            self._announce_at = 0.0
        if time.monotonic() >= self._announce_at:
            self._announce()
        for entry, fields in self._read():
            self._carry(entry, fields)

    def _read(self) -> list[Entry]:
        """Return what was read before and not acknowledged, else what is new within a second."""
        try:
            return self._read_from("0", None) or self._read_from(">", BLOCK_MS)
        except redis.ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
        self._redis.xgroup_create(self._stream, GROUP, "0", mkstream=True)
        return []

    def _read_from(self, place: str, block: int | None) -> list[Entry]:
        answer: Any = self._redis.xreadgroup(GROUP, CONSUMER, {self._stream: place}, BATCH, block)
        return list(answer[0][1]) if answer else []

    def _carry(self, entry: str, fields: dict[str, str]) -> None:
        if fields and "event" in fields:  # an entry that was removed meanwhile has none
            message = event_message(self._root, json.loads(fields["event"]), datetime.now(UTC))
            if message is not None:
                self._broker.publish(message)
        self._redis.xack(self._stream, GROUP, entry)

    def _announce(self) -> None:
        """Tell Home Assistant of cameras that came, changed or went."""
        try:
            present = {door.camera: door for door in self._doors()}
        except StoreUnavailableError:
            return
        for camera, door in present.items():
            if self._announced.get(camera) != door:
                for message in discovery(self._root, self._prefix, door, self._version):
                    self._broker.publish(message)
        for camera in self._announced.keys() - present.keys():
            for message in removal(self._prefix, camera):
                self._broker.publish(message)
        self._announced = present
        self._announce_at = time.monotonic() + ANNOUNCE_SECONDS
