"""Which addresses a webhook may reach: the public internet, and private networks that the operator has named.

Whoever may add a webhook must not thereby reach what only this server can: its database, its neighbours, the metadata
service of a cloud (OWASP API7:2023). A name is resolved once and the connection goes to the very address that was
checked, so a name that changes its answer gains nothing.
"""

import socket
import ssl
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

import httpcore2

from app.errors import SetupError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
_TRANSLATING = IPv6Network("64:ff9b::/96")  # RFC 6052: the last four bytes are an IPv4 address
_UNICAST = IPv6Network("2000::/3")  # RFC 4291: all that the registries give out
_PLATFORM = IPv4Address("168.63.129.16")  # a cloud's own services, at an address that looks public
LONGEST = 2048


class ForbiddenAddressError(httpcore2.ConnectError):
    """The address lies in a network that webhooks may not reach."""


def parse_networks(text: str) -> tuple[Network, ...]:
    """Return the networks of a list such as ``10.0.5.0/24, fd00::/8``.

    Raises:
        SetupError: it is not such a list.
    """
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise SetupError(f"CARDEA_WEBHOOK_NETWORKS: {error}; write networks as 10.0.5.0/24, fd00::/8") from None


def permitted(address: Address, networks: Sequence[Network]) -> bool:
    """Whether a webhook may go there. An IPv4 address hidden in an IPv6 one counts as itself."""
    inner = _inner(address)
    if any(inner in network for network in networks if network.version == inner.version):
        return True
    if inner.version == 6 and inner not in _UNICAST:
        return False  # what is not given out to anybody may lead anywhere
    return inner.is_global and not inner.is_multicast and inner != _PLATFORM


def check_url(url: str, networks: Sequence[Network]) -> None:
    """Refuse what could never be delivered to.

    Raises:
        ValueError: with a sentence for people that repeats no part of the address.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("host or port of the address is malformed") from None
    if len(url) > LONGEST or not url.isascii() or any(letter <= " " or letter == "\x7f" for letter in url):
        raise ValueError(f"write the address with ASCII letters, no blanks, and at most {LONGEST} characters")
    try:
        (host or "").encode("idna")
    except UnicodeError:
        raise ValueError("each part of the host name has 1 to 63 characters") from None
    if parts.scheme not in ("https", "http") or not host or port == 0:
        raise ValueError("write the address as https://host[:port]/path")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("the address may hold no user, password or fragment; deliveries are signed instead")
    literal = _literal(host)
    if literal is not None and not permitted(literal, networks):
        raise ValueError("the address lies in a private network: CARDEA_WEBHOOK_NETWORKS must name it first")
    if parts.scheme == "http" and (literal is None or permitted(literal, ())):
        raise ValueError("use https://; http:// is for addresses in CARDEA_WEBHOOK_NETWORKS alone")


class GuardedBackend(httpcore2.NetworkBackend):
    """Opens connections to permitted addresses alone, each for a limited time.

    Args:
        seconds: that resolving, connecting and the connection itself may last in all.
    """

    def __init__(self, networks: Sequence[Network], seconds: float) -> None:
        self._networks = networks
        self._seconds = seconds
        self._backend = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        """Resolve, check, and connect to what was checked: to the first address that answers.

        Raises:
            ForbiddenAddressError: the name leads to a forbidden network, with any of its addresses.
            httpcore2.ConnectError: it leads nowhere, or nobody answers.
        """
        deadline = time.monotonic() + self._seconds
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore2.ConnectError(f"the name cannot be resolved: {error.strerror}") from error
        addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
        if not all(permitted(ip_address(address), self._networks) for address in addresses):
            raise ForbiddenAddressError(
                "the name leads to a private network; CARDEA_WEBHOOK_NETWORKS must name it first"
            )
        *others, last = dict.fromkeys(addresses)
        for address in others:
            with suppress(httpcore2.ConnectError, httpcore2.ConnectTimeout):
                return self._connect(deadline, address, port, timeout, local_address, socket_options)
        return self._connect(deadline, last, port, timeout, local_address, socket_options)

    def _connect(
        self, deadline: float, address: str, port: int, timeout: float | None, *more: Any
    ) -> httpcore2.NetworkStream:
        left = deadline - time.monotonic()
        if left <= 0:
            raise httpcore2.ConnectTimeout("the time for this attempt is up")
        stream = self._backend.connect_tcp(address, port, min(left, timeout or left), *more)
        return _Hurried(stream, deadline)


class _Hurried(httpcore2.NetworkStream):
    """A connection that ends at a deadline, however slowly its other side drips."""

    def __init__(self, stream: httpcore2.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read within what is left of the time."""
        return self._stream.read(max_bytes, self._left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write within what is left of the time."""
        self._stream.write(buffer, self._left())

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        """Go on encrypted, within what is left of the time."""
        return _Hurried(self._stream.start_tls(ssl_context, server_hostname, self._left()), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        """Tell about the connection."""
        return self._stream.get_extra_info(info)

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("the time for this attempt is up")
        return left


def _literal(host: str) -> Address | None:
    """Return the address that a host spells, in any spelling that a resolver takes (127.1, 0x7f000001, 2130706433)."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def _inner(address: Address) -> Address:
    if isinstance(address, IPv4Address):
        return address
    hidden = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
    if hidden is None and address in _TRANSLATING:
        hidden = IPv4Address(address.packed[-4:])
    return hidden or address
