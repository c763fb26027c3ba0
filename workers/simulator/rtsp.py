"""RTSP/1.0 messages (RFC 2326) and Digest authentication (RFC 2617), as text in and out."""

import hashlib
import re
import secrets
from dataclasses import dataclass

METHODS = ("OPTIONS", "DESCRIBE", "SETUP", "PLAY", "TEARDOWN", "GET_PARAMETER", "SET_PARAMETER")
_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    454: "Session Not Found",
    455: "Method Not Valid in This State",
    461: "Unsupported Transport",
    501: "Not Implemented",
}
_REQUEST_LINE = re.compile(r"([A-Z_]+) (\S+) RTSP/1\.\d")


@dataclass(frozen=True, slots=True)
class Request:
    """A request without its body."""

    method: str
    url: str
    headers: dict[str, str]  # names in small letters

    @staticmethod
    def parse(head: bytes) -> "Request":
        """Read everything up to the blank line.

        Raises:
            ValueError: this is not RTSP.
        """
        first, *lines = head.decode("utf-8", "strict").strip().split("\r\n")
        match = _REQUEST_LINE.fullmatch(first)
        if match is None:
            raise ValueError("not an RTSP request")
        fields = (line.partition(":") for line in lines)
        return Request(match[1], match[2], {name.strip().lower(): value.strip() for name, _, value in fields})

    @property
    def sequence(self) -> str:
        """The number that the answer must repeat."""
        return self.headers.get("cseq", "0")

    @property
    def body_length(self) -> int:
        """Bytes that follow the head."""
        length = self.headers.get("content-length", "0")
        return int(length) if length.isdecimal() else 0

    @property
    def path(self) -> str:
        """The path of the URL without slashes at its end."""
        return re.sub(r"^[a-z]+://[^/]*", "", self.url).partition("?")[0].rstrip("/")


@dataclass(frozen=True, slots=True)
class Answer:
    """A response."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""

    def to_bytes(self, sequence: str) -> bytes:
        """Write it for the request with this number."""
        lines = [f"RTSP/1.0 {self.status} {_REASONS[self.status]}", f"CSeq: {sequence}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.body:
            lines.append(f"Content-Length: {len(self.body.encode())}")
        return ("\r\n".join(lines) + "\r\n\r\n" + self.body).encode()


@dataclass(frozen=True, slots=True)
class Transport:
    """What a SETUP asks for: an interleaved channel or a UDP port, the first of a pair each."""

    interleaved: bool
    number: int

    @staticmethod
    def parse(header: str) -> "Transport | None":
        """Return the first transport of the list that is served here, None when there is none."""
        for choice in header.split(","):
            if "multicast" in choice or "RTP/AVP" not in choice:
                continue
            interleaved = "RTP/AVP/TCP" in choice
            name = "interleaved" if interleaved else "client_port"
            match = re.search(rf"{name}=(\d+)", choice)
            if match is not None:
                return Transport(interleaved, int(match[1]))
            if interleaved:
                return Transport(True, 0)
        return None


class Digest:
    """Digest authentication with MD5, the scheme that every camera and every client has."""

    realm = "camera"

    def __init__(self, user: str, password: str) -> None:
        self._user = user
        self._secret = self._hash(f"{user}:{self.realm}:{password}")
        self._nonce = secrets.token_hex(16)

    @property
    def challenge(self) -> tuple[str, str]:
        """The header of a 401 answer."""
        return "WWW-Authenticate", f'Digest realm="{self.realm}", nonce="{self._nonce}", algorithm="MD5"'

    def accepts(self, request: Request) -> bool:
        """Check the request's ``Authorization``: RFC 2617 3.2.2.1 without `qop`."""
        given = dict(re.findall(r'(\w+)="([^"]*)"', request.headers.get("authorization", "")))
        expected = self._hash(f"{self._secret}:{self._nonce}:{self._hash(request.method + ':' + given.get('uri', ''))}")
        return (
            given.get("username") == self._user
            and given.get("nonce") == self._nonce
            and secrets.compare_digest(given.get("response", "").encode(), expected.encode())
        )

    @staticmethod
    def _hash(text: str) -> str:
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
