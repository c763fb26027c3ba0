"""Events to a real Mosquitto, heard by another client, through outages of both sides."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from fixtures_redis import RedisServer, make_event, wait_until
from paho.mqtt.enums import CallbackAPIVersion

from app.events import EventStream
from app.mqtt.bridge import MqttBridge
from app.mqtt.broker import Broker
from app.store.records import Door
from app.types import AccessEvent, Decision

DOORS = [Door("main", "cam_1", "Front door", "front")]


@dataclass
class Mosquitto:
    """A real broker, which can be killed and started again on its port."""

    program: str
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        settings = self.folder / "mosquitto.conf"
        settings.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {self.folder}/passwords\n"
            f"persistence true\npersistence_location {self.folder}/\nuser root\n"
        )
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([self.program, "-c", str(settings)], **quiet)  # type: ignore[call-overload]
        wait_until(lambda: _answers(self.port))

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
        return True
    return False


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("Mosquitto is not installed: apt-get install mosquitto")
        pytest.skip("Mosquitto is not installed: apt-get install mosquitto")
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(tmp_path / "passwords"), "cardea", "hush"], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    broker = Mosquitto(program, tmp_path, port)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


@dataclass
class Listener:
    """Somebody at the other side of the broker."""

    heard: list[paho.MQTTMessage] = field(default_factory=list)

    def events(self) -> list[str]:
        return [json.loads(message.payload)["id"] for message in self.heard if message.topic.endswith("/access")]

    def last(self, topic: str) -> str | None:
        payloads = [message.payload.decode() for message in self.heard if message.topic == topic]
        return payloads[-1] if payloads else None


@contextlib.contextmanager
def listening(port: int) -> Iterator[Listener]:
    listener = Listener()
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.username_pw_set("cardea", "hush")
    client.on_message = lambda client, data, message: listener.heard.append(message)
    client.on_connect = lambda client, *rest: client.subscribe("#", 1)
    client.on_subscribe = lambda *rest: ready.append(True)
    ready: list[bool] = []
    client.connect("127.0.0.1", port)
    client.loop_start()
    wait_until(lambda: ready)
    try:
        yield listener
    finally:
        client.disconnect()
        client.loop_stop()


@contextlib.contextmanager
def bridging(
    mosquitto: Mosquitto, redis_server: RedisServer, doors: Callable[[], list[Door]] = lambda: DOORS
) -> Iterator[MqttBridge]:
    broker = Broker(f"mqtt://cardea:hush@127.0.0.1:{mosquitto.port}", None, "cardea")
    bridge = MqttBridge(broker, redis_server.url, "events", doors, "cardea", "homeassistant", "0.1.0")
    bridge.start()
    try:
        yield bridge
    finally:
        bridge.stop()


def fresh(number: int, seconds: float = 30.0, **changes: Any) -> AccessEvent:
    moment = datetime.now(UTC)
    times = {"captured_at": moment, "decided_at": moment, "expires_at": moment + timedelta(seconds=seconds)}
    return make_event(number, **(times | changes))


@contextlib.contextmanager
def stream(redis_server: RedisServer) -> Iterator[EventStream]:
    with contextlib.closing(EventStream(redis_server.url, "events", 1000)) as made:
        with made.filling():
            pass
        yield made


def test_events_reach_the_broker_once_and_grants_are_not_retained(
    mosquitto: Mosquitto, redis_server: RedisServer
) -> None:
    with stream(redis_server) as events, listening(mosquitto.port) as listener, bridging(mosquitto, redis_server):
        sent = [fresh(number) for number in range(1, 6)]
        for event in sent:
            events.add(event, has_snapshot=True)
        wait_until(lambda: len(listener.events()) == 5)
        assert listener.events() == [event.id for event in sent]
        assert listener.last("cardea/availability") == "online"
        grant = next(message for message in listener.heard if message.topic.endswith("/access"))
        assert grant.qos == 1
        assert 0 < grant.properties.MessageExpiryInterval <= 30  # type: ignore[union-attr]
        with listening(mosquitto.port) as late:
            wait_until(lambda: late.last("homeassistant/event/cardea_cam_1/access/config"))
            assert late.events() == []
            assert late.last("cardea/availability") == "online"
    with listening(mosquitto.port) as after:
        wait_until(lambda: after.last("cardea/availability") == "offline")


def test_a_grant_that_waited_too_long_is_never_sent(mosquitto: Mosquitto, redis_server: RedisServer) -> None:
    with stream(redis_server) as events, bridging(mosquitto, redis_server):
        with listening(mosquitto.port) as listener:
            events.add(fresh(1), has_snapshot=False)
            wait_until(lambda: len(listener.events()) == 1)
        mosquitto.kill()
        short, other = fresh(2, seconds=1.0), fresh(3, decision=Decision.DENIED)
        for event in (short, other):
            events.add(event, has_snapshot=False)
        time.sleep(1.2)
        mosquitto.start()
        with listening(mosquitto.port) as listener:
            wait_until(lambda: other.id in listener.events())
            assert short.id not in listener.events()


def test_the_last_will_says_that_we_are_gone(mosquitto: Mosquitto, redis_server: RedisServer) -> None:
    code = (
        "import os, sys\n"
        "from app.mqtt.broker import Broker\n"
        f"Broker('mqtt://cardea:hush@127.0.0.1:{mosquitto.port}', None, 'cardea').connect()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    with listening(mosquitto.port) as listener:
        subprocess.run([sys.executable, "-c", code])
        wait_until(lambda: listener.last("cardea/availability") == "offline")
    assert [m.payload for m in listener.heard if m.topic == "cardea/availability"] == [b"online", b"offline"]


def test_cameras_come_and_go_in_home_assistant(
    mosquitto: Mosquitto, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.mqtt.bridge.ANNOUNCE_SECONDS", 0.2)
    present = [*DOORS, Door("main", "cam_2", "Garage", "")]
    topic = "homeassistant/event/cardea_cam_2/access/config"
    with stream(redis_server), listening(mosquitto.port) as listener:
        with bridging(mosquitto, redis_server, lambda: list(present)):
            wait_until(lambda: listener.last(topic))
            present.pop()
            wait_until(lambda: listener.last(topic) == "")
        assert "Front door" in str(listener.last("homeassistant/event/cardea_cam_1/access/config"))


def test_a_wrong_password_is_said_and_tried_again(
    mosquitto: Mosquitto, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Broker(f"mqtt://cardea:wrong-hush@127.0.0.1:{mosquitto.port}", None, "cardea")
    bridge = MqttBridge(broker, redis_server.url, "events", lambda: DOORS, "cardea", "homeassistant", "0.1.0")
    bridge.start()
    wait_until(lambda: "CARDEA_MQTT_URL" in caplog.text)
    bridge.stop()
    assert "hush" not in caplog.text
