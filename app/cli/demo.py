"""`cardea demo`: an intercom camera over RTSP, a resident who is granted, a stranger who is not."""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from prometheus_client import CollectorRegistry

from app.cli import print_json
from app.cli.demo_clip import RESIDENT, make_hallway
from app.cli.logs import log_to_stderr
from app.cli.process import first_key, open_store, stream_server, working
from app.cli.running import wait_for_signal
from app.cli.screen import Screen
from app.cli.spectator import Tally, percentiles, resident_megabytes, watch
from app.cli.virtual import virtual_camera
from app.cli.web import api_server, serving
from app.errors import SetupError
from app.portraits import portraits
from app.settings import Settings
from workers.pipeline import Nets
from workers.worker import Worker


@dataclass(frozen=True, slots=True)
class Story:
    """What is shown: a clip, the photos to enrol by name, and whether a stranger has to appear."""

    clip: Path
    photos: dict[str, bytes]
    ours: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the demo's options."""
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to watch (default 60)")
    parser.add_argument("--json", action="store_true", help="one JSON line per event and a summary, nothing else")
    parser.add_argument("--keep", action="store_true", help="leave everything running at the end, until Ctrl-C")
    parser.add_argument("--video", type=Path, help="your own clip instead of the built-in story")
    parser.add_argument(
        "--enrol", action="append", default=[], metavar="NAME=PHOTO", type=_enrolment, help="with --video: a resident"
    )


def run(arguments: argparse.Namespace) -> int:
    """Tell the story; return 0 only when it went as it must."""
    log_to_stderr("WARNING")
    screen = Screen(quiet=arguments.json)
    with tempfile.TemporaryDirectory(prefix="cardea-demo-") as folder:
        settings = Settings(
            data=Path(folder), database_url=None, redis_url=None, host="127.0.0.1", port=0, worker="demo"
        )
        with screen.step("Opening the nets"):
            nets = Nets.open()
        story = _story(arguments, nets, Path(folder), settings.cache, screen)
        return _play(story, settings, nets, arguments, screen)


def _enrolment(text: str) -> tuple[str, Path]:
    name, separator, photo = text.partition("=")
    if not separator or not name or not Path(photo).is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PHOTO with a photo that exists")
    return name, Path(photo)


def _story(arguments: argparse.Namespace, nets: Nets, folder: Path, cache: Path, screen: Screen) -> Story:
    if arguments.video is not None:
        if not arguments.video.is_file():
            raise SetupError(f"there is no video {arguments.video}")
        return Story(arguments.video, {name: photo.read_bytes() for name, photo in arguments.enrol}, ours=False)
    with screen.step("Fetching two public-domain portraits (once)"):
        photo = portraits(cache)[RESIDENT]
    with screen.step("Filming a hallway: a resident, then a stranger"):
        clip = make_hallway(cache, nets.finder, folder)
    return Story(clip, {RESIDENT: photo}, ours=True)


def _play(story: Story, settings: Settings, nets: Nets, arguments: argparse.Namespace, screen: Screen) -> int:
    registry = CollectorRegistry()
    with screen.step("Starting database, event stream, API, worker and camera"):
        blocks = open_store(settings), stream_server(settings), virtual_camera(story.clip)
    with blocks[0] as store, blocks[1] as redis_url, blocks[2] as camera_url:
        key = first_key(store)
        assert key is not None  # the database is new
        server = api_server(settings, store, redis_url, nets, registry)
        with working(settings, store, redis_url, nets, registry) as worker, serving(server) as address:
            with screen.step("Enrolling over REST: " + (", ".join(story.photos) or "nobody")):
                _enrol(address, key, story.photos)
            _add_camera(address, key, camera_url)
            tally = Tally()
            for event in screen.follow(watch(redis_url, settings.stream, arguments.seconds), arguments.seconds):
                tally.count(event)
                _show(event, arguments, screen)
            summary = _summary(tally, worker)
            fine = _went_well(story, tally)
            if arguments.json:
                print_json(summary)
            else:
                screen.end(summary, fine)
            if arguments.keep:
                screen.kept(address, key)
                wait_for_signal(lambda: not worker.wait(0))
    return 0 if fine else 1


def _show(event: dict[str, Any], arguments: argparse.Namespace, screen: Screen) -> None:
    if arguments.json:
        print_json(event)
    else:
        screen.event(event)


def _enrol(address: str, key: str, photos: dict[str, bytes]) -> None:
    with httpx2.Client(base_url=f"{address}/v1", headers={"Authorization": f"Bearer {key}"}, timeout=30) as client:
        for name, photo in photos.items():
            person = _checked(client.post("/buildings/main/persons", json={"name": name})).json()["id"]
            _checked(client.post(f"/buildings/main/persons/{person}/photos", files={"photo": ("photo", photo)}))


def _add_camera(address: str, key: str, url: str) -> None:
    camera = {"name": "Front door", "door": "front", "source": url}
    headers = {"Authorization": f"Bearer {key}"}
    _checked(httpx2.post(f"{address}/v1/buildings/main/cameras", json=camera, headers=headers, timeout=30))


def _checked(response: httpx2.Response) -> httpx2.Response:
    if response.is_error:
        problem = response.json()
        raise SetupError(f"{problem['title']}: {problem.get('detail', '')}")
    return response


def _summary(tally: Tally, worker: Worker) -> dict[str, Any]:
    stages = [watched.pipeline.stages for watched in worker.watched.values()]
    analysed = sum(stage.analysed for stage in stages)
    exited = sum(stage.exited for stage in stages)
    decoded = sum(watched.reader.decoded for watched in worker.watched.values())
    return {
        "granted": tally.granted,
        "unknown": tally.unknown,
        "events": tally.events,
        "early_exit_rate": round(exited / max(analysed, 1), 3),
        "event_latency_ms": percentiles(tally.latencies),
        "frames": {"decoded": decoded, "analysed": analysed, "exited": exited},
        "rss_mb": resident_megabytes(),
    }


def _went_well(story: Story, tally: Tally) -> bool:
    """Whether the resident was granted and, in our own story, the stranger seen and not granted."""
    if not story.ours:
        return bool(tally.granted)
    return set(tally.granted) == {RESIDENT} and tally.unknown > 0
