"""`cardea bench cameras`: what N cameras cost, over real RTSP and with a real Redis-compatible server.

The virtual cameras and the event stream run in processes of their own; what is measured is the worker's process.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from app.cli.demo_clip import make_empty, make_hallway
from app.cli.process import open_store, stream_server, working
from app.cli.spectator import percentiles, resident_megabytes
from app.cli.virtual import virtual_camera
from app.errors import SetupError
from app.settings import Settings
from app.store import cameras
from app.store.engine import Store
from app.store.records import CameraFields
from app.types import AccessEvent, CameraState, Event
from workers.pipeline import Nets
from workers.stages import STAGES
from workers.worker import Worker

ONLINE_SECONDS = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--clip", type=Path, help="what the cameras show, over and over (the demo's hallway)")
    parser.add_argument("--empty", action="store_true", help="without --clip: the hallway with nobody in it")
    parser.add_argument("--cameras", type=int, default=4, help="how many (4)")
    parser.add_argument("--fps", type=float, default=5.0, help="frames analysed per second and camera (5)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to measure once all are online (60)")
    parser.add_argument("--gate", default="cardea", choices=("cardea", "published", "off"))


@dataclass(frozen=True, slots=True)
class Counters:
    """Sums over all cameras at one moment."""

    cpu: float  # seconds of this process but for the thread that measures
    clock: float
    stages: dict[str, float]  # CPU ms
    decoded: int
    analysed: int
    exited: int
    dropped: int


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure and return the figures.

    Raises:
        SetupError: the cameras did not come online.
    """
    decisions: list[float] = []
    sends: list[float] = []

    def sent(event: Event, seconds: float) -> None:
        if isinstance(event, AccessEvent):
            decisions.append(event.latency_ms["capture_to_decision"])
            sends.append(seconds * 1e3)

    with tempfile.TemporaryDirectory(prefix="cardea-bench-") as folder, ExitStack() as stack:
        settings = Settings(data=Path(folder), database_url=None, redis_url=None, worker="bench", gate=arguments.gate)
        nets = Nets.open()
        clip = _clip(arguments, settings, nets, Path(folder))
        store = stack.enter_context(open_store(settings))
        redis_url = stack.enter_context(stream_server(settings))
        for number in range(arguments.cameras):
            url = stack.enter_context(virtual_camera(clip))
            add_camera(store, f"Camera {number + 1}", url, arguments.fps)
        worker = stack.enter_context(working(settings, store, redis_url, nets, CollectorRegistry(), sent))
        await_online(worker, arguments.cameras)
        decisions.clear()
        sends.clear()
        before = count(worker)
        _wait(arguments.seconds)
        after = count(worker)
        return {"clip": clip.name} | _figures(arguments, nets, before, after, decisions, sends)


def _clip(arguments: argparse.Namespace, settings: Settings, nets: Nets, folder: Path) -> Path:
    if arguments.clip is not None:
        return Path(arguments.clip)
    return make_empty(folder) if arguments.empty else make_hallway(settings.cache, nets.finder, folder)


def add_camera(store: Store, name: str, url: str, fps: float) -> None:
    """Add a camera to the main building."""
    with store.session() as session:
        cameras.create(session, "main", CameraFields(name, url, fps=fps))


def await_online(worker: Worker, count: int) -> None:
    """Wait until so many cameras are online.

    Raises:
        SetupError: they are not within `ONLINE_SECONDS`.
    """
    deadline = time.monotonic() + ONLINE_SECONDS
    while sum(watched.state is CameraState.ONLINE for watched in worker.watched.values()) < count:
        if time.monotonic() > deadline:
            raise SetupError(f"not all {count} cameras came online within {ONLINE_SECONDS:.0f} s")
        time.sleep(0.2)


def _wait(seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        print(f"\rmeasuring, {left:.0f} s left ", end="", file=sys.stderr, flush=True)
        time.sleep(min(1.0, left))
    print(file=sys.stderr)


def count(worker: Worker) -> Counters:
    """Return what has been counted by now, over all cameras."""
    watched = list(worker.watched.values())
    stages = [camera.pipeline.stages for camera in watched]
    return Counters(
        cpu=time.process_time() - time.thread_time(),
        clock=time.monotonic(),
        stages={name: sum(stage.cpu_ms[name] for stage in stages) for name in STAGES},
        decoded=sum(camera.reader.decoded for camera in watched),
        analysed=sum(stage.analysed for stage in stages),
        exited=sum(stage.exited for stage in stages),
        dropped=sum(camera.mailbox.dropped for camera in watched),
    )


def _figures(
    arguments: argparse.Namespace,
    nets: Nets,
    before: Counters,
    after: Counters,
    decisions: list[float],
    sends: list[float],
) -> dict[str, Any]:
    cpu, wall = after.cpu - before.cpu, after.clock - before.clock
    frames = max(after.analysed - before.analysed, 1)
    stages = {name: (after.stages[name] - before.stages[name]) / frames for name in STAGES}
    stages["other"] = cpu * 1e3 / frames - sum(stages.values()) + stages["other"]  # threads and waiting included
    return {
        "cameras": arguments.cameras,
        "cores_used": round(cpu / wall, 3),
        "cpu_ms_per_frame": {name: round(ms, 3) for name, ms in stages.items()},
        "exit_rate": round((after.exited - before.exited) / frames, 4),
        "latency_ms": {"capture_to_decision": percentiles(decisions), "decision_to_stream": percentiles(sends)},
        "drops": after.dropped - before.dropped,
        "rss_mb": resident_megabytes(),
        "frames": {
            "decoded": after.decoded - before.decoded,
            "analysed": frames,
            "exited": after.exited - before.exited,
        },
        "access_events": len(decisions),
        "seconds": round(wall, 1),
        "fps": arguments.fps,
        "gate": arguments.gate,
        "hardware": f"{os.cpu_count()} cores, {platform.machine()}",
        "nets": nets.ids,
    }
