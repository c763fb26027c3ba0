"""`cardea bench still`: what a camera costs before which nothing moves, and what looking before decoding saves.

The cameras show one clip over and over, by RTSP and from a process of its own. In turns everything is decoded, as when
somebody looks at the live view, and only what is needed; seconds count when the gate has been shut for a while before
all cameras. Whoever comes in the clip comes in either kind of round, so the two tell how much later the gate opens when
most packets are not decoded. Of Motion JPEG the same is decoded in both.
"""

import argparse
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, pairwise, repeat
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry

from app.cli.bench_cameras import Counters, add_camera, await_online, count
from app.cli.demo_clip import RESIDENT, cut
from app.cli.process import open_store, stream_server, working
from app.cli.virtual import virtual_camera
from app.errors import SetupError
from app.options import at_least_one, positive
from app.portraits import portraits
from app.settings import Settings
from app.types import Image
from app.vision.faces import FaceFinder
from workers.light import CALM, FARTHEST
from workers.pipeline import Nets
from workers.simulator import walkers
from workers.simulator.clip import Clip
from workers.simulator.encode import encode
from workers.simulator.people import hallway, noisy
from workers.watched import WatchedCamera
from workers.worker import Worker

SIZE, FPS, EMPTY = (640, 360), 25.0, 33.0  # of the clip without --clip; seconds before the visitor comes
LEARNING = 120.0  # seconds at most until all cameras rest
SETTLED = CALM + FARTHEST  # seconds of stillness after which a second counts
LOOK = 0.25  # seconds between looks at what the cameras see
SAME = 3.0  # seconds within which two openings are of one visit
MODES = ("everything", "light")
Openings = dict[str, set[tuple[int, float]]]  # by mode: number of the camera, monotonic seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--clip", type=Path, help="what the cameras show (a hallway, one visitor in 40 s, 25 fps)")
    parser.add_argument("--cameras", type=at_least_one, default=4, help="how many (4)")
    parser.add_argument("--fps", type=positive, default=5.0, help="frames analysed per second and camera (5)")
    parser.add_argument("--rounds", type=at_least_one, default=3, help="of each kind (3)")
    parser.add_argument("--seconds", type=positive, help="of a round (one showing of the clip, at least 20)")


@dataclass(slots=True)
class Round:
    """What was seen while one mode was on."""

    mode: str
    began: float
    ended: float
    seconds: float  # of stillness
    stages: dict[str, float]  # CPU ms per camera and second of stillness


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure and return the figures.

    Raises:
        SetupError: the portraits cannot be fetched, the cameras did not come online, or they never rest.
    """
    with tempfile.TemporaryDirectory(prefix="cardea-still-") as folder, ExitStack() as stack:
        settings = Settings(data=Path(folder), database_url=None, redis_url=None, worker="still")
        nets = Nets.open()
        clip = arguments.clip or film(settings.cache, nets.finder, Path(folder))
        period = Clip.load(clip).seconds
        store = stack.enter_context(open_store(settings))
        redis_url = stack.enter_context(stream_server(settings))
        url = stack.enter_context(virtual_camera(clip))
        for number in range(arguments.cameras):
            add_camera(store, f"Camera {number + 1}", url, arguments.fps)
        worker = stack.enter_context(working(settings, store, redis_url, nets, CollectorRegistry()))
        await_online(worker, arguments.cameras)
        cameras = list(worker.watched.values())
        learnt = learn(cameras, clip)
        openings: Openings = {mode: set() for mode in MODES}
        seconds = arguments.seconds or max(period, 20.0)
        rounds = [_round(worker, cameras, mode, seconds, openings) for mode in MODES * arguments.rounds]
        refuse_restless(rounds, clip)
        return {
            "clip": clip.name,
            "cameras": arguments.cameras,
            "fps": arguments.fps,
            **figures(rounds, openings, period, arguments.cameras),
            "cameras_at_rest": sum(camera.reader.counters.skipped > 0 for camera in cameras),
            "seconds_until_all_rest": learnt,
            "packets_skipped": sum(camera.reader.counters.skipped for camera in cameras),
            "woken": sum(camera.reader.counters.woken for camera in cameras),
            "missed_by_packets": sum(camera.reader.counters.missed_by_packets for camera in cameras),
            "hardware": f"{os.cpu_count()} cores, {platform.machine()}",
            "threads": threading.active_count(),
            "nets": nets.ids,
        }


def film(cache: Path, finder: FaceFinder, folder: Path) -> Path:
    """Film an empty hallway and one visitor, and return the clip's path.

    Raises:
        SetupError: the portraits cannot be fetched.
    """
    scene = hallway(*SIZE)
    walk = walkers.draw_walk(np.random.default_rng(0))
    visitor = walkers.figure(cut(portraits(cache)[RESIDENT], finder), walk.coat)
    empty: Iterator[Image] = repeat(scene, round(EMPTY * FPS))
    path = folder / "still.mp4"
    frames = noisy(chain(empty, walkers.walking(visitor, scene, walk, FPS)), seed=1)
    encode(frames, path, FPS, options={"x264-params": "scenecut=0"})
    return path


def learn(cameras: Sequence[WatchedCamera], clip: Path) -> float:
    """Wait until every camera has passed packets over; return after how many seconds.

    Raises:
        SetupError: some never do.
    """
    started = time.monotonic()
    while (passed := time.monotonic() - started) < LEARNING:
        if all(camera.reader.counters.skipped for camera in cameras):
            return round(passed, 1)
        _say(f"learning, {passed:.0f} s ")
        time.sleep(1.0)
    raise _never_rests(clip)


def refuse_restless(rounds: Sequence[Round], clip: Path) -> None:
    """Tell the operator when no second counts in one of the modes.

    Raises:
        SetupError: so it is.
    """
    if any(not sum(one.seconds for one in rounds if one.mode == mode) for mode in MODES):
        raise _never_rests(clip)


def _never_rests(clip: Path) -> SetupError:
    return SetupError(
        f"{clip.name} never rests for {SETTLED:.0f} s before all cameras: choose a clip in which nothing moves for "
        "longer, in H.264 or H.265 without B-frames, and rounds of at least its length"
    )


def _round(worker: Worker, cameras: Sequence[WatchedCamera], mode: str, seconds: float, openings: Openings) -> Round:
    """Watch for so long in one mode; only seconds count at whose ends nothing moves."""
    for camera in cameras:
        camera.attention.looked_at = lambda: mode == "everything"
    began = time.monotonic()
    still: list[tuple[Counters, Counters]] = []
    before: Counters | None = None
    while (left := began + seconds - time.monotonic()) > 0:
        _say(f"{mode}, {left:.0f} s left ")
        second = time.monotonic() + 1.0
        while time.monotonic() < second:
            _note_openings(cameras, openings[mode])
            time.sleep(LOOK)
        now = count(worker) if _still(cameras, began) else None
        if before is not None and now is not None:
            still.append((before, now))
        before = now
    return Round(mode, began, time.monotonic(), *_spent(still, len(cameras)))


def _note_openings(cameras: Sequence[WatchedCamera], openings: set[tuple[int, float]]) -> None:
    for number, camera in enumerate(cameras):
        judgement = camera.attention.judgement
        if judgement is not None and judgement.person_seen and judgement.opened_at is not None:
            openings.add((number, judgement.opened_at))


def _still(cameras: Sequence[WatchedCamera], began: float) -> bool:
    """Tell whether nothing has moved anywhere for so long that the mode which `began` then is in force."""
    now = time.monotonic()
    judgements = [camera.attention.judgement for camera in cameras]
    return now - began >= FARTHEST and all(
        judgement is not None and judgement.shut_since is not None and now - judgement.shut_since >= SETTLED
        for judgement in judgements
    )


def _spent(still: Sequence[tuple[Counters, Counters]], cameras: int) -> tuple[float, dict[str, float]]:
    """Return the seconds and the CPU ms per camera and second by stage; `other` is all that no stage has counted."""
    seconds = sum(after.clock - before.clock for before, after in still)
    if not seconds:
        return 0.0, {}
    stages = {
        name: sum(after.stages[name] - before.stages[name] for before, after in still) for name in still[0][0].stages
    }
    total = sum(after.cpu - before.cpu for before, after in still) * 1e3
    stages["other"] += total - sum(stages.values())
    return seconds, {name: ms / seconds / cameras for name, ms in (stages | {"all": total}).items()}


def figures(rounds: Sequence[Round], openings: Openings, period: float, cameras: int) -> dict[str, Any]:
    """Return medians over rounds, and how much later the gate opens in light rounds."""
    delays, missed = delays_at_opening(rounds, openings, period, cameras)
    return {
        "cpu_ms_per_camera_second": {mode: _medians([one for one in rounds if one.mode == mode]) for mode in MODES},
        "still_seconds": {mode: round(sum(one.seconds for one in rounds if one.mode == mode), 1) for mode in MODES},
        "rounds": [[one.mode, round(one.stages.get("all", 0.0), 2)] for one in rounds],
        "delay_at_opening_s": {
            "p50": round(median(delays), 2) if delays else None,
            "max": round(max(delays), 2) if delays else None,
            "of": len(delays),
        },
        "visits_missed": missed,
    }


def delays_at_opening(
    rounds: Sequence[Round], openings: Openings, period: float, cameras: int
) -> tuple[list[float], int]:
    """Compare openings at the same time of the clip.

    A visit's own time is the median of its openings when everything is decoded. Returned are the seconds from it to the
    opening of each camera in each light round, negative when that was earlier, and how many visits had no opening.
    """
    usual = usual_times(sorted(clock % period for _, clock in openings["everything"]), period)
    delays: list[float] = []
    missed = 0
    for one in (one for one in rounds if one.mode == "light"):
        first = int(one.began // period)
        for expected in (first * period + turn * period + phase for phase in usual for turn in range(-1, 100)):
            if not one.began + FARTHEST < expected < one.ended - SAME:
                continue
            for camera in range(cameras):
                later = [clock - expected for number, clock in openings["light"] if number == camera]
                near = sorted(delay for delay in later if -SAME < delay < FARTHEST + SAME)
                delays += near[:1]
                missed += not near
    return delays, missed


def usual_times(phases: Sequence[float], period: float) -> list[float]:
    """Return the median of each cluster of sorted times in 0..period; a cluster ends where `SAME` seconds are empty.

    The clip goes round, so what comes before the first gap belongs to the last cluster, and that one may end later than
    the period.
    """
    gap = next((index for index, pair in enumerate(pairwise(phases), 1) if pair[1] - pair[0] > SAME), len(phases))
    seam = gap if phases and phases[0] + period - phases[-1] <= SAME and gap < len(phases) else 0
    clusters: list[list[float]] = []
    before = float("-inf")
    for phase in [*phases[seam:], *(phase + period for phase in phases[:seam])]:
        if phase - before > SAME:
            clusters.append([])
        clusters[-1].append(phase)
        before = phase
    return [median(cluster) for cluster in clusters]


def _medians(rounds: Sequence[Round]) -> dict[str, float]:
    measured = [one.stages for one in rounds if one.seconds]
    return {name: round(median(stages[name] for stages in measured), 2) for name in (measured[0] if measured else {})}


def _say(text: str) -> None:
    print(f"\r{text}", end="", file=sys.stderr, flush=True)
