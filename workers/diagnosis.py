"""What an operator is told when a camera cannot be opened or read.

Every sentence is ours. FFmpeg's own messages repeat the address with its password, so none of them is passed on.
"""

import errno
import os
import socket
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

import av.error

from app.sources import is_stream
from app.types import CameraState

_PORTS = {"rtsp": 554, "rtsps": 322}
_NO_ANSWER = "the camera does not answer"


@dataclass(frozen=True, slots=True)
class Finding:
    """A state and the reason for it, for people."""

    state: CameraState
    detail: str


# The first row that fits decides. Types as PyAV 18 raises them with FFmpeg 8.
_OPENING: tuple[tuple[type[BaseException], Finding], ...] = (
    (av.error.HTTPUnauthorizedError, Finding(CameraState.AUTH_FAILED, "the camera refuses user or password")),
    (av.error.HTTPForbiddenError, Finding(CameraState.AUTH_FAILED, "the camera forbids this user the stream")),
    (av.error.HTTPNotFoundError, Finding(CameraState.NO_VIDEO, "the camera has no stream at this path")),
    (av.error.HTTPClientError, Finding(CameraState.NO_VIDEO, "the camera refuses to give the stream")),
    (av.error.HTTPServerError, Finding(CameraState.NO_VIDEO, "the camera reports a fault of its own")),
    (ConnectionRefusedError, Finding(CameraState.OFFLINE, "nothing listens at this address")),
    (ConnectionError, Finding(CameraState.OFFLINE, "the camera closed the connection")),
    (TimeoutError, Finding(CameraState.OFFLINE, _NO_ANSWER)),
    (av.error.ExitError, Finding(CameraState.OFFLINE, _NO_ANSWER)),
    (FileNotFoundError, Finding(CameraState.OFFLINE, "there is no such file")),
    (PermissionError, Finding(CameraState.OFFLINE, "the file may not be read")),
    (av.error.InvalidDataError, Finding(CameraState.NO_VIDEO, "what comes is not a video stream")),
    (av.error.EOFError, Finding(CameraState.NO_VIDEO, "the stream ends before it begins")),
    (LookupError, Finding(CameraState.NO_VIDEO, "this kind of stream is not known")),
)
_READING: tuple[tuple[type[BaseException], Finding], ...] = (
    (TimeoutError, Finding(CameraState.STALLED, "connected, but no frames come")),
    (av.error.ExitError, Finding(CameraState.STALLED, "connected, but no frames come")),
    (ConnectionError, Finding(CameraState.OFFLINE, "the camera closed the connection")),
    (av.error.InvalidDataError, Finding(CameraState.NO_VIDEO, "the stream is damaged")),
)


def explain_reading(error: Exception) -> Finding:
    """Say why a stream that was open can be read no longer."""
    return _row(_READING, error) or Finding(CameraState.OFFLINE, f"reading failed: {_reason(error)}")


def explain_opening(error: Exception, source: str, ca_file: str | None, waited: float, timeout: float) -> Finding:
    """Say why a source cannot be opened.

    Args:
        error: what was raised.
        source: the camera's source.
        ca_file: the certificates that rtsps is verified against.
        waited: seconds that the attempt took: FFmpeg reports some time-outs as broken data.
        timeout: seconds after which FFmpeg gives up.
    """
    if isinstance(error, av.error.InvalidDataError) and is_stream(source) and waited >= 0.9 * timeout:
        return Finding(CameraState.OFFLINE, _NO_ANSWER)
    known = _row(_OPENING, error)
    if known is not None:
        return known
    if is_stream(source) and isinstance(error, OSError) and error.errno == errno.EIO:
        # FFmpeg says no more than this for names that do not resolve and certificates that do not verify.
        return Finding(CameraState.OFFLINE, _try_connection(source, ca_file, timeout))
    return Finding(CameraState.OFFLINE, f"cannot be opened: {_reason(error)}")


def _row(table: tuple[tuple[type[BaseException], Finding], ...], error: Exception) -> Finding | None:
    return next((finding for kind, finding in table if isinstance(error, kind)), None)


def _reason(error: Exception) -> str:
    """Return the operating system's words for the error, which name no source."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if isinstance(number, int) and number in errno.errorcode else type(error).__name__


def _try_connection(source: str, ca_file: str | None, timeout: float) -> str:
    """Make the connection ourselves, up to the TLS handshake, to learn where it fails."""
    parts = urlsplit(source)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    try:
        with socket.create_connection((host, port), timeout) as plain:
            if parts.scheme == "rtsps":
                context = ssl.create_default_context(cafile=ca_file)
                context.wrap_socket(plain, server_hostname=host).close()
    except socket.gaierror:
        return "the name of the camera cannot be resolved"
    except ssl.SSLCertVerificationError as error:
        return f"the certificate of the camera is not trusted: {error.verify_message}"
    except ssl.SSLError:
        return "there is no TLS at this address: is it rtsp:// instead of rtsps://?"
    except TimeoutError:
        return _NO_ANSWER
    except OSError as error:
        return f"no connection: {_reason(error)}"
    return "the camera closed the connection"
