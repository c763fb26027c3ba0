"""Clips with truth for measuring a gate: which frames are still, which show people and where, what changed for good.

A clip is a video and a zip file of masks, ``000123.png`` for frame 123 (counted from 0) if something moves in it; 255
marks people. A file ``NAME.json`` beside the video may add ``fps``, ``still`` (ranges of frames, ends included),
``events`` (``type``, ``start``, ``end``, ``permanent``) and ``source``, the scene. Without it every frame that has no
mask is still.
"""

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from app.errors import SetupError
from app.types import Array, Image

PEOPLE = 255  # grey level of people in a mask
LEAST_PEOPLE = 0.002  # share of a mask that must be people for the frame to count as moving
WARM_UP = 5  # frames in the beginning that count as neither
NEAR = 60  # frames before somebody comes and after, in which finds are compared with the truth
GRACE = 10.0  # s after a permanent change that are judged by the time to exit, not as still frames
CUT = "cut_to_plate"  # a permanent change that the making of a clip put in, not the scene
STANDS = "stands_still"  # somebody stands without moving

LEAST_AREA = 0.004  # of the picture, for a component of a mask to be a person who must be found; less is ignored
LEAST_HEIGHT = 0.1  # of the picture's
CLOSING = 40  # the mask is closed with a square of this part of its height: 9 pixels of 360

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of frames, from the first to before `end`."""

    what: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Event:
    """Something that happens in a clip, frames `start` to `end`."""

    what: str
    start: int
    end: int
    permanent: bool

    @property
    def over(self) -> int:
        """The frame in which it is complete; what happens in a single frame is over at once."""
        return self.end + (self.end > self.start)


@dataclass(frozen=True, slots=True)
class _Truth:
    """What is known of a clip besides its masks."""

    fps: float
    still: Sequence[tuple[int, int]]  # ranges of frames, ends included
    events: Sequence[_Event]
    scene: str


@dataclass(frozen=True, slots=True)
class People:
    """The people of one frame: boxes in shares of the picture."""

    boxes: Array  # (n, 4) must be found
    ignored: Array  # (m, 4) too small to be asked for


@dataclass(frozen=True, slots=True)
class VisitClip:
    """One clip and its truth."""

    path: Path
    masks: Path
    scene: str  # what the camera looks at; clips of one scene share it
    fps: float
    still: Flags  # (frames,) nothing moves
    still_with_cuts: Flags  # (frames,) the same, with the seconds after a cut as ordinary still frames
    moving: Flags  # (frames,) people are in the picture
    near: Flags  # (frames,) `NEAR` frames or less from one with a mask
    people: dict[int, People]  # by frame; frames without a mask have none
    permanent: tuple[Span, ...]  # from the end of each permanent change to the next event
    standing: tuple[Span, ...]  # somebody stands without moving

    @property
    def name(self) -> str:
        """File name without its ending."""
        return self.path.stem

    def frames(self, fps: float | None = None) -> Iterator[tuple[int, Image]]:
        """Yield (frame number, BGR picture) as a camera of `fps` would show the clip; None: every frame."""
        return video_frames(self.path, self.fps, fps or self.fps)


def read_clips(videos: Sequence[Path], masks: Sequence[Path]) -> list[VisitClip]:
    """Read the truth of clips; `masks` has the zip file of each video, in the same order.

    Raises:
        SetupError: the lists or the files of a clip do not fit, two clips share a name, or a file cannot be read.
    """
    if len(videos) != len(masks):
        raise SetupError(f"{len(videos)} clips and {len(masks)} mask files: give one ZIP for each MP4, in one order")
    names = [path.stem for path in videos]
    if len(set(names)) < len(names):
        raise SetupError(f"clips need different names: {', '.join(sorted({n for n in names if names.count(n) > 1}))}")
    return [_read(video, archive) for video, archive in zip(videos, masks, strict=True)]


def video_frames(path: Path, native_fps: float, fps: float) -> Iterator[tuple[int, Image]]:
    """Yield (frame number, BGR picture) of a video, leaving out frames so that `fps` are left of each second.

    Raises:
        SetupError: the file cannot be opened as a video, or a frame of it not be decoded.
    """
    capture = _opened(path)
    step = max(native_fps / fps, 1.0)
    due, index = 0.0, 0
    while capture.grab():
        if index >= round(due):
            read, image = capture.retrieve()
            if not read:
                raise SetupError(f"{path}: frame {index} cannot be decoded")
            yield index, np.asarray(image, np.uint8)
            due += step
        index += 1
    capture.release()


def masks(path: Path) -> Iterator[tuple[int, Image]]:
    """Yield (frame number, mask (H, W)) of a zip file, by frame number.

    Raises:
        SetupError: it is no zip file of ``000123.png``, or empty.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = {_number(Path(name).stem): name for name in archive.namelist() if name.endswith(".png")}
            if not names:
                raise ValueError("it holds none")
            for index in sorted(names):
                encoded = np.frombuffer(archive.read(names[index]), np.uint8)
                yield index, np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.uint8)
    except (OSError, ValueError, TypeError, zipfile.BadZipFile, cv2.error) as error:
        raise SetupError(f"{path} is no zip file of masks named by frame, such as 000123.png ({error})") from error


def rate_and_length(path: Path) -> tuple[float, int]:
    """Return frames per second and the number of frames of a video, counted: containers often say it wrongly.

    Raises:
        SetupError: the file cannot be opened as a video, or holds no frame.
    """
    capture, frames = _opened(path), 0
    while capture.grab():
        frames += 1
    if not frames:
        raise SetupError(f"{path} holds no frame that can be decoded")
    return float(capture.get(cv2.CAP_PROP_FPS)), frames


def components(mask: Image) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the people of a mask (H, W): labels (H, W) from 1 on, 0 elsewhere, and (n, 5) x, y, width, height, area.

    Gaps of up to a fortieth of the height are closed first: a silhouette is often in pieces.
    """
    size = max(3, mask.shape[0] // CLOSING | 1)
    closed = cv2.morphologyEx((mask == PEOPLE).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((size, size), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(closed)
    return np.asarray(labels, np.int32), np.asarray(stats[1:], np.int32)


def _read(path: Path, archive: Path) -> VisitClip:
    beside = path.with_suffix(".json")
    native, frames = rate_and_length(path)
    truth = _truth(beside, native, frames) if beside.exists() else _Truth(native, [(0, frames - 1)], [], path.stem)
    if not 0 < truth.fps < np.inf:
        raise SetupError(f"{path} does not say its frame rate: write it as fps into {beside.name}")
    masked, moving, people = np.zeros(frames, bool), np.zeros(frames, bool), {}
    for index, mask in masks(archive):
        if index >= frames:
            raise SetupError(f"{archive} masks frame {index} and {path} has {frames} frames: do they belong together?")
        masked[index] = True
        moving[index] = np.mean(mask == PEOPLE) > LEAST_PEOPLE
        people[index] = _people(mask)
    moving[:WARM_UP] = False
    still = _ranges(truth.still, frames) & ~masked
    permanent = [event for event in truth.events if event.permanent]
    return VisitClip(
        path,
        archive,
        truth.scene,
        truth.fps,
        still & ~_graces(permanent, truth.fps, frames),
        still & ~_graces([event for event in permanent if event.what != CUT], truth.fps, frames),
        moving,
        _near(masked),
        people,
        tuple(_aftermath(event, truth.events, frames) for event in permanent),
        tuple(Span(event.what, event.start, event.end + 1) for event in truth.events if event.what == STANDS),
    )


def _truth(path: Path, native_fps: float, frames: int) -> _Truth:
    try:
        raw = json.loads(path.read_text())
        if raw.get("frames", frames) != frames:
            raise ValueError(f"it says {raw['frames']} frames and the video has {frames}")
        events = [_event(one, frames) for one in raw.get("events", [])]
        still = [_range(first, last, frames) for first, last in raw.get("still", [[0, frames - 1]])]
        return _Truth(float(raw.get("fps", native_fps)), still, events, str(raw.get("source", path.stem)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SetupError(f"{path} is no truth of a clip: see models/evaluate/visits.py ({error!r})") from error


def _event(raw: Mapping[str, Any], frames: int) -> _Event:
    first, last = _range(raw["start"], raw.get("end", raw["start"]), frames)
    return _Event(str(raw["type"]), first, last, bool(raw.get("permanent")))


def _range(first: object, last: object, frames: int) -> tuple[int, int]:
    """Return a range of frames, ends included, that lies in the clip."""
    if not (isinstance(first, int) and isinstance(last, int) and 0 <= first <= last < frames):
        raise ValueError(f"{first} to {last} are no frames of 0 to {frames - 1}")
    return first, last


def _number(name: str) -> int:
    if not name.isdecimal():
        raise ValueError(f"{name} is no number of a frame")
    return int(name)


def _opened(path: Path) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise SetupError(f"{path} cannot be opened as a video")
    return capture


def _people(mask: Image) -> People:
    height, width = mask.shape
    x, y, w, h, area = components(mask)[1].T.astype(np.float32)
    boxes = np.stack([x / width, y / height, (x + w) / width, (y + h) / height], axis=1)
    wanted = (area >= LEAST_AREA * height * width) & (h >= LEAST_HEIGHT * height)
    return People(boxes[wanted], boxes[~wanted])


def _ranges(ranges: Sequence[tuple[int, int]], frames: int) -> Flags:
    """Return (frames,) which frames lie in one of the ranges; the first five lie in none."""
    inside = np.zeros(frames, bool)
    for first, last in ranges:
        inside[first : last + 1] = True
    inside[:WARM_UP] = False
    return inside


def _near(masked: Flags) -> Flags:
    """Return (frames,) which frames are near one with a mask; the first five are not."""
    near = np.convolve(masked, np.ones(2 * NEAR + 1), "full")[NEAR:-NEAR] > 0
    near[:WARM_UP] = False
    return near


def _graces(events: Sequence[_Event], fps: float, frames: int) -> Flags:
    """Return (frames,) which frames are judged by the time to exit."""
    inside = np.zeros(frames, bool)
    for event in events:
        inside[event.over : event.over + int(GRACE * fps)] = True
    return inside


def _aftermath(event: _Event, events: Sequence[_Event], frames: int) -> Span:
    ends = min((other.start for other in events if other is not event and other.start >= event.over), default=frames)
    return Span(event.what, event.over, ends)
