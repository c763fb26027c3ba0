"""The two ways of RTP to a client: inside its RTSP connection, or by UDP."""

import asyncio
import socket
import struct
from collections.abc import Sequence

_FULL_BYTES = 4 << 20  # waiting for a client that does not read


class Interleaved:
    """RTP inside the RTSP connection (RFC 2326 10.12)."""

    def __init__(self, writer: asyncio.StreamWriter, number: int) -> None:
        self._writer = writer
        self._number = number

    @property
    def full(self) -> bool:
        """Whether the client does not read fast enough."""
        return self._writer.transport.get_write_buffer_size() > _FULL_BYTES

    def send(self, packets: Sequence[bytes]) -> None:
        """Send RTP packets, each behind its four bytes of framing."""
        if not self._writer.is_closing():
            framed = [struct.pack("!cBH", b"$", self._number, len(packet)) + packet for packet in packets]
            self._writer.write(b"".join(framed))


class _Receiver(asyncio.DatagramProtocol):
    """Takes what clients send: RTCP reports, and RTP that only opens the way through their firewall."""

    def __init__(self, heard: dict[str, float]) -> None:
        self._heard = heard

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        """Remember that the client is there."""
        self._heard[address[0]] = asyncio.get_running_loop().time()

    def error_received(self, error: Exception) -> None:
        """Do nothing: a client whose port is closed has gone, and its RTSP connection tells."""


class DatagramPair:
    """An even port for RTP and the odd one after it for RTCP (RFC 3550 11), shared by all clients."""

    def __init__(
        self, rtp: asyncio.DatagramTransport, rtcp: asyncio.DatagramTransport, heard: dict[str, float]
    ) -> None:
        self.rtp = rtp
        self.heard = heard  # client's host -> loop time of its last report
        self.port: int = rtp.get_extra_info("sockname")[1]
        self._rtcp = rtcp

    @staticmethod
    async def open(host: str) -> "DatagramPair":
        """Bind two free neighbouring ports.

        Raises:
            OSError: none were found.
        """
        loop = asyncio.get_running_loop()
        heard: dict[str, float] = {}
        first, second = _neighbours(host)
        rtp, _ = await loop.create_datagram_endpoint(lambda: _Receiver(heard), sock=first)
        rtcp, _ = await loop.create_datagram_endpoint(lambda: _Receiver(heard), sock=second)
        return DatagramPair(rtp, rtcp, heard)

    def close(self) -> None:
        """Give the ports back."""
        self.rtp.close()
        self._rtcp.close()


class Datagrams:
    """RTP by UDP to one client."""

    full = False  # UDP does not wait for anybody

    def __init__(self, pair: DatagramPair, address: tuple[str, int]) -> None:
        self._pair = pair
        self._address = address

    def send(self, packets: Sequence[bytes]) -> None:
        """Send each packet as one datagram."""
        for packet in packets:
            self._pair.rtp.sendto(packet, self._address)

    def heard_within(self, seconds: float) -> bool:
        """Tell whether the client has sent a report lately."""
        last = self._pair.heard.get(self._address[0], float("-inf"))
        return asyncio.get_running_loop().time() - last < seconds


def _neighbours(host: str) -> tuple[socket.socket, socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(100):
        first, second = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family, socket.SOCK_DGRAM)
        try:
            first.bind((host, 0))
            port = first.getsockname()[1]
            if port % 2 == 0:
                second.bind((host, port + 1))
                return first, second
        except OSError as error:
            problem = error
        else:
            problem = OSError("the port is odd")
        first.close()
        second.close()
    raise problem
