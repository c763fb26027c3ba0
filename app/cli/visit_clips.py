"""Clips with truth for measuring the gate: which frames are still, which show people, what changed for good.

A clip is ``NAME.mp4``, ``NAME.json`` (fps, frames, still ranges, events) and ``NAME_masks.zip``, which holds a mask
``000123.png`` for every frame (counted from 0) with something moving; 255 marks the people.
"""

import json
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from app.errors import SetupError
from app.types import Image
from workers.picture import ArrayPicture

PEOPLE = 255  # grey level of people in a mask
LEAST_PEOPLE = 0.002  # share of a mask that must be people for the frame to count as moving
WARM_UP = 5  # frames in the beginning that count as neither
GRACE = 10.0  # s after a permanent change that are judged by the time to exit, not as still frames


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of frames, from the first to before `end`."""

    what: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class VisitClip:
    """One clip and its truth."""

    path: Path
    fps: float
    frames: int
    still: NDArray[np.bool_]  # (frames,) nothing moves
    moving: NDArray[np.bool_]  # (frames,) people are in the picture
    permanent: tuple[Span, ...]  # from the end of each permanent change to the next event
    standing: tuple[Span, ...]  # somebody stands without moving

    @property
    def name(self) -> str:
        """File name without its ending."""
        return self.path.stem

    def pictures(self, fps: float, noise: str) -> Iterator[tuple[int, ArrayPicture]]:
        """Yield (frame number, picture) as a camera of `fps` would show the clip; `noise` is ``clean`` or ``seed``."""
        for index, image in video_frames(self.path, self.fps, fps):
            yield index, ArrayPicture(image if noise == "clean" else with_seed_noise(image, self.name, index))


def visit_clips(folder: Path) -> list[VisitClip]:
    """Read the truth of all clips of a folder.

    Raises:
        SetupError: there are none.
    """
    clips = [_read(path) for path in sorted(folder.glob("*.mp4")) if path.with_suffix(".json").exists()]
    if not clips:
        raise SetupError(f"{folder} holds no clips with truth (NAME.mp4, NAME.json, NAME_masks.zip)")
    return clips


def video_frames(path: Path, native_fps: float, fps: float) -> Iterator[tuple[int, Image]]:
    """Yield (frame number, BGR picture) of a video, leaving out frames so that `fps` are left of each second.

    Raises:
        SetupError: the file cannot be opened as a video.
    """
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise SetupError(f"{path} cannot be opened as a video")
    step = max(native_fps / fps, 1.0)
    due, index = 0.0, 0
    while capture.grab():
        if index >= round(due):
            yield index, np.asarray(capture.retrieve()[1], np.uint8)
            due += step
        index += 1
    capture.release()


def with_seed_noise(image: Image, name: str, index: int) -> Image:
    """Return the picture with the noise of the published evaluation, the same for the same clip and frame.

    Every pixel and channel is multiplied by N(0.8, 0.3); then the frame is stretched to 0..255.
    """
    random = np.random.Generator(np.random.SFC64([zlib.crc32(name.encode()), index]))
    noisy = image * (random.standard_normal(image.shape, dtype=np.float32) * np.float32(0.3) + np.float32(0.8))
    low, high = noisy.min(), noisy.max()
    return np.asarray((noisy - low) * (255 / (high - low)), np.uint8)


def _read(path: Path) -> VisitClip:
    truth = json.loads(path.with_suffix(".json").read_text())
    frames, fps = int(truth["frames"]), float(truth["fps"])
    masked, moving = _masks(path.with_name(f"{path.stem}_masks.zip"), frames)
    still = np.zeros(frames, bool)
    for first, last in truth["still"]:
        still[first : last + 1] = True
    still &= ~masked
    permanent = tuple(_aftermath(event, truth["events"], frames) for event in truth["events"] if event.get("permanent"))
    for span in permanent:
        still[span.start : span.start + int(GRACE * fps)] = False
    still[:WARM_UP] = moving[:WARM_UP] = False
    standing = tuple(
        Span(event["type"], event["start"], event["end"] + 1)
        for event in truth["events"]
        if event["type"] == "stands_still"
    )
    return VisitClip(path, fps, frames, still, moving, permanent, standing)


def _masks(path: Path, frames: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which frames have a mask and which of them show enough people."""
    masked, moving = np.zeros(frames, bool), np.zeros(frames, bool)
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            mask = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_GRAYSCALE)
            index = int(Path(name).stem)
            masked[index] = True
            moving[index] = np.mean(mask == PEOPLE) > LEAST_PEOPLE
    return masked, moving


def _aftermath(event: dict[str, Any], events: list[dict[str, Any]], frames: int) -> Span:
    start = event["end"] + (event["end"] > event["start"])  # a change of one frame is over at once
    return Span(
        event["type"], start, min((other["start"] for other in events if other["start"] > start), default=frames)
    )
