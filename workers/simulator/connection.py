"""One RTSP connection of the virtual camera: requests in, answers out, at most one session on it."""

import asyncio
import secrets
from typing import Protocol

from workers.simulator.channels import DatagramPair, Datagrams, Interleaved
from workers.simulator.faults import Fault
from workers.simulator.rtsp import METHODS, Answer, Digest, Request, Transport
from workers.simulator.sdp import TRACK, describe
from workers.simulator.timeline import Timeline
from workers.simulator.viewer import Channel, Viewer

_MESSAGE_SECONDS = 10.0  # for the rest of a message that has begun


class Studio(Protocol):
    """What a connection needs of its camera."""

    path: str
    digest: Digest | None
    session_seconds: float
    fault: Fault
    timeline: Timeline

    @property
    def datagrams(self) -> DatagramPair:
        """The sockets for clients that ask for UDP."""

    def admit(self, channel: Channel) -> Viewer:
        """Begin to send to a client."""

    def dismiss(self, viewer: Viewer) -> None:
        """Send no more to it."""


class Connection:
    """Serves one client until it leaves, says TEARDOWN or is silent for too long."""

    def __init__(self, studio: Studio, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._studio = studio
        self._reader = reader
        self._writer = writer
        self._session = secrets.token_hex(8)
        self._channel: Interleaved | Datagrams | None = None
        self._viewer: Viewer | None = None
        self._answers = {
            "OPTIONS": self._options,
            "DESCRIBE": self._describe,
            "SETUP": self._set_up,
            "PLAY": self._play,
            "TEARDOWN": self._tear_down,
            "GET_PARAMETER": self._keep_alive,
            "SET_PARAMETER": self._keep_alive,
        }

    async def serve(self) -> None:
        """Answer requests until the connection ends."""
        try:
            while (request := await self._next_request()) is not None:
                if self._studio.fault is Fault.MUTE:
                    continue
                self._writer.write(self._answer(request).to_bytes(request.sequence))
                await self._writer.drain()
                if request.method == "TEARDOWN":
                    break
        except (OSError, EOFError, asyncio.LimitOverrunError, ValueError):
            return  # the client went, or does not speak RTSP: either way there is nobody to tell
        finally:
            if self._viewer is not None:
                self._studio.dismiss(self._viewer)
            self._writer.close()

    async def _next_request(self) -> Request | None:
        """Return the next request, None when the client was silent for as long as a session may be."""
        while (first := await self._first_byte()) is not None:
            async with asyncio.timeout(_MESSAGE_SECONDS):
                if first == b"$":  # an RTCP report of the client
                    length = (await self._reader.readexactly(3))[1:]
                    await self._reader.readexactly(int.from_bytes(length, "big"))
                    continue
                request = Request.parse(first + await self._reader.readuntil(b"\r\n\r\n"))
                await self._reader.readexactly(request.body_length)
                return request
        return None

    async def _first_byte(self) -> bytes | None:
        while True:
            try:
                async with asyncio.timeout(self._studio.session_seconds):
                    return await self._reader.readexactly(1)
            except TimeoutError:
                if not self._alive():
                    return None

    def _alive(self) -> bool:
        """Tell whether a client that sends no requests still listens."""
        if self._viewer is None:
            return False
        if isinstance(self._channel, Interleaved):
            return True  # a dead connection would have ended
        return self._channel is not None and self._channel.heard_within(self._studio.session_seconds)

    def _answer(self, request: Request) -> Answer:
        if request.method not in METHODS:
            return Answer(501)
        digest = self._studio.digest
        if digest is not None and request.method != "OPTIONS" and not digest.accepts(request):
            return Answer(401, (digest.challenge,))
        session = request.headers.get("session", "").partition(";")[0]
        if session and session != self._session:
            return Answer(454)
        return self._answers[request.method](request)

    def _options(self, request: Request) -> Answer:
        return Answer(200, (("Public", ", ".join(METHODS)),))

    def _describe(self, request: Request) -> Answer:
        if request.path != self._studio.path:
            return Answer(404)
        host = self._writer.get_extra_info("sockname")[0]
        headers = (("Content-Base", request.url.rstrip("/") + "/"), ("Content-Type", "application/sdp"))
        return Answer(200, headers, describe(self._studio.timeline.clip, host))

    def _set_up(self, request: Request) -> Answer:
        if request.path not in (self._studio.path, f"{self._studio.path}/{TRACK}"):
            return Answer(404)
        transport = Transport.parse(request.headers.get("transport", ""))
        if transport is None:
            return Answer(461)
        if self._viewer is not None:
            return Answer(455)
        first = transport.number
        if transport.interleaved:
            self._channel = Interleaved(self._writer, first)
            chosen = f"RTP/AVP/TCP;unicast;interleaved={first}-{first + 1}"
        else:
            datagrams = self._studio.datagrams
            self._channel = Datagrams(datagrams, (self._writer.get_extra_info("peername")[0], first))
            ports = f"client_port={first}-{first + 1};server_port={datagrams.port}-{datagrams.port + 1}"
            chosen = f"RTP/AVP;unicast;{ports}"
        lifetime = f"{self._session};timeout={self._studio.session_seconds:.0f}"
        return Answer(200, (("Transport", chosen), ("Session", lifetime)))

    def _play(self, request: Request) -> Answer:
        if self._channel is None:
            return Answer(455)
        if self._viewer is None:
            self._viewer = self._studio.admit(self._channel)
        url = f"{request.url.rstrip('/')}/{TRACK}"
        timestamp = self._viewer.timestamp(self._studio.timeline)
        information = f"url={url};seq={self._viewer.sequence};rtptime={timestamp}"
        return Answer(200, (("Session", self._session), ("Range", "npt=now-"), ("RTP-Info", information)))

    def _tear_down(self, request: Request) -> Answer:
        return Answer(200)

    def _keep_alive(self, request: Request) -> Answer:
        return Answer(200, (("Session", self._session),))
