"""Clips of a moving square, and a reader under observation."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from app.types import Camera, CameraState, Frame, Image
from workers.mailbox import Mailbox
from workers.patience import Patience
from workers.reader import CameraReader
from workers.simulator.certificate import make_certificate
from workers.simulator.clip import Clip

FPS = 25.0
SHORT = Patience(
    open=2.0, read=0.6, first_picture=6.0, steady=0.5, retry_first=0.2, retry_cap=0.4, hang=3.0, undecodable=10
)
DEADLINE = 20.0  # seconds until a test that waits in vain fails


def square(count: int, width: int = 320, height: int = 176) -> Iterator[Image]:
    """Yield pictures of a bright square that moves over a textured wall; RTP/JPEG needs sides in steps of 8."""
    wall = np.random.default_rng(0).integers(60, 120, (height, width, 3), np.uint8)
    for step in range(count):
        picture = wall.copy()
        x = step * 4 % (width - 60)
        picture[40:100, x : x + 60] = 220
        yield picture


@pytest.fixture(scope="session")
def clips() -> dict[str, Clip]:
    """One second of each codec, and H.264 of another size."""
    made = {codec: Clip.from_frames(square(25), FPS, codec) for codec in ("h264", "hevc", "mjpeg")}
    return made | {"large": Clip.from_frames(square(25, 640, 352), FPS)}


@dataclass(frozen=True)
class Certificate:
    """Files of a certificate for localhost and 127.0.0.1."""

    certificate: Path
    key: Path

    @property
    def pem(self) -> str:
        """What a client trusts."""
        return self.certificate.read_text()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Certificate, Certificate]:
    """Two that have nothing to do with each other."""
    made = []
    for name in ("camera", "other"):
        folder = tmp_path_factory.mktemp(name)
        made.append(Certificate(folder / "camera.pem", folder / "camera.key"))
        make_certificate(["localhost", "127.0.0.1"], made[-1].certificate, made[-1].key)
    return made[0], made[1]


@dataclass
class Watch:
    """A running reader and what it has said."""

    reader: CameraReader
    mailbox: Mailbox
    ready: threading.Event
    said: list[tuple[CameraState, str]] = field(default_factory=list)

    @property
    def states(self) -> list[CameraState]:
        """The states reported so far."""
        return [state for state, _ in self.said]

    @property
    def details(self) -> str:
        """All reasons reported so far."""
        return "; ".join(detail for _, detail in self.said)

    def frame(self, fits: Callable[[Frame], bool] = lambda frame: True) -> Frame:
        """Return the next frame that fits."""
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            self.ready.wait(0.1)
            self.ready.clear()
            frame = self.mailbox.take()
            if frame is not None and fits(frame):
                return frame
        raise AssertionError(f"no such frame came; the reader said {self.said}")

    def frame_from_now(self) -> Frame:
        """Return a frame captured after this call."""
        now = time.monotonic()
        return self.frame(lambda frame: frame.clock > now)

    def state(self, *wanted: CameraState) -> str:
        """Wait until the newest state is one of these and return its detail."""
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            if self.said and self.said[-1][0] in wanted:
                return self.said[-1][1]
            time.sleep(0.01)
        raise AssertionError(f"the reader never said {wanted}, but {self.said}")


WatchCamera = Callable[..., Watch]


@pytest.fixture
def watch() -> Iterator[WatchCamera]:
    """Return a function that starts a reader on a source; readers end with the test."""
    started: list[Watch] = []

    def begin(source: str, patience: Patience = SHORT, fps: float = FPS, **fields: object) -> Watch:
        ready = threading.Event()
        mailbox = Mailbox(ready)
        said: list[tuple[CameraState, str]] = []
        camera = Camera("cam-1", "main", "Door", source, fps=fps, **fields)  # type: ignore[arg-type]
        reader = CameraReader(camera, mailbox, lambda state, detail: said.append((state, detail)), patience)
        started.append(Watch(reader, mailbox, ready, said))
        reader.start()
        return started[-1]

    yield begin
    for observed in started:
        observed.reader.stop()
    for observed in started:
        assert observed.reader.join(DEADLINE)
