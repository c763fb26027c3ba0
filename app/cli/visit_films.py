"""The films of `cardea bench visits`: each camera shows visit after visit, with an empty hallway before and between.

The hallway stays empty for so long that whatever is decided about one visitor is decided before the next one comes.
"""

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from app.cli.visit_counts import LAST_WORD, Span
from app.types import Image
from workers.simulator import walkers
from workers.simulator.encode import KEY_FRAME_SECONDS, encode
from workers.simulator.people import NOISE, Cutout, hallway, noisy

SIZE = (640, 480)
FPS = 12.0
BITS = 400_000  # a second: what cheap cameras spend on a stream of this size
LEAD = 6.0  # seconds of empty hallway in which a camera comes online
GAP = 6.0  # between visits: the last word on one, and longer than a face that comes back goes on with its visit (4 s)


@dataclass(frozen=True, slots=True)
class Scene:
    """One visit to be filmed."""

    cutout: Cutout
    walk: walkers.Walk


def spans(visits: int) -> list[Span]:
    """Return when each visitor of a film appears and has gone, in seconds of the film."""
    starts = [LEAD + number * (walkers.SECONDS + GAP) for number in range(visits)]
    return [Span(start, start + walkers.SECONDS) for start in starts]


def length(visits: int) -> float:
    """Return the seconds of a film; in its last ones the last word is spoken."""
    return spans(visits)[-1].leaves + LAST_WORD + 1.0


def film(scenes: Sequence[Scene], path: Path, seed: int) -> None:
    """Write the film of one camera, H.264."""
    empty = hallway(*SIZE)
    encode(noisy(_pictures(scenes, empty), seed), path, FPS, options={"b": str(BITS)})


def film_all(programme: Sequence[Sequence[Scene]], folder: Path, seed: int) -> list[Path]:
    """Write the films of all cameras, two at a time."""
    paths = [folder / f"camera-{number + 1}.mp4" for number in range(len(programme))]
    with ThreadPoolExecutor(2) as pool:
        made = [
            pool.submit(film, scenes, path, seed + number)
            for number, (scenes, path) in enumerate(zip(programme, paths, strict=True))
        ]
        for number, one in enumerate(made, 1):
            one.result()
            print(f"filmed {number} of {len(made)}", file=sys.stderr, flush=True)
    return paths


def settings() -> dict[str, Any]:
    """Return what decides how hard the films are."""
    return {
        "size": SIZE,
        "fps": FPS,
        "codec": "h264",
        "bits_per_second": BITS,
        "key_frame_seconds": KEY_FRAME_SECONDS,
        "visit_seconds": {"come": walkers.COME, "stand": walkers.STAND, "go": walkers.GO},
        "empty_seconds": {"before": LEAD, "between": GAP},
        "face_px": {"standing": walkers.FACE, "appearing": walkers.FAR, "leaving": walkers.LEAVING},
        "light": walkers.LIGHT,
        "shutter_seconds": walkers.SHUTTER,
        "focus_blur_px": {"appearing": walkers.FAR_BLUR, "standing": 0.0},
        "noise_grey_levels": NOISE,
    }


def _pictures(scenes: Sequence[Scene], empty: Image) -> Iterator[Image]:
    parts: list[Iterator[Image]] = [_still(empty, LEAD)]
    for number, scene in enumerate(scenes):
        visitor = walkers.figure(scene.cutout, scene.walk.coat)
        parts.append(walkers.walking(visitor, empty, scene.walk, FPS))
        last = number == len(scenes) - 1
        parts.append(_still(empty, LAST_WORD + 1.0 if last else GAP))
    return chain.from_iterable(parts)


def _still(empty: Image, seconds: float) -> Iterator[Image]:
    return repeat(empty, round(seconds * FPS))
