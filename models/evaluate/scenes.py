"""`cardea models evaluate scenes`: the gate's constants chosen with each scene left out, and judged on that scene.

Every setting of a grid replays every clip, clean and with noise: nets see each frame once, and the gate is cheap. The
setting that is best on all scenes but one then answers for that one. What it does there owes nothing to its frames, so
the pooled figures tell how the rule fares before a camera that nobody has tuned it on.
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import cv2

from app.errors import SetupError
from app.types import Array
from app.vision import gate_noise, gate_settling
from app.vision.artefact import shipped
from app.vision.detector import Detector
from app.vision.gate import AdaptiveGate
from app.vision.picture import Converter, as_camera
from models.commands import say
from models.evaluate.counts import Counts, Replay, count, rates, seconds_to_exit
from models.evaluate.gating import shown
from models.evaluate.subjects import person_net
from models.evaluate.visits import VisitClip, read_clips

NOISES = ("none", "seed")
CONSTANTS = {"dwell": (gate_settling, "DWELL"), "sigmas": (gate_noise, "SIGMAS"), "lone": (gate_settling, "LONE")}
GRID = {"dwell": (5.0, 6.0, 7.5, 9.0), "sigmas": (6.0, 7.0, 8.0), "lone": (1.0, 1.1, 1.25)}
LEAST_OPEN = 0.998  # of the frames with people; a setting that misses more is not chosen while another is there
ALIKE = 0.001  # of the still frames: the clips cannot tell such rates apart
MOST_SECONDS = 10.0  # until the gate exits after a permanent change, likewise

Setting = tuple[float, ...]  # values in the order of `CONSTANTS`


@dataclass(frozen=True, slots=True)
class Shown:
    """One frame as nets see it, whatever the gate's constants are."""

    index: int
    features: Array  # (C, h, w) of the gate's stem
    persons: Array  # (n, 4) boxes in pixels from the score on that the runtime is sure of
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one setting did on one clip."""

    scene: str
    noise: str
    counts: Counts
    slowest: float  # seconds to exit after a permanent change; infinite: never, 0 without any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--clip", type=Path, nargs="+", required=True, metavar="MP4", help="clips, NAME.json beside")
    parser.add_argument("--masks", type=Path, nargs="+", required=True, metavar="ZIP", help="of each clip, in order")


def evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Replay all settings and return how each scene fared with the setting chosen on the others.

    Raises:
        SetupError: clips and masks do not fit, a file cannot be read, or all clips show one scene.
    """
    cv2.setNumThreads(1)
    clips = read_clips(arguments.clip, arguments.masks)
    scenes = sorted({clip.scene for clip in clips})
    if len(scenes) < 2:
        raise SetupError("leaving a scene out takes two at least: give clips of more than one `source`")
    detector = person_net(shipped("detector"))
    outcomes: dict[Setting, list[Outcome]] = {setting: [] for setting in product(*GRID.values())}
    for noise, clip in product(NOISES, clips):
        frames = list(_seen(clip, noise, detector))
        for setting, done in outcomes.items():
            done.append(_replay(setting, clip, noise, frames))
        say(f"{noise} {clip.name}: {len(outcomes)} settings")
    chosen = {scene: choose(outcomes, scene) for scene in scenes}
    held_out = [one for scene in scenes for one in outcomes[chosen[scene]] if one.scene == scene]
    shipped_setting = tuple(float(getattr(module, name)) for module, name in CONSTANTS.values())
    return {
        "artefact": {"id": detector.card.id, "sha256": detector.card.files},
        "grid": GRID,
        "held_out": summed(held_out),
        "chosen_without": {scene: dict(zip(CONSTANTS, setting, strict=True)) for scene, setting in chosen.items()},
        "shipped": dict(zip(CONSTANTS, shipped_setting, strict=True)) | summed(outcomes[shipped_setting]),
    }


def choose(outcomes: dict[Setting, list[Outcome]], left_out: str) -> Setting:
    """Return the setting that is best on all other scenes, clean and with noise.

    It misses nobody there and exits in time after changes, if any does, and leaves most still frames. Of those that
    leave `ALIKE` fewer at most the most careful is taken: a still frame too many costs 5 ms, a person who is absorbed
    stands before a closed door.
    """

    def left(setting: Setting) -> tuple[bool, float]:
        others = [one for one in outcomes[setting] if one.scene != left_out]
        found = [rates([one.counts for one in others if one.noise == noise]) for noise in NOISES]
        fit = all(one["open_rate_moving"]["rate"] >= LEAST_OPEN for one in found)
        prompt = all(one.slowest <= MOST_SECONDS for one in others)
        return fit and prompt, sum(one["exit_rate_still"]["rate"] for one in found) / len(found)

    merits = {setting: left(setting) for setting in outcomes}
    fits, most = max(merits.values())
    return max((each for each, (fit, exits) in merits.items() if fit == fits and exits >= most - ALIKE), key=_care)


def _care(setting: Setting) -> Setting:
    """Order settings by care: they wait longer before something is background, and lesser motion opens the gate."""
    dwell, sigmas, lone = setting
    return dwell, -sigmas, -lone


def summed(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return rates with intervals by noise, and the slowest exit."""
    return {
        noise: rates([one.counts for one in outcomes if one.noise == noise])
        | {"slowest_s": max(one.slowest for one in outcomes if one.noise == noise)}
        for noise in NOISES
    }


def _seen(clip: VisitClip, noise: str, detector: Detector) -> Iterator[Shown]:
    converter = Converter()
    for index, image in shown(clip, None, noise, None):
        picture = as_camera(image, converter)
        glance = detector.look(picture)
        found = detector.finish(glance)
        sure = found.boxes[found.scores >= detector.sure]
        yield Shown(index, glance.features.copy(), sure, picture.width, picture.height)


def _replay(setting: Setting, clip: VisitClip, noise: str, frames: Sequence[Shown]) -> Outcome:
    replay = Replay()
    with _constants(setting):
        gate = AdaptiveGate()
        for frame in frames:
            clock = frame.index / clip.fps
            motion = gate.update(frame.features, clock, hold=False)
            if motion.open:
                gate.protect(frame.persons, frame.width, frame.height, clock)
            replay.indices.append(frame.index)
            replay.opened.append(motion.open)
    waits = seconds_to_exit(clip, replay).values()
    slowest = max((float("inf") if wait is None else wait for wait in waits), default=0.0)
    return Outcome(clip.scene, noise, count(clip, replay, {}), slowest)


@contextmanager
def _constants(setting: Setting) -> Iterator[None]:
    """Put other values in the place of the gate's constants; the runtime has one setting and no way to change it."""
    before = [getattr(module, name) for module, name in CONSTANTS.values()]
    try:
        for (module, name), value in zip(CONSTANTS.values(), setting, strict=True):
            setattr(module, name, value)
        yield
    finally:
        for (module, name), value in zip(CONSTANTS.values(), before, strict=True):
            setattr(module, name, value)
