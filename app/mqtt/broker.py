"""The connection to the broker: MQTT 5, confirmed messages, a last will."""

import contextlib
import secrets
import ssl
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from app.errors import BrokerUnavailableError, SetupError
from app.mqtt.messages import OFFLINE, ONLINE, Message, availability_topic

ANSWER_SECONDS = 5.0
KEEPALIVE = 30  # seconds; after one and a half of it the broker publishes our last will
PORTS = {"mqtt": 1883, "mqtts": 8883}
HOW = "CARDEA_MQTT_URL: write it as mqtt://user:password@host:1883 or mqtts://user:password@host:8883"


class Broker:
    """A broker, and one connection to it at a time.

    Each connection has a client of its own: the library keeps what was not confirmed and sends it after a reconnect,
    with the expiry that it had at first. A grant would come late and look fresh; a new client has nothing to repeat.

    Args:
        url: ``mqtt://`` or ``mqtts://``, with its password.
        authority: PEM file that a ``mqtts://`` broker is verified against; None takes the system's.
        root: first level of all topics.
    """

    def __init__(self, url: str, authority: Path | None, root: str) -> None:
        """Read the address; nothing is connected yet.

        Raises:
            SetupError: URL or authority cannot be used.
        """
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname or "", parts.port or PORTS[parts.scheme]
        except (ValueError, KeyError):  # the text would repeat the password
            raise SetupError(HOW) from None
        if not self._host:
            raise SetupError(HOW)
        self._user, self._password = parts.username, unquote(parts.password or "")
        self._tls = _context(authority) if parts.scheme == "mqtts" else None
        self._availability = availability_topic(root)
        self._client: paho.Client | None = None

    @property
    def connected(self) -> bool:
        """Whether the broker can be reached now."""
        return self._client is not None and bool(self._client.is_connected())

    def connect(self) -> None:
        """Connect and say that we are there.

        Raises:
            BrokerUnavailableError: the broker does not answer, or refuses us.
        """
        self.drop()
        answered, answer = threading.Event(), list[ReasonCode]()

        def connected(
            client: paho.Client, data: object, flags: paho.ConnectFlags, reason: ReasonCode, properties: object
        ) -> None:
            answer.append(reason)
            answered.set()

        client = self._new_client()
        client.on_connect = connected
        try:
            client.connect(self._host, self._port, KEEPALIVE)
        except OSError as error:  # a TimeoutError and the errors of TLS too
            raise BrokerUnavailableError(f"the MQTT broker does not answer: {error}") from error
        client.loop_start()
        self._client = client
        if not answered.wait(ANSWER_SECONDS) or answer[0].is_failure:
            self.drop()
            told = f"{answer[0]}; look at user and password in CARDEA_MQTT_URL" if answer else "no answer"
            raise BrokerUnavailableError(f"the MQTT broker refuses us: {told}")
        self.publish(Message(self._availability, ONLINE, retain=True, expiry=None))

    def publish(self, message: Message) -> None:
        """Publish with QoS 1 and wait until the broker has confirmed it.

        Raises:
            BrokerUnavailableError: it has not; the connection is dropped and nothing will be repeated.
        """
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if message.expiry is not None:
            properties.MessageExpiryInterval = message.expiry
        if self._client is not None:
            sent = self._client.publish(message.topic, message.payload, 1, message.retain, properties)
            if sent.rc == paho.MQTT_ERR_SUCCESS:
                sent.wait_for_publish(ANSWER_SECONDS)
                if sent.is_published():
                    return
        self.drop()
        raise BrokerUnavailableError("the MQTT broker did not confirm a message")

    def leave(self) -> None:
        """Say that we go, and go."""
        if self.connected:
            with contextlib.suppress(BrokerUnavailableError):  # then the last will says it
                self.publish(Message(self._availability, OFFLINE, retain=True, expiry=None))
        if self._client is not None:
            self._client.disconnect()
        self.drop()

    def drop(self) -> None:
        """Let the connection go, with whatever was not confirmed."""
        client, self._client = self._client, None
        if client is not None:
            client.loop_stop()
            if (connection := client.socket()) is not None:
                connection.close()  # without a goodbye, so that the broker publishes our last will

    def _new_client(self) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            f"cardea-{secrets.token_hex(4)}",
            protocol=paho.MQTTv5,
            reconnect_on_failure=False,
        )
        client.connect_timeout = ANSWER_SECONDS
        if self._user is not None:
            client.username_pw_set(unquote(self._user), self._password)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        client.will_set(self._availability, OFFLINE, qos=1, retain=True)
        return client


def _context(authority: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError as error:
        raise SetupError(f"CARDEA_MQTT_CA: {authority} holds no certificate in PEM form: {error}") from error
