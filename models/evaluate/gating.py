"""`cardea models evaluate gating`: does an early exit leave still frames, keep every person, and save time?

Replays clips with truth through one gate as a camera would show them. Reproduces the evaluation of feature-level
background modelling (arXiv 2011.07513), its noise and its pasted figure included, and compares its rule with the
runtime's gate and with gates on pixels. What counts as still, moving and found is in `visits` and `counts`.

Rates are over all frames. Finds, for AP50 and for persons seen on the pasted figure, are those of every second frame
from 60 frames before somebody comes until 60 after: emptier film would only add chances for mistakes.
"""

import argparse
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from app.options import positive
from app.types import Detections, Image
from app.vision.picture import Converter, as_camera
from models.commands import add_cache, say
from models.detection.finding import FLOOR
from models.evaluate.counts import (
    Counts,
    Finds,
    Replay,
    auc,
    compare,
    count,
    drawn,
    precision,
    rates,
    seconds_to_exit,
)
from models.evaluate.decoy import Decoy, make_decoys
from models.evaluate.modes import MODES, Contest, Wanted, plain_net, prepare
from models.evaluate.noise import as_published, disturbed
from models.evaluate.published import BLOCKS
from models.evaluate.visits import NEAR, WARM_UP, VisitClip, read_clips

FINDS_EVERY = 2  # frames, while somebody is near; on the others nobody asks who is in the picture
TIMED_EVERY = 8  # frames; these are run through the plain net too


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that is said of one clip, still in whole numbers."""

    name: str
    counts: Counts
    finds: Finds
    auc: float | None
    mode_ms: list[float]
    whole_ms: list[float]
    seconds_to_exit: dict[str, float | None]
    decoy: Decoy | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_clips(parser)
    parser.add_argument("--mode", choices=MODES, required=True)
    parser.add_argument("--cut", choices=BLOCKS, default="b06", help="published: the block whose map is compared")
    parser.add_argument(
        "--threshold", type=positive, help="of the gate; published and pixel modes have their own default"
    )
    parser.add_argument(
        "--precision",
        choices=("int8", "fp32"),
        help="of the mode's nets and of the plain net beside it (what suits the processor; published: fp32 alone)",
    )


def add_clips(parser: argparse.ArgumentParser) -> None:
    """Declare what is shown to a gate."""
    parser.add_argument(
        "--clip", type=Path, nargs="+", required=True, metavar="MP4", help="clips; NAME.json may be beside"
    )
    parser.add_argument(
        "--masks", type=Path, nargs="+", required=True, metavar="ZIP", help="masks of each clip, in order"
    )
    parser.add_argument("--noise", choices=("none", "seed"), default="none", help="seed: as published")
    parser.add_argument("--decoy", action="store_true", help="paste a still person into every frame, as published")
    parser.add_argument("--fps", type=positive, help="frames a second that the gate sees; all by default")
    add_cache(parser)


def evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure one mode and return the figures.

    Raises:
        SetupError: clips and masks do not fit, a file cannot be read, or a net cannot be fetched.
    """
    wanted = Wanted(arguments.mode, arguments.cache, arguments.cut, arguments.threshold, arguments.precision)
    contest = prepare(wanted)
    ((_, results),) = measured(arguments, [contest])
    return {
        "mode": arguments.mode,
        "parameters": contest.parameters,
        "artefact": contest.artefact,
        **conditions(arguments, contest),
        "pooled": pooled(results),
        "clips": {one.name: per_clip(one) for one in results},
    }


def conditions(arguments: argparse.Namespace, contest: Contest) -> dict[str, Any]:
    """Return under which conditions figures were measured."""
    return {
        "precision": contest.whole.precision,
        "noise": arguments.noise,
        "fps": arguments.fps,
        "finds_every": FINDS_EVERY,
        "finds_within": NEAR,
        "timed_every": TIMED_EVERY,
        "ap_least_score": FLOOR,
        "person_score": contest.person_score,
    }


def measured(arguments: argparse.Namespace, contests: Iterable[Contest]) -> Iterator[tuple[Contest, list[Result]]]:
    """Yield one contest after another with its results on all clips.

    The net in fp32 chooses figures and places for all, so that every mode and precision is shown the same.
    """
    cv2.setNumThreads(1)
    clips = read_clips(arguments.clip, arguments.masks)
    disturb = partial(as_published, arguments.noise)
    decoys = make_decoys(clips, plain_net("fp32"), disturb) if arguments.decoy else {}
    for contest in contests:
        results = []
        for clip in clips:
            results.append(measure(clip, contest, decoys.get(clip.name), arguments.noise, arguments.fps))
            say(f"{contest.parameters} {clip.name}: {results[-1].counts}")
        yield contest, results


def measure(clip: VisitClip, contest: Contest, decoy: Decoy | None, noise: str, fps: float | None) -> Result:
    """Show one clip to a new gate, with a figure pasted into it if there is one."""
    height, width = next(clip.frames())[1].shape[:2]
    replay = replayed(shown(clip, decoy, noise, fps), clip, contest)
    on_figure = (
        {}
        if decoy is None
        else {index: _on_figure(found, decoy, contest.person_score) for index, found in replay.finds.items()}
    )
    return Result(
        clip.name,
        count(clip, replay, on_figure),
        compare(clip, replay, width, height),
        auc(clip, replay),
        replay.mode_ms,
        replay.whole_ms,
        seconds_to_exit(clip, replay),
        decoy,
    )


def shown(clip: VisitClip, decoy: Decoy | None, noise: str, fps: float | None) -> Iterator[tuple[int, Image]]:
    """Yield (frame number, BGR picture): figure, then noise, then JPEG as in the published evaluation.

    JPEG belongs to the figure's protocol; without a figure, and without noise, pictures stay as they are decoded.
    """
    for index, image in clip.frames(fps):
        if decoy is None:
            yield index, disturbed(noise, image, clip.name, index)
        else:
            yield index, as_published(noise, decoy.pasted(image), clip.name, index)


def replayed(frames: Iterator[tuple[int, Image]], clip: VisitClip, contest: Contest) -> Replay:
    """Run a new gate over a clip's frames; the plain net runs beside it, in turns on the same frames."""
    mode, replay, near = contest.make(), Replay(), 0
    converter = Converter()  # one for a camera, as the workers have
    for turn, (index, image) in enumerate(frames):
        picture = as_camera(image, converter)
        near += clip.near[index]
        counts = clip.near[index] and near % FINDS_EVERY == 1
        timed = turn >= WARM_UP and (turn - WARM_UP) % TIMED_EVERY == 0
        start = time.thread_time()  # CPU time: other work on the machine lengthens it less than the wall's
        judgement = mode.judge(picture, index / clip.fps)
        found = mode.detect() if judgement.open and (counts or timed) else Detections.empty()
        spent = time.thread_time() - start
        if counts:
            replay.finds[index] = found
        if timed:
            replay.mode_ms.append(spent * 1e3)
            start = time.thread_time()
            contest.whole.finish(contest.whole.look(picture))
            replay.whole_ms.append((time.thread_time() - start) * 1e3)
        replay.indices.append(index)
        replay.opened.append(judgement.open)
        replay.scores.append(judgement.score)
    return replay


def per_clip(one: Result) -> dict[str, Any]:
    """Return the figures of one clip."""
    figures = {
        **_figures([one]),
        "auc": _rounded(one.auc),
        "ms_mean": _mean(one.mode_ms),
        "ms_full": _mean(one.whole_ms),
        "seconds_to_exit": one.seconds_to_exit,
    }
    if one.decoy is not None:
        x1, y1, x2, y2 = one.decoy.box.astype(int).tolist()
        figure = one.decoy.figure
        figures["decoy"] = {
            "from": figure.clip,
            "frame": figure.frame,
            "score": _rounded(one.decoy.score),
            "box": [x1, y1, x2, y2],
        }
    return figures


def pooled(results: Sequence[Result]) -> dict[str, Any]:
    """Return the figures of all clips: rates over frames, precision of merged clips, AUC and ms as means of clips."""
    found = [one.finds for one in results]
    intervals = {
        what: {key: value for key, value in figures.items() if key != "rate"}
        for what, figures in rates([one.counts for one in results]).items()
    }
    intervals["ap50"] = {"clips95": drawn(lambda rows: precision([found[row] for row in rows]), len(results))}
    intervals["still_fp_per_frame"] = {
        "clips95": drawn(lambda rows: _false_on_figure([results[row] for row in rows]), len(results))
    }
    return {
        **_figures(results),
        "auc": _mean([one.auc for one in results if one.auc is not None]),
        "ap50_mean_of_clips": _mean([ap for one in found if (ap := precision([one])) is not None]),
        "ms_mean": _mean([float(np.mean(one.mode_ms)) for one in results if one.mode_ms]),
        "ms_full": _mean([float(np.mean(one.whole_ms)) for one in results if one.whole_ms]),
        "seconds_to_exit": {
            f"{one.name}/{what}": seconds for one in results for what, seconds in one.seconds_to_exit.items()
        },
        "intervals": intervals,
    }


def _figures(results: Sequence[Result]) -> dict[str, Any]:
    """Return what is counted the same way for one clip and for many."""
    counts = [one.counts for one in results]
    return {
        "frames": sum(one.frames for one in counts),
        "still_frames": sum(one.still for one in counts),
        "moving_frames": sum(one.moving for one in counts),
        **{what: figures["rate"] for what, figures in rates(counts).items()},
        "missed": sum(one.moving - one.opened for one in counts),
        "true_boxes": sum(one.finds.truths for one in results),
        "ap50": _rounded(precision([one.finds for one in results])),
        "still_fp_per_frame": _rounded(_false_on_figure(results)),
    }


def _false_on_figure(results: Sequence[Result]) -> float | None:
    frames = sum(one.counts.looked_at for one in results if one.decoy is not None)
    return sum(one.counts.false_on_figure for one in results) / frames if frames else None


def _on_figure(found: Detections, decoy: Decoy, person_score: float) -> int:
    """Return how many persons have their middle on the figure's box."""
    x1, y1, x2, y2 = decoy.box
    x, y = (found.boxes[:, :2] + found.boxes[:, 2:]).T / 2
    return int(((found.scores >= person_score) & (x >= x1) & (x < x2) & (y >= y1) & (y < y2)).sum())


def _mean(values: Sequence[float]) -> float | None:
    return _rounded(float(np.mean(values))) if values else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
