"""`cardea bench detector`: what a still and an open frame cost in each precision, shipped detector and starter.

The starter net is the common yardstick: where another detector is shipped, it is built from its pinned package. All
are measured in turns on the same pictures, an empty hallway with noise, in CPU time of the one thread that runs them.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from app.errors import SetupError
from app.settings import Settings
from app.types import Picture
from app.vision.artefact import Artefact, shipped
from app.vision.detector import Detector
from app.vision.gate import Gate, make_gate
from app.vision.picture import ArrayPicture
from app.vision.processor import describe, read_cpuinfo
from workers.simulator.people import hallway, noisy

WIDTH, HEIGHT = 640, 360
FPS = 5.0
WARM_UP = 10  # rounds that are not counted
PRECISIONS = ("int8", "fp32")
STARTER = "person-ssdlite-mobilenetv2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--rounds", type=int, default=100, help="pictures that each net sees")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure and return the figures.

    Raises:
        SetupError: the starter detector is not the shipped one and cannot be built.
    """
    cv2.setNumThreads(1)
    with starter() as yardstick:
        named = {"": shipped("detector"), "starter_": yardstick}
        ids = {artefact.card.id: artefact for artefact in named.values()}
        detectors = {
            (identity, precision): Detector(artefact, precision=precision)
            for identity, artefact in ids.items()
            for precision in PRECISIONS
        }
    costs = measure(detectors, arguments.rounds)
    return {
        **{
            f"{prefix}{precision}": costs[artefact.card.id, precision]
            for prefix, artefact in named.items()
            for precision in PRECISIONS
        },
        "threads": 1,
        "rounds": arguments.rounds,
        "clock": "median CPU time of the thread; scaling included (BGR, area averaging)",
        "picture": [WIDTH, HEIGHT],
        "hardware": f"{os.cpu_count()} cores, {describe(read_cpuinfo())}",
        "chosen_here": Detector(named[""]).id,
        "artefacts": {identity: artefact.card.files for identity, artefact in ids.items()},
    }


@contextmanager
def starter() -> Iterator[Artefact]:
    """Yield the starter detector: the shipped one, or built for as long as this lasts.

    Raises:
        SetupError: it cannot be built.
    """
    if shipped("detector").card.name == STARTER:
        yield shipped("detector")
        return
    with tempfile.TemporaryDirectory(prefix="cardea-starter-") as folder:
        command = [sys.executable, "-m", "app", "models", "starter", "--only", "detector"]
        command += ["--cache", str(Settings().cache), "--artefacts", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SetupError(f"the starter detector cannot be built: {done.stderr.strip()}")
        yield Artefact(Path(folder) / STARTER)


def measure(detectors: dict[tuple[str, str], Detector], rounds: int) -> dict[tuple[str, str], dict[str, float]]:
    """Return the medians by detector and step, in ms: a still frame's net part, the gate, and all of an open frame."""
    images = noisy(repeat(hallway(WIDTH, HEIGHT), rounds + WARM_UP), seed=1)
    gates = {key: make_gate("cardea") for key in detectors}
    spent: dict[tuple[str, str], list[tuple[float, float, float]]] = {key: [] for key in detectors}
    for turn, picture in enumerate(map(ArrayPicture, images)):
        for key, detector in detectors.items():
            spent[key].append(_timed(detector, gates[key], picture, turn / FPS))
    return {
        key: dict(
            zip(
                ("stem_ms", "gate_ms", "full_ms"),
                np.round(np.median(np.array(times[WARM_UP:]) * 1e3, axis=0), 3).tolist(),
                strict=True,
            )
        )
        for key, times in spent.items()
    }


def _timed(detector: Detector, gate: Gate, picture: Picture, clock: float) -> tuple[float, float, float]:
    """Return the seconds of looking, of the gate, and of both with the rest of the net."""
    start = time.thread_time()  # CPU time: other work on the machine lengthens it less than the wall's
    glance = detector.look(picture)
    looked = time.thread_time()
    gate.update(glance.features, clock, hold=True)
    gated = time.thread_time()
    detector.finish(glance)
    return looked - start, gated - looked, time.thread_time() - start
