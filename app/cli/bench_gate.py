"""`cardea bench gate`: does the early exit leave still frames, and never a person?

Replays clips with truth through stem and gate as a camera would show them, and counts. Detections protect cells as
in the pipeline, but come from the whole net on every third of a second, whether the gate is open or not, and no
tracker holds the gate open: the figures are those of the rule alone. Videos without truth are judged by the net
itself: on frames where it finds a person, the gate should be open.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from app.cli.visit_clips import WARM_UP, VisitClip, video_frames, visit_clips
from app.types import Picture
from app.vision.artefact import shipped
from app.vision.detector import Detector
from app.vision.gate import Gate, make_gate, moving
from workers.picture import ArrayPicture

PROTECT_EVERY = 0.32  # s
EXITED_SHARE = 0.1  # of one second's frames may be open once the gate has "exited"
CERTAIN = 0.5  # score from which the net's own finding counts as a person on a video without truth
TIMED_FRAMES = 60
DRAWS = 2000  # of the bootstrap over clips
NOBODY = np.zeros((0, 4), np.float32)

Flags = NDArray[np.bool_]


@dataclass(slots=True)
class Counts:
    """What the gate did on one clip."""

    still: int = 0
    exited: int = 0  # still frames on which the gate was closed
    moving: int = 0
    opened: int = 0  # moving frames on which it was open
    standing: int = 0
    stood: int = 0  # frames of somebody standing still on which it was open
    seconds_to_exit: dict[str, float | None] = field(default_factory=dict)  # None: never before the next event


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--visits", type=Path, required=True, help="folder of clips with truth")
    parser.add_argument("--videos", type=Path, nargs="*", default=[], help="videos without truth, judged by the net")
    parser.add_argument("--rule", choices=("adaptive", "published"), default="adaptive")
    parser.add_argument("--stem", choices=("half", "cut"), help="where the features come from; the card's choice")
    parser.add_argument("--noise", choices=("clean", "seed"), default="clean", help="seed: noise as published")
    parser.add_argument("--fps", type=float, default=12.5)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure and return the figures.

    Raises:
        SetupError: there are no clips, or a video cannot be opened.
    """
    artefact = shipped("detector")
    detector = Detector(artefact, arguments.stem)
    clips = visit_clips(arguments.visits)
    counts = {}
    for clip in clips:
        counts[clip.name] = count(clip, *replay(clip, detector, arguments.rule, arguments.noise, arguments.fps))
        _say(f"{clip.name}: {counts[clip.name]}")
    return {
        "artefact": artefact.card.id,
        "rule": arguments.rule,
        "stem": detector.gate_stem,
        "noise": arguments.noise,
        "fps": arguments.fps,
        **summary(counts),
        "videos": {
            path.name: judged_by_net(path, detector, arguments.rule, arguments.fps) for path in arguments.videos
        },
        "cpu_ms": timings(clips[0], {stem: Detector(artefact, stem) for stem in ("half", "cut")}, arguments.rule),
    }


def replay(clip: VisitClip, detector: Detector, rule: str, noise: str, fps: float) -> tuple[NDArray[np.int64], Flags]:
    """Return the numbers of the frames shown and on which of them the gate was open."""
    gate = make_gate(rule)
    indices, opened = [], []
    protect_at = 0.0
    for index, picture in clip.pictures(fps, noise):
        clock = index / clip.fps
        glance = detector.look(picture)
        opened.append(gate.update(glance.features, clock, hold=False).open)
        indices.append(index)
        if clock >= protect_at - 1e-6:
            gate.protect(detector.finish(glance).boxes, picture.width, picture.height, clock)
            protect_at = clock + PROTECT_EVERY
    return np.array(indices), np.array(opened)


def count(clip: VisitClip, indices: NDArray[np.int64], opened: Flags) -> Counts:
    """Compare the frames on which the gate was open with the clip's truth."""
    judged = np.arange(len(indices)) >= WARM_UP
    still, moves = clip.still[indices] & judged, clip.moving[indices] & judged
    counts = Counts(
        still=int(still.sum()),
        exited=int((still & ~opened).sum()),
        moving=int(moves.sum()),
        opened=int((moves & opened).sum()),
    )
    for span in clip.standing:
        during = (indices >= span.start) & (indices < span.end)
        counts.standing += int(during.sum())
        counts.stood += int((during & opened).sum())
    for span in clip.permanent:
        after = (indices >= span.start) & (indices < span.end)
        counts.seconds_to_exit[span.what] = seconds_to_exit((indices[after] - span.start) / clip.fps, opened[after])
    return counts


def seconds_to_exit(clock: NDArray[np.float64], opened: Flags) -> float | None:
    """Return when a second begins that the gate spends closed but for a tenth of its frames; None: never.

    `clock` (n,) is the time of each frame since the change.
    """
    for first in np.flatnonzero(~opened):
        second = (clock >= clock[first]) & (clock < clock[first] + 0.95)
        if clock[-1] < clock[first] + 0.85:
            return None
        if opened[second].mean() <= EXITED_SHARE:
            return round(float(clock[first]), 2)
    return None


def summary(counts: dict[str, Counts]) -> dict[str, Any]:
    """Pool the clips' counts into rates with intervals."""
    every = list(counts.values())
    changes = {
        f"{name}/{what}": seconds for name, one in counts.items() for what, seconds in one.seconds_to_exit.items()
    }
    return {
        "exit_rate_still": rate([one.exited for one in every], [one.still for one in every]),
        "open_rate_moving": rate([one.opened for one in every], [one.moving for one in every]),
        "standing_open": rate([one.stood for one in every], [one.standing for one in every]),
        "seconds_to_exit": changes,
        "clips": {
            name: {"still": one.still, "exited": one.exited, "moving": one.moving, "opened": one.opened}
            for name, one in counts.items()
        },
    }


def rate(hits: Sequence[int], totals: Sequence[int]) -> dict[str, Any]:
    """Return the pooled rate with two 95 % intervals.

    ``clips95``: bootstrap over clips, for frames of one clip are alike; blind where all clips agree, absent for one.
    ``wilson95``: over frames as if they were independent, so too narrow, but never empty.
    """
    hit, total = np.array(hits, np.float64), np.array(totals, np.float64)
    hit, total = hit[total > 0], total[total > 0]
    if not len(total):
        return {"rate": None, "of": 0}
    pooled = {
        "rate": round(float(hit.sum() / total.sum()), 4),
        "of": int(total.sum()),
        "wilson95": [round(bound, 4) for bound in wilson(hit.sum(), total.sum())],
    }
    if len(total) == 1:
        return pooled
    rows = np.random.default_rng(0).integers(0, len(hit), (DRAWS, len(hit)))
    drawn = hit[rows].sum(axis=1) / total[rows].sum(axis=1)
    return {**pooled, "clips95": [round(float(bound), 4) for bound in np.quantile(drawn, [0.025, 0.975])]}


def wilson(hits: float, total: float) -> tuple[float, float]:
    """Return the 95 % score interval of a proportion (Wilson 1927)."""
    z = 1.959964
    share = hits / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * np.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(float(centre - half), 0.0), min(float(centre + half), 1.0)


def judged_by_net(path: Path, detector: Detector, rule: str, fps: float) -> dict[str, Any]:
    """Count on a video without truth. Detections reach the gate on open frames alone, as in the pipeline."""
    gate = make_gate(rule)
    native = cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS)
    opened, peopled = [], []
    for index, image in video_frames(path, native, fps):
        picture = ArrayPicture(image)
        glance = detector.look(picture)
        motion = gate.update(glance.features, index / native, hold=False)
        found = detector.finish(glance)
        if motion.open:
            gate.protect(found.boxes, picture.width, picture.height, index / native)
        opened.append(motion.open)
        peopled.append(bool((found.scores >= CERTAIN).any()))
    is_open, people = np.array(opened)[WARM_UP:], np.array(peopled)[WARM_UP:]
    _say(f"{path.name}: {len(is_open)} frames")
    return {
        "exit_rate": rate([int((~is_open).sum())], [len(is_open)]),
        "open_with_person": rate([int((is_open & people).sum())], [int(people.sum())]),
    }


def timings(clip: VisitClip, detectors: dict[str, Detector], rule: str) -> dict[str, float]:
    """Return the median CPU ms of a still and an open frame per stem, and of the net alone, measured in turns."""
    pictures = [picture for _, picture in clip.pictures(clip.fps * TIMED_FRAMES / clip.frames, "clean")]
    gates = {stem: make_gate(rule) for stem in detectors}
    spent: dict[str, list[float]] = {}
    for turn, picture in enumerate(pictures):
        for stem, detector in detectors.items():
            for kind, step in (("still", _still), ("open", _open)):
                start = time.thread_time()  # CPU time: other work on the machine lengthens it less than the wall's
                step(detector, gates[stem], picture, turn / clip.fps)
                spent.setdefault(f"{stem} {kind}", []).append(time.thread_time() - start)
        start = time.thread_time()
        detectors["cut"].finish(detectors["cut"].look(picture))
        spent.setdefault("no gate", []).append(time.thread_time() - start)
    return {name: round(float(np.median(seconds)) * 1e3, 2) for name, seconds in spent.items()}


def _still(detector: Detector, gate: Gate, picture: Picture, clock: float) -> None:
    """Do what a frame that exits costs."""
    gate.update(detector.look(picture).features, clock, hold=False)


def _open(detector: Detector, gate: Gate, picture: Picture, clock: float) -> None:
    """Do what a frame that goes on costs, as far as the motion filter."""
    glance = detector.look(picture)
    motion = gate.update(glance.features, clock, hold=True)
    found = detector.finish(glance)
    gate.protect(found.boxes, picture.width, picture.height, clock)
    moving(found, motion, NOBODY, picture.width, picture.height)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
