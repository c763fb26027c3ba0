"""`cardea bench enrolment`: somebody unknown stands at the door, is enrolled over REST, and is let in: how soon?"""

import argparse
import sys
import tempfile
import time
from datetime import UTC, datetime
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from prometheus_client import CollectorRegistry

from app.cli.demo_clip import FPS, RESIDENT, SIZE
from app.cli.process import first_key, open_store, stream_server, working
from app.cli.spectator import watch
from app.cli.virtual import virtual_camera
from app.cli.web import api_server, serving
from app.errors import SetupError
from app.photos import read_photo
from app.portraits import portraits
from app.settings import Settings
from app.vision.faces import FaceFinder
from workers.pipeline import Nets
from workers.simulator.encode import encode
from workers.simulator.people import cut_out, hallway, noisy, visit

EMPTY, VISIT = 6.0, 30.0  # seconds: she walks up, stands before the camera for twelve seconds and goes
PATIENCE = 3  # visits that one grant may take
PERSONS = "/buildings/main/persons"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--times", type=int, default=3, help="how often she is enrolled (default 3)")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the seconds from the upload, and from its answer, to the grant in the stream.

    Raises:
        SetupError: the portrait cannot be fetched, or no grant came.
    """
    with tempfile.TemporaryDirectory(prefix="cardea-bench-") as folder:
        data = Path(folder)
        settings = Settings(data=data, key_file=None, database_url=None, redis_url=None, host="127.0.0.1", port=0)
        nets = Nets.open()
        photo = portraits(settings.cache)[RESIDENT]
        clip = data / "visit.mp4"
        _film(photo, nets.finder, clip)
        registry = CollectorRegistry()
        with open_store(settings) as store, stream_server(settings) as redis_url, virtual_camera(clip) as camera:
            server = api_server(settings, store, redis_url, nets, registry)
            headers = {"Authorization": f"Bearer {first_key(store)}"}
            with (
                working(settings, store, redis_url, nets, registry),
                serving(server) as address,
                httpx2.Client(base_url=f"{address}/v1", headers=headers, timeout=60) as client,
            ):
                source = {"name": "Front door", "door": "front", "source": camera}
                client.post("/buildings/main/cameras", json=source).raise_for_status()
                found = [_measure(client, redis_url, settings.stream, photo) for _ in range(arguments.times)]
    return {
        "times": len(found),
        "upload_seconds": _spread([taken for taken, _ in found]),
        "answer_to_grant_seconds": _spread([waited for _, waited in found]),
        "upload_to_grant_seconds": _spread([taken + waited for taken, waited in found]),
    }


def _film(photo: bytes, finder: FaceFinder, path: Path) -> None:
    image, scene = read_photo(photo).image, hallway(*SIZE)
    faces = finder.find(image)
    person = cut_out(image, faces.boxes[int(faces.scores.argmax())])
    still = repeat(scene, round(EMPTY * FPS))
    encode(noisy(chain(still, visit(person, scene, VISIT, FPS)), seed=1), path, FPS)


def _measure(client: httpx2.Client, redis_url: str, stream: str, photo: bytes) -> tuple[float, float]:
    """Enrol her as soon as she is announced as a stranger; return the seconds of the upload and of the wait."""
    end = time.monotonic() + PATIENCE * (EMPTY + VISIT)
    _await(redis_url, stream, "unknown", datetime.now(UTC), end)
    upload = time.monotonic()
    person = client.post(PERSONS, json={"name": RESIDENT}).raise_for_status().json()["id"]
    client.post(f"{PERSONS}/{person}/photos", files={"photo": ("photo", photo)}).raise_for_status()
    answered = time.monotonic()
    _await(redis_url, stream, "granted", datetime.now(UTC), end)
    granted = time.monotonic()
    print(f"granted {granted - answered:.1f} s after the answer", file=sys.stderr)
    client.delete(f"{PERSONS}/{person}").raise_for_status()
    time.sleep(EMPTY + VISIT / 2)  # until this visit is over: the next one must begin with a stranger
    return answered - upload, granted - answered


def _await(redis_url: str, stream: str, decision: str, since: datetime, end: float) -> None:
    for event in watch(redis_url, stream, end - time.monotonic()):
        data = {} if event is None else event["data"]
        if data.get("decision") == decision and datetime.fromisoformat(data["decided_at"]) >= since:
            return
    raise SetupError(f"nobody was {decision} in {PATIENCE} visits")


def _spread(seconds: list[float]) -> dict[str, float]:
    return {"median": round(float(np.median(seconds)), 2), "longest": round(max(seconds), 2)}
