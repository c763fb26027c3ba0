"""Open a camera's source with FFmpeg: time-outs, transport and verified TLS."""

import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer

from app.sources import is_stream
from app.types import Camera
from workers.patience import Patience

# Where systems keep the certificates they trust, if Python's OpenSSL does not know.
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_ANALYSE_MICROSECONDS = 300_000  # halves the time to the first frame against FFmpeg's default
_SOCKET_BYTES = 1 << 20  # for UDP: a key frame comes in one burst


@contextmanager
def trusted_certificates(camera: Camera) -> Iterator[str | None]:
    """Yield the file to verify rtsps:// against: the camera's own certificate, else those the system trusts."""
    if not camera.source.startswith("rtsps://"):
        yield None
    elif camera.ca_certificate is None:
        found = [ssl.get_default_verify_paths().cafile, *_BUNDLES]
        yield next((path for path in found if path and Path(path).is_file()), None)
    else:
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:  # readable by its owner alone
            file.write(camera.ca_certificate)
            file.flush()
            yield file.name


def open_source(camera: Camera, patience: Patience, ca_file: str | None) -> InputContainer:
    """Open the stream or file.

    Raises:
        av.error.FFmpegError: see `workers.diagnosis`. Its text holds the source: never log it.
    """
    if not is_stream(camera.source):
        # An absolute path is never read as a protocol, and a playlist may open nothing but files.
        path = str(Path(camera.source).absolute())
        return av.open(path, "r", options={"protocol_whitelist": "file"}, timeout=(patience.open, patience.read))
    encrypted = camera.source.startswith("rtsps://")
    options = {
        "rtsp_transport": "tcp" if encrypted else camera.transport,  # RTP by UDP would leave the tunnel
        "allowed_media_types": "video",
        "analyzeduration": str(_ANALYSE_MICROSECONDS),
        "buffer_size": str(_SOCKET_BYTES),
        "timeout": str(int(patience.answer * 1e6)),
    }
    if encrypted:
        options |= {"tls_verify": "1", "ca_file": ca_file or ""}  # FFmpeg's default is not to verify
    return av.open(camera.source, "r", options=options, timeout=(patience.open, patience.read))
