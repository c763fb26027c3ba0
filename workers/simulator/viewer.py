"""One client that is being sent to: where it is in the programme, and its own RTP sequence."""

import random
import struct
from collections.abc import Sequence
from typing import Protocol

from workers.simulator.timeline import Timeline

_CATCH_UP_UNITS = 8  # sent at a time to a client that is behind: a burst would overflow a UDP socket
_SKIP_UNITS = 25  # behind by more than this, a client is taken to the newest key frame


class Channel(Protocol):
    """The way to a client."""

    @property
    def full(self) -> bool:
        """Whether the client does not read fast enough."""

    def send(self, packets: Sequence[bytes]) -> None:
        """Send RTP packets."""


class Viewer:
    """A playing client. It begins at a key frame, behind the camera, and catches up within a moment."""

    def __init__(
        self, channel: Channel, timeline: Timeline, live: int, clock_offset: int, source: random.Random
    ) -> None:
        """Begin at the key frame before position `live`.

        Args:
            channel: the way to the client.
            timeline: what is played.
            live: the position that is due now.
            clock_offset: added to all timestamps.
            source: of the numbers that shall differ between clients, and of the losses.
        """
        self._channel = channel
        self._random = source
        self._ssrc = self._random.getrandbits(32)
        self._clock_offset = clock_offset
        self.position = timeline.key(live)
        self.sequence = self._random.getrandbits(16)  # of the next packet

    def timestamp(self, timeline: Timeline) -> int:
        """Return the RTP timestamp of the next unit."""
        unit, start = timeline.unit(self.position)
        return (self._clock_offset + start + unit.timestamp) & 0xFFFFFFFF

    def advance(self, timeline: Timeline, live: int, loss: float) -> bool:
        """Send what is due, at most a few units, without `loss` percent of the packets; tell whether more is due."""
        key = timeline.key(live)
        if key - self.position > _SKIP_UNITS:
            self.position = key
        self.position = max(self.position, timeline.position)  # another clip has begun
        for _ in range(_CATCH_UP_UNITS):
            if self.position > live or self._channel.full:
                break
            self._send(timeline, loss)
        return self.position <= live

    def _send(self, timeline: Timeline, loss: float) -> None:
        unit, _ = timeline.unit(self.position)
        timestamp = self.timestamp(timeline)
        packets = []
        for packet in unit.packets:
            header = struct.pack("!HII", self.sequence, timestamp, self._ssrc)
            self.sequence = (self.sequence + 1) & 0xFFFF
            if loss == 0 or self._random.random() * 100 >= loss:
                packets.append(packet[:2] + header + packet[12:])
        self._channel.send(packets)
        self.position += 1
