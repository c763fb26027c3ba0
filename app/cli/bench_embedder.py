"""`cardea bench embedder`: milliseconds of one face in each precision of the shipped embedder, beside other nets.

Others are the net that ours began with, the teacher, and two large ones of which only the cost counts; the toolchain
writes them, so an installation without it measures ours alone. All take turns in an order drawn anew for each round,
on the same noise, one face at a time, in CPU time of the one thread that runs them.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from app.errors import SetupError
from app.options import at_least_one
from app.settings import Settings
from app.vision.artefact import Net, shipped
from app.vision.faces import CROP
from app.vision.processor import describe, read_cpuinfo

PRECISIONS = ("int8", "fp32")
YARDSTICKS = {"start": CROP, "teacher": CROP, "iresnet100": CROP, "dlib": 150}  # side of the face that each takes
WARM_UP = 3  # rounds that are not counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--rounds", type=at_least_one, default=50, help="faces that each net sees (50)")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure and return the figures; None for a precision that is not shipped and a net that cannot be had here.

    Raises:
        ArtefactError: the shipped embedder is damaged.
    """
    artefact = shipped("embedder")
    nets = {name: (artefact.open(file), CROP) for name, file in artefact.card.parameters["precisions"].items()}
    missing = {name: "not shipped" for name in PRECISIONS if name not in nets}
    for name, side in YARDSTICKS.items():
        try:
            nets[name] = yardstick(name), side
        except SetupError as error:
            missing[name] = str(error)
    costs = measure(nets, arguments.rounds)
    return {
        **{f"{name}_ms": costs.get(name) for name in (*PRECISIONS, *YARDSTICKS)},
        "threads": 1,
        "rounds": arguments.rounds,
        "clock": "median CPU time of the thread, each net once uncounted before it is timed",
        "hardware": f"{os.cpu_count()} cores, {describe(read_cpuinfo())}",
        "artefact": artefact.card.id,
        "files": artefact.card.files,
        "not_measured": missing,
    }


def yardstick(name: str) -> Net:
    """Return one of `YARDSTICKS`, as the toolchain writes it.

    Raises:
        SetupError: it cannot: the toolchain or one of its packages is not installed, or a source cannot be fetched.
    """
    with tempfile.TemporaryDirectory(prefix="cardea-yardstick-") as folder:
        file = Path(folder) / f"{name}.onnx"
        command = [sys.executable, "-m", "app", "models", "yardstick", name, "--out", str(file)]
        command += ["--cache", str(Settings().cache)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SetupError(done.stderr.strip())
        return Net(file)


def measure(nets: dict[str, tuple[Net, int]], rounds: int) -> dict[str, float]:
    """Return the median milliseconds of each net for one face; its side in pixels is given with the net."""
    generator, order = np.random.default_rng(0), random.Random(0)
    spent: dict[str, list[float]] = {name: [] for name in nets}
    for _ in range(WARM_UP + rounds):
        for name in order.sample(list(nets), len(nets)):
            net, side = nets[name]
            face = generator.integers(0, 256, (1, 3, side, side)).astype(np.float32)
            net.run(face)  # another net has just filled the processor's caches
            start = time.thread_time()
            net.run(face)
            spent[name].append(time.thread_time() - start)
    return {name: round(1000 * float(np.median(times[WARM_UP:])), 3) for name, times in spent.items()}
