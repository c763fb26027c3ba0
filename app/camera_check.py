"""Look at a camera's source once, before it is saved.

A decoder that hangs cannot be interrupted, and one that crashes takes its process along. So each look is a process of
its own, `cardea check-camera`, which can be killed. The source may hold a password: it goes in through stdin and is in
no argument, environment or answer.
"""

import json
import subprocess
import sys
from dataclasses import dataclass, field

from app.types import CameraState

LIMIT = 20.0  # seconds; the look itself gives up sooner
_HUNG = "the camera did not let itself be judged in time"
_CRASHED = "reading this stream made the decoder crash"


@dataclass(frozen=True, slots=True)
class Look:
    """What came of it. What is not known is None."""

    state: CameraState
    detail: str  # for people; holds no secret
    seconds: float = 0.0  # until the first picture, or until there was none
    codec: str | None = None
    width: int | None = None  # pixels
    height: int | None = None
    fps: float | None = None  # pictures a second, as they came
    still: str | None = field(default=None, repr=False)  # JPEG of at most 640 pixels, base64


def check_source(source: str, transport: str, ca_certificate: str | None, limit: float = LIMIT) -> Look:
    """Open a source in a process of its own, decode a second or two of it and say what came.

    Args:
        source: as a camera's, checked by `app.sources.validate_source`.
        transport: tcp or udp.
        ca_certificate: PEM that rtsps:// is verified against; None: what the system trusts.
        limit: seconds after which the process is killed.

    Raises:
        CalledProcessError: the process failed in another way than by a crash.
    """
    question = json.dumps({"source": source, "transport": transport, "ca_certificate": ca_certificate})
    words = [sys.executable, "-m", "app", "check-camera"]
    try:
        done = subprocess.run(
            words,
            check=False,
            input=question,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=limit,
            text=True,
        )
    except subprocess.TimeoutExpired:
        return Look(CameraState.STALLED, _HUNG, limit)
    if done.returncode < 0:  # ended by a signal
        return Look(CameraState.NO_VIDEO, _CRASHED)
    done.check_returncode()
    told = json.loads(done.stdout)
    return Look(**{**told, "state": CameraState(told["state"])})
