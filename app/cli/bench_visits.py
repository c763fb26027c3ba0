"""`cardea bench visits`: who is let in when people whom the system knows by one photograph come with another one.

Portraits from an archive walk up to virtual cameras, residents and strangers in mixed order; everything in between is
the product: enrolment, RTSP, worker, store and stream. Cameras run in processes of their own.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry

from app.cli import visit_films
from app.cli.process import open_store, stream_server, working
from app.cli.spectator import percentiles
from app.cli.virtual import virtual_camera
from app.cli.visit_counts import Outcome, Result, Seen, attribute, group, judge, totals
from app.cli.visit_films import Scene
from app.cli.visit_people import Cast, Visitor, choose, compare, face_in, open_archive
from app.errors import SetupError
from app.photos import read_photo
from app.settings import Settings
from app.store import cameras
from app.store.engine import Store
from app.store.records import CameraFields
from app.types import AccessEvent, CameraEvent, CameraState, Event
from workers.pipeline import Nets
from workers.simulator.people import cut_out
from workers.simulator.walkers import draw_walk
from workers.worker import Worker

ANALYSED_FPS = 5.0
WANTED = {True: Outcome.GRANTED_RIGHT, False: Outcome.UNKNOWN}  # of a resident, of a stranger


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--faces", type=Path, required=True, help="ZIP of pictures named Person_Name_0001.jpg")
    parser.add_argument("--residents", type=int, default=60, help="enrolled with one picture, come with another (60)")
    parser.add_argument("--strangers", type=int, default=60, help="come without being enrolled (60)")
    parser.add_argument("--cameras", type=int, default=4, help="that show visits at the same time (4)")
    parser.add_argument("--seed", type=int, default=0, help="decides who comes, when and how (0)")


@dataclass(slots=True)
class Stage:
    """One camera and who comes before it, in order."""

    visitors: Sequence[Visitor]
    opened: datetime  # when its film began
    seen: list[Seen] = field(default_factory=list)

    @property
    def clock(self) -> float:
        """Seconds of the film by now."""
        return (datetime.now(UTC) - self.opened).total_seconds()


class Audience:
    """Hears what the worker sends, and sorts it by camera. Events come from the sending thread."""

    def __init__(self) -> None:
        self.heard: list[Event] = []

    def hear(self, event: Event, _seconds: float) -> None:
        """Note an event that reached the stream."""
        self.heard.append(event)

    def online(self) -> set[str]:
        """Return the cameras that have come online."""
        return {event.camera for event in list(self.heard) if _state(event) is CameraState.ONLINE}

    def interruptions(self) -> int:
        """Return how often a camera was lost."""
        return sum(isinstance(event, CameraEvent) and event.previous is CameraState.ONLINE for event in self.heard)

    def accesses(self, camera: str) -> list[AccessEvent]:
        """Return the access events of one camera."""
        return [event for event in list(self.heard) if isinstance(event, AccessEvent) and event.camera == camera]


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure and return the figures.

    Raises:
        SetupError: the archive holds too few people, or a camera came online too late.
    """
    if min(arguments.residents, arguments.strangers) < 0 or not 1 <= arguments.cameras <= _visits(arguments):
        raise SetupError("there must be visits, and no more cameras than visits")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cardea-visits-") as name, open_archive(arguments.faces) as archive:
        folder = Path(name)
        settings = Settings(data=folder, key_file=None, database_url=None, redis_url=None, worker="visits")
        nets = Nets.open()
        with open_store(settings) as store:
            cast = choose(archive, store, nets, arguments.residents, arguments.strangers, arguments.seed)
            shares = deal(cast.visitors, arguments.cameras, arguments.seed)
            scenes, assumed = _scenes(shares, archive, nets, arguments.seed)
            films = visit_films.film_all(scenes, folder, arguments.seed)
            show = _show(settings, store, nets, shares, films)
        figures = _figures(archive, nets, cast, show, settings.target_fpir)
        return figures | {
            "faces_assumed": assumed,
            "cameras": arguments.cameras,
            "analysed_fps": ANALYSED_FPS,
            "archive": arguments.faces.name,
            "seed": arguments.seed,
            "hardware": f"{os.cpu_count()} cores, {platform.machine()}",
            "nets": nets.ids,
            "clip": visit_films.settings(),
            "seconds": round(time.monotonic() - started, 1),
        }


def deal(visitors: Sequence[Visitor], count: int, seed: int) -> list[list[Visitor]]:
    """Mix the visitors and deal them to so many cameras."""
    order = np.random.default_rng([seed, 1]).permutation(len(visitors))
    return [[visitors[index] for index in order[camera::count]] for camera in range(count)]


def _visits(arguments: argparse.Namespace) -> int:
    return int(arguments.residents + arguments.strangers)


def _scenes(
    shares: Sequence[Sequence[Visitor]], archive: zipfile.ZipFile, nets: Nets, seed: int
) -> tuple[list[list[Scene]], int]:
    """Cut every visitor out; also return in how many photographs no face was found, so that its place was assumed."""
    generator = np.random.default_rng([seed, 2])
    assumed = 0
    scenes: list[list[Scene]] = []
    for visitors in shares:
        scenes.append([])
        for visitor in visitors:
            image = read_photo(archive.read(visitor.candidate.walking)).image
            face, found = face_in(image, nets.finder)
            assumed += not found
            scenes[-1].append(Scene(cut_out(image, face), draw_walk(generator)))
    return scenes, assumed


@dataclass(frozen=True, slots=True)
class Show:
    """What was seen."""

    stages: dict[str, Stage]  # by camera
    interruptions: int
    frames: dict[str, int]
    templates: int


def _show(
    settings: Settings, store: Store, nets: Nets, shares: Sequence[Sequence[Visitor]], films: Sequence[Path]
) -> Show:
    """Let all films play once before a worker.

    Raises:
        SetupError: a camera came online too late.
    """
    audience = Audience()
    stages: dict[str, Stage] = {}
    with ExitStack() as stack:
        redis_url = stack.enter_context(stream_server(settings))
        worker = stack.enter_context(working(settings, store, redis_url, nets, CollectorRegistry(), audience.hear))
        for visitors, film in zip(shares, films, strict=True):
            url = stack.enter_context(virtual_camera(film))  # its film begins now
            opened = datetime.now(UTC)
            stages[_add(store, f"Camera {len(stages) + 1}", url)] = Stage(visitors, opened)
        _watch(stages, audience)
        frames, interruptions = _frames(worker), audience.interruptions()  # before we close the cameras ourselves
    for camera, stage in stages.items():
        stage.seen = [
            Seen(event, (event.captured_at - stage.opened).total_seconds()) for event in audience.accesses(camera)
        ]
    templates = sum(visitor.person is not None for visitors in shares for visitor in visitors)
    return Show(stages, interruptions, frames, templates)


def _add(store: Store, name: str, url: str) -> str:
    with store.session() as session:
        return cameras.create(session, "main", CameraFields(name, url, fps=ANALYSED_FPS)).id


def _watch(stages: dict[str, Stage], audience: Audience) -> None:
    """Wait until every film has been shown once.

    Raises:
        SetupError: a camera was not online when its first visitor came.
    """
    lengths = {camera: visit_films.length(len(stage.visitors)) for camera, stage in stages.items()}
    while (left := max(lengths[camera] - stage.clock for camera, stage in stages.items())) > 0:
        online = audience.online()
        late = [camera for camera, stage in stages.items() if stage.clock > visit_films.LEAD and camera not in online]
        if late:
            raise SetupError(f"{len(late)} cameras were not online after {visit_films.LEAD:.0f} s: the machine is busy")
        print(f"\rshowing, {left:.0f} s left, {len(audience.heard)} events ", end="", file=sys.stderr, flush=True)
        time.sleep(min(1.0, left))
    print(file=sys.stderr)


def _frames(worker: Worker) -> dict[str, int]:
    watched = list(worker.watched.values())
    return {
        "decoded": sum(camera.reader.decoded for camera in watched),
        "analysed": sum(camera.pipeline.stages.analysed for camera in watched),
        "exited": sum(camera.pipeline.stages.exited for camera in watched),
        "dropped": sum(camera.mailbox.dropped for camera in watched),
    }


def _state(event: Event) -> CameraState | None:
    return event.state if isinstance(event, CameraEvent) else None


def _figures(archive: zipfile.ZipFile, nets: Nets, cast: Cast, show: Show, target_fpir: float) -> dict[str, Any]:
    """Count, and compare the two photographs of each resident: what is lost beyond that is lost on the way."""
    threshold = nets.embedder.threshold(show.templates, target_fpir)
    results: list[tuple[Visitor, Result]] = []
    strays: list[Seen] = []
    for stage in show.stages.values():
        spans = visit_films.spans(len(stage.visitors))
        own, others = attribute(spans, stage.seen)
        strays += others
        results += [
            (visitor, judge(visitor.person, span, events))
            for visitor, span, events in zip(stage.visitors, spans, own, strict=True)
        ]
    alike = {
        visitor.candidate.name: compare(archive, nets, visitor.candidate) for visitor, _ in results if visitor.person
    }
    named = {visitor.person: visitor.candidate.enrolled for visitor, _ in results}
    residents, strangers = ([one for visitor, one in results if bool(visitor.person) is kind] for kind in (True, False))
    reach = [similarity is not None and similarity >= threshold for similarity in alike.values()]
    return {
        **totals([result for _, result in results]),
        "residents": group(residents) | {"photographs_reach_threshold": sum(reach)},
        "strangers": group(strangers),
        "events_of_no_visit": [{"second": round(one.captured, 1), "decision": one.event.decision} for one in strays],
        "templates": show.templates,
        "threshold": round(threshold, 4),
        "target_fpir": target_fpir,
        "refused": [{"photo": one.photo, "code": one.code, "reasons": one.reasons} for one in cast.refused],
        "interruptions": show.interruptions,
        "frames": show.frames,
        "capture_to_decision_ms": percentiles(
            [one.event.latency_ms["capture_to_decision"] for stage in show.stages.values() for one in stage.seen]
        ),
        "otherwise": [_told(visitor, result, alike, named) for visitor, result in results if _odd(visitor, result)],
    }


def _odd(visitor: Visitor, result: Result) -> bool:
    return result.outcome is not WANTED[visitor.person is not None]


def _told(
    visitor: Visitor, result: Result, alike: dict[str, float | None], named: dict[str | None, str]
) -> dict[str, Any]:
    """Describe a visit that did not end as it should; photographs stand for people."""
    event = result.decisive.event if result.decisive else None
    return {
        "enrolled": visitor.candidate.enrolled if visitor.person else None,
        "walking": visitor.candidate.walking,
        "outcome": str(result.outcome),
        "named": named[event.person] if event and event.person else None,
        "reasons": [str(reason) for reason in event.reasons] if event else [],
        "similarity": _rounded(event.similarity) if event else None,
        "quality": _rounded(event.quality) if event else None,
        "photographs_alike": _rounded(alike.get(visitor.candidate.name)),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
