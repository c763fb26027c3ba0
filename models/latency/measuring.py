"""Times random nets on this machine; the stopwatch itself is `models.latency.stand_alone`, which other devices run."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from app.errors import SetupError
from app.vision.runtime import ort
from models.latency import stand_alone
from models.latency.cells import SPACES, Plan, cell_fingerprint, drawn_plans
from models.latency.features import figures
from models.latency.nets import built
from models.latency.stand_alone import INDEX, Pass
from models.quantise import calibrate, quantised


def in_float(net: bytes, plan: Plan) -> bytes:
    """Return the net as it is."""
    return net


def in_int8(net: bytes, plan: Plan) -> bytes:
    """Return the net with 8-bit convolutions, calibrated on noise: times do not depend on the ranges."""
    size = plan.configuration.size
    noise = np.random.default_rng(0).random((1, 3, size, size), np.float32)
    return quantised(net, calibrate(net, [noise]))


PRECISIONS: dict[str, Callable[[bytes, Plan], bytes]] = {"fp32": in_float, "int8": in_int8}


def surroundings(threads: int = 1, precision: str = "fp32", clock: str = "wall") -> dict[str, Any]:
    """Return the head of data sets made here.

    Raises:
        SetupError: the clock cannot time so many threads.
    """
    try:
        return stand_alone.surroundings(ort, threads, precision, clock)
    except ValueError as error:
        raise SetupError(str(error)) from error


def measure(
    path: Path,
    head: dict[str, Any],
    plans: Iterable[Plan],
    runs: int,
    resume: bool,
    say: Callable[[str], None],
) -> None:
    """Time nets of these plans into a data set, all of them once, then all again: so runs lie minutes apart.

    Raises:
        SetupError: the file is there and is not to be resumed, or was made in other surroundings.
    """
    nets = list(plans)
    try:
        done = stand_alone.begin(path, head, resume)
    except ValueError as error:
        raise SetupError(str(error)) from error
    for run in range(1, runs + 1):
        waiting = [plan for plan in nets if (plan.fingerprint, run) not in done]
        timed = len(nets) - len(waiting)
        for count in stand_alone.collect(path, _openers(waiting, head, run), run, head["clock"]):
            timed += count
            say(f"{path.name}: run {run} of {runs}, {timed} of {len(nets)} nets")


def write_folder(folder: Path, plans: Iterable[Plan], precision: str) -> int:
    """Write nets, their index and the program that times them into a folder for another device; return how many.

    Raises:
        SetupError: the folder holds nets already.
    """
    index = folder / INDEX
    if index.exists():
        raise SetupError(f"{index} exists; give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(stand_alone.__file__, folder / "stand_alone.py")
    lines = []
    for plan in plans:
        net = PRECISIONS[precision](built(plan), plan)
        file = f"{plan.fingerprint}.onnx"
        (folder / file).write_bytes(net)
        lines.append(json.dumps({"file": file} | record(net, plan)))
    index.write_text("\n".join(lines) + "\n")
    return len(lines)


def plans_of(space: str, count: int, seed: int) -> list[Plan]:
    """Return so many random plans of a space of `SPACES`."""
    return list(islice(drawn_plans(SPACES[space], seed), count))


def record(net: bytes, plan: Plan) -> dict[str, Any]:
    """Return what a data set keeps of a net."""
    names = {"fingerprint": plan.fingerprint, "cell": cell_fingerprint(plan.cell)}
    return names | figures(net, plan=plan).to_json()


def milliseconds(net: bytes, threads: int, clock: str) -> float:
    """Return the least time of one pass of a net here; inputs are random, free dimensions are 1."""
    (times,) = stand_alone.time_block([stand_alone.opened(ort, net, threads)], clock)
    return min(times)


def _openers(
    plans: Iterable[Plan], head: dict[str, Any], run: int
) -> Iterator[tuple[dict[str, Any], Callable[[], Pass]]]:
    for plan in plans:
        net = PRECISIONS[head["precision"]](built(plan), plan)
        told = record(net, plan) if run == 1 else {"fingerprint": plan.fingerprint}
        yield told, lambda net=net: stand_alone.opened(ort, net, head["threads"])  # type: ignore[misc]
