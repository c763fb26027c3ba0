"""The source of a camera: an RTSP address or the path of a video file.

The address may carry a password, and some cameras want it in the path or the query, so an address is shown only
after `mask_source`. Nothing but RTSP and plain paths is accepted: FFmpeg knows dozens of other schemes (``http:``,
``concat:``, ``data:``) that would let whoever adds a camera make the server open things.
"""

import re
from pathlib import Path
from urllib.parse import urlsplit

HIDDEN = "***"
LONGEST = 2048
_SCHEMES = ("rtsp", "rtsps")
_URL = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://(.*)$", re.DOTALL)
_PROTOCOL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*[:,]")  # what FFmpeg would not read as a path
_SECRET = re.compile(r"((?:pass(?:word|wd|phrase)?|pwd|psw|token|secret|key|auth)\w*=)[^&;/?#]*", re.IGNORECASE)


def is_stream(source: str) -> bool:
    """Tell an RTSP address from a file path."""
    return source.startswith(("rtsp://", "rtsps://"))


def is_inside(source: str, folder: Path | None) -> bool:
    """Whether a whole path leads into `folder` once every link and ``..`` was followed; none leads into no folder."""
    file = Path(source)
    return folder is not None and file.is_absolute() and file.resolve().is_relative_to(folder.resolve())


def mask_source(source: str) -> str:
    """Return the source for people: without its password, in doubt without more than that.

    ``rtsp://user:secret@host/live`` becomes ``rtsp://user:***@host/live``. A password with a bare ``@`` or ``/`` in
    it is hidden whole, and so are the values of parameters that sound like secrets.
    """
    match = _URL.match(source)
    if match is None:
        return source
    scheme, rest = match.groups()
    credentials, at, address = rest.rpartition("@")  # the last one: a password may hold "@" and "/" by mistake
    address = _SECRET.sub(rf"\1{HIDDEN}", address)
    if not at:
        return f"{scheme}://{address}"
    user, colon, _ = credentials.partition(":")
    return f"{scheme}://{user if colon else HIDDEN}{colon}{HIDDEN if colon else ''}@{address}"


def validate_source(source: str) -> None:
    """Accept ``rtsp://``, ``rtsps://`` and file paths.

    Raises:
        ValueError: with a sentence for people that repeats no part of the source.
    """
    if not source.strip():
        raise ValueError("the source is empty: give rtsp://..., rtsps://... or the path of a video file")
    if len(source) > LONGEST:
        raise ValueError(f"the source is longer than {LONGEST} characters")
    if source != source.strip() or any(ord(letter) < 32 or ord(letter) == 127 for letter in source):
        raise ValueError("the source holds control characters or blanks at its ends")
    if is_stream(source):
        _validate_address(source)
    elif _PROTOCOL.match(source):
        raise ValueError("only rtsp:// and rtsps:// (in small letters) or the path of a video file can be a source")


def _validate_address(source: str) -> None:
    try:
        parts = urlsplit(source)
        host, port = parts.hostname, parts.port
    except ValueError:  # its text would repeat the address
        raise ValueError("host or port of the address is malformed; IPv6 addresses need [brackets]") from None
    if not host:
        raise ValueError("the address names no host: rtsp://host[:port]/path")
    if port == 0:
        raise ValueError("the port of the address must lie in 1..65535")
    if " " in source:
        raise ValueError("the address holds a blank: write it as %20")
    if "@" in source[source.index(parts.netloc) + len(parts.netloc) :] or parts.netloc.count("@") > 1:
        raise ValueError("write the signs @ : / ? # of user, password and path as %40 %3A %2F %3F %23")
