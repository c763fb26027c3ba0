"""`cardea bench detector`: what a still and an open frame cost in each precision, shipped detector and starter.

The starter net is the common yardstick: where another detector is shipped, it is built from its pinned package. All
are measured in turns on the same pictures, an empty hallway with noise as a decoder gives it, in CPU time of the one
thread that runs them; scaling and conversion are the runtime's own and counted.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from app.errors import SetupError
from app.options import at_least_one
from app.settings import Settings
from app.types import Image, Picture
from app.vision.artefact import Artefact, shipped
from app.vision.detector import Detector
from app.vision.gate import Gate, make_gate
from app.vision.picture import Converter, as_camera
from app.vision.processor import describe, read_cpuinfo
from workers.simulator.people import hallway, noisy

WIDTH, HEIGHT = 640, 360
FPS = 5.0
WARM_UP = 10  # rounds that are not counted
PRECISIONS = ("int8", "fp32")
STARTER = "person-ssdlite-mobilenetv2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--rounds", type=at_least_one, default=100, help="pairs of pictures that each net sees")


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
        "clock": "median CPU time of the thread; scaling and conversion of a decoded frame included",
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
        command = [sys.executable, "-m", "app", "models", "starter", "--only", "starter_detector"]
        command += ["--cache", str(Settings().cache), "--artefacts", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SetupError(f"the starter detector cannot be built: {done.stderr.strip()}")
        yield Artefact(Path(folder) / STARTER)


def measure(detectors: dict[tuple[str, str], Detector], rounds: int) -> dict[tuple[str, str], dict[str, float]]:
    """Return the medians by detector and step, in ms: a still frame's net part, the gate, and all of an open frame."""
    pictures = decoded(noisy(repeat(hallway(WIDTH, HEIGHT), 2 * (rounds + WARM_UP)), seed=1))
    gates = {key: make_gate("cardea") for key in detectors}
    spent: dict[tuple[str, str], list[tuple[float, float, float]]] = {key: [] for key in detectors}
    for turn, pair in enumerate(zip(pictures, pictures, strict=True)):  # two pictures a turn
        for key, detector in detectors.items():
            spent[key].append(_timed(detector, gates[key], pair, 2 * turn / FPS))
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


def decoded(images: Iterable[Image]) -> Iterator[Picture]:
    """Yield BGR images (H, W, 3) as a decoder gives them, in planes of luma and chroma."""
    converter = Converter()
    for image in images:
        yield as_camera(image, converter)


def _timed(detector: Detector, gate: Gate, pair: tuple[Picture, Picture], clock: float) -> tuple[float, float, float]:
    """Return the seconds of looking at the second picture, of the gate, and of both with the rest of the net.

    The first one is a still frame that is not counted: nearly every still frame follows another, but here the rest of
    another net has just filled the processor's caches.
    """
    gate.update(detector.look(pair[0]).features, clock, hold=True)
    start = time.thread_time()  # CPU time: other work on the machine lengthens it less than the wall's
    glance = detector.look(pair[1])
    looked = time.thread_time()
    gate.update(glance.features, clock + 1 / FPS, hold=True)
    gated = time.thread_time()
    detector.finish(glance)
    return looked - start, gated - looked, time.thread_time() - start
