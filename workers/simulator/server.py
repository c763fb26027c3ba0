"""The virtual camera: listens, keeps the sessions, and sends to every client what its programme has due."""

import asyncio
import random
import socket
import ssl
import struct
from collections.abc import Sequence

from workers.simulator.channels import DatagramPair
from workers.simulator.clip import CLOCK_RATE, Clip
from workers.simulator.connection import Connection
from workers.simulator.faults import DEFAULT_LOSS, Fault
from workers.simulator.rtsp import Digest
from workers.simulator.timeline import Timeline
from workers.simulator.viewer import Channel, Viewer

_CATCH_UP_SECONDS = 0.02  # between helpings for a client that is behind


class VirtualCamera:
    """One camera at one address. It loops its first clip; each swap goes on with the next.

    Used from one asyncio loop: `start`, `inject` as often as wanted, `stop`.
    """

    path = "/camera"

    def __init__(
        self,
        clips: Sequence[Clip],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        user: str | None = None,
        password: str = "",
        tls: ssl.SSLContext | None = None,
        session_seconds: float = 60.0,
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            clips: at least one.
            host: numeric address or name to listen on.
            port: 0 takes a free one.
            user: with one, clients must pass Digest authentication.
            password: of that user.
            tls: with one, the camera speaks RTSPS.
            session_seconds: how long a client may be silent.
        """
        self.timeline = Timeline(clips[0])
        self.fault = Fault.NONE
        self.digest = Digest(user, password) if user else None
        self.session_seconds = session_seconds
        self.host, self.port = host, port
        self._clips = list(clips)
        self._loss = 0.0
        self._tls = tls
        self._random = random.Random(0)  # the same losses each time
        self._clock_offset = self._random.getrandbits(32)
        self._viewers: set[Viewer] = set()
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None
        self._datagrams: DatagramPair | None = None
        self._pump: asyncio.Task[None] | None = None
        self._started = 0.0

    @property
    def url(self) -> str:
        """The address of the stream, without user and password."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)
        return f"{'rtsps' if self._tls else 'rtsp'}://{f'[{host}]' if ':' in host else host}:{self.port}{self.path}"

    @property
    def viewers(self) -> int:
        """Clients that are playing."""
        return len(self._viewers)

    @property
    def datagrams(self) -> DatagramPair:
        """The sockets for clients that ask for UDP."""
        if self._datagrams is None:
            raise RuntimeError("the camera is not started")
        return self._datagrams

    async def start(self) -> None:
        """Listen and begin to play.

        Raises:
            OSError: the port is taken or the host is not ours.
        """
        await self._listen()
        self._datagrams = await DatagramPair.open(self.host)
        self._started = asyncio.get_running_loop().time()
        self._pump = asyncio.create_task(self._play())

    async def stop(self) -> None:
        """End all sessions and close all sockets."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        self._refuse()
        self._abort_connections()
        await asyncio.gather(*self._connections)
        if self._datagrams is not None:
            self._datagrams.close()

    async def inject(self, fault: Fault, percent: float = DEFAULT_LOSS) -> None:
        """Put the camera into a state, see `Fault`; `percent` is for a loss.

        Raises:
            ValueError: a swap without a second clip.
        """
        if fault is Fault.SWAP:
            self._swap()
        self.fault = fault
        self._loss = percent if fault is Fault.LOSS else 0.0
        if fault in (Fault.DIE, Fault.REFUSE):
            self._refuse()
        else:
            await self._listen()
        if fault is Fault.DIE:
            self._abort_connections()

    def admit(self, channel: Channel) -> Viewer:
        """Begin to send to a client."""
        live = self.timeline.at(self._ticks())
        viewer = Viewer(channel, self.timeline, live, self._clock_offset, self._random)
        self._viewers.add(viewer)
        return viewer

    def dismiss(self, viewer: Viewer) -> None:
        """Send no more to it."""
        self._viewers.discard(viewer)

    async def _listen(self) -> None:
        if self._server is not None:
            return
        self._server = await asyncio.start_server(self._connected, self.host, self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _abort_connections(self) -> None:
        """Reset every connection, as a camera does whose power went."""
        for writer in self._connections.values():
            raw: socket.socket = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def _swap(self) -> None:
        if len(self._clips) < 2:
            raise ValueError("a swap needs a second clip")
        self._clips.append(self._clips.pop(0))
        self.timeline = self.timeline.followed_by(self._clips[0], self._ticks())

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            await Connection(self, reader, writer).serve()
        finally:
            del self._connections[task]

    def _ticks(self) -> int:
        return int((asyncio.get_running_loop().time() - self._started) * CLOCK_RATE)

    async def _play(self) -> None:
        while True:
            behind = self._send_due()
            next_due = self.timeline.due(self.timeline.at(self._ticks()) + 1)
            wait = (next_due - self._ticks()) / CLOCK_RATE
            await asyncio.sleep(min(wait, _CATCH_UP_SECONDS) if behind else max(wait, 0.0))

    def _send_due(self) -> bool:
        """Send to every client; tell whether somebody is still behind."""
        if self.fault in (Fault.STALL, Fault.MUTE):
            return False
        live = self.timeline.at(self._ticks())
        behind = False
        for viewer in self._viewers:
            behind |= viewer.advance(self.timeline, live, self._loss)
        return behind
