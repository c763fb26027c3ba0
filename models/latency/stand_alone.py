"""Times a folder of nets on any device with Python, NumPy and ONNX Runtime; nothing else of Cardea is needed there.

``cardea models latency nets --out FOLDER`` fills a folder and lays this file beside the nets. On the device:

    python stand_alone.py FOLDER times.jsonl [--threads 1] [--runs 3] [--resume]

and `cardea models latency fit` reads the file that it writes. Its first line tells what was timed on what, each other
line one run of one net: ``{"net": {...}, "run": 1, "milliseconds": [...]}``, the least time of each round. What a net
is made of stands in its first run, in the others its fingerprint alone.
"""

import argparse
import importlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

FORM = "cardea latency 1"
INDEX = "nets.jsonl"  # in the folder: one line a net with its file's name under "file"
CLOCKS: dict[str, Callable[[], float]] = {
    "wall": time.perf_counter,
    "thread": time.thread_time,  # CPU seconds of the one thread: other programs' turns do not count
}
ROUNDS = 2  # visits to a net within a run, the other nets of its block in between
BLOCK = 16  # nets that are open at once
FEWEST, MOST = 4, 40  # timed passes in a visit
VISIT_SECONDS = 0.008  # a visit goes on until so much was timed

Pass = Callable[[], object]  # one pass of a net on inputs that stay the same


def surroundings(runtime: Any, threads: int, precision: str, clock: str, device: str | None = None) -> dict[str, Any]:
    """Return the head of a data set: everything that times depend on beside the net.

    Raises:
        ValueError: the clock cannot time so many threads.
    """
    if clock not in CLOCKS or (clock == "thread" and threads != 1):
        raise ValueError(f"clock: {clock!r} does not time {threads} threads; take wall")
    return {
        "form": FORM,
        "device": device or processor(),
        "runtime": "onnxruntime",
        "version": str(runtime.__version__),
        "threads": threads,
        "precision": precision,
        "clock": clock,
    }


def processor() -> str:
    """Return the processor's model as far as the system tells it, such as "AMD EPYC, x86_64".

    On ARM it is the board's or the chip's, else the part number of the cores; processors have no name there.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    names = [told[name] for name in ("Model", "Hardware", "model name", "CPU part") if name in told]
    return f"{(names or [platform.processor() or platform.system()])[0]}, {platform.machine()}"


def opened(runtime: Any, net: bytes, threads: int) -> Pass:
    """Open a net for so many threads and return one pass on random inputs; free dimensions are 1."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = runtime.InferenceSession(net, options, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    inputs = {
        given.name: random.random([side if isinstance(side, int) else 1 for side in given.shape], np.float32)
        for given in session.get_inputs()
    }
    return lambda: session.run(None, inputs)


def time_block(passes: Sequence[Pass], clock: str) -> list[list[float]]:
    """Return for each net the least milliseconds of each round.

    The nets take turns, so that a slow moment of the machine does not hit all passes of one; each visit begins with a
    pass that is not timed, because the others have emptied the caches.
    """
    for each in passes:
        each()  # the first pass of all allocates
    rounds = [[_least(each, CLOCKS[clock]) for each in passes] for _ in range(ROUNDS)]
    return [list(times) for times in zip(*rounds, strict=True)]


def begin(path: Path, head: dict[str, Any], resume: bool) -> set[tuple[str, int]]:
    """Start a data set, or go on with it: return the fingerprints and runs that it has. A line cut off goes.

    Raises:
        ValueError: the file is there and is not to be resumed, or was made in other surroundings.
    """
    if not path.exists():
        path.write_text(json.dumps(head) + "\n")
        return set()
    if not resume:
        raise ValueError(f"{path} exists; go on with it with --resume or give another name")
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        path.write_bytes(whole)
    first, *lines = whole.decode().splitlines() or [""]
    try:
        known = json.loads(first or "{}")
        done = {(record["net"]["fingerprint"], record["run"]) for record in map(json.loads, lines)}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no data set of times ({error!r})") from error
    differing = [key for key in head if known.get(key) != head[key]]
    if differing:
        there, now = ({key: values.get(key) for key in differing} for values in (known, head))
        raise ValueError(f"{path} was made with {there}, not with {now}; give another name")
    return done


def collect(
    path: Path,
    nets: Iterable[tuple[dict[str, Any], Callable[[], Pass]]],
    run: int,
    clock: str,
) -> Iterator[int]:
    """Time nets, given as record and opener, in blocks; add a line for each and yield how many a block had."""
    source = iter(nets)
    while block := list(islice(source, BLOCK)):
        times = time_block([opener() for _, opener in block], clock)
        lines = [
            json.dumps({"net": net, "run": run, "milliseconds": [round(value, 5) for value in values]})
            for (net, _), values in zip(block, times, strict=True)
        ]
        with path.open("a") as file:
            file.write("\n".join(lines) + "\n")
        yield len(block)


def described(net: dict[str, Any], run: int) -> dict[str, Any]:
    """Return what a line of this run tells of a net."""
    kept = [key for key in net if key != "file"] if run == 1 else ["fingerprint"]
    return {key: net[key] for key in kept}


def main(arguments: Sequence[str] | None = None) -> int:
    """Time a folder of nets."""
    parser = argparse.ArgumentParser(description="Times a folder of nets.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3, help="times that the whole folder is gone through (3)")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--device", help="what to call this device (its processor's model)")
    parser.add_argument("--resume", action="store_true", help="go on with a file that is there")
    given = parser.parse_args(arguments)
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read once, when the library is loaded
    runtime = importlib.import_module("onnxruntime")
    index = [json.loads(line) for line in (given.folder / INDEX).read_text().splitlines()]
    precisions = {net["precision"] for net in index}
    try:
        if len(precisions) != 1:
            raise ValueError(f"{given.folder} has nets of {len(precisions)} precisions, not of one")
        head = surroundings(runtime, given.threads, precisions.pop(), given.clock, given.device)
        done = begin(given.out, head, given.resume)
    except ValueError as error:
        parser.error(str(error))
    for run in range(1, given.runs + 1):
        waiting = [net for net in index if (net["fingerprint"], run) not in done]
        nets = _of_folder(runtime, given.folder, waiting, given.threads, run)
        timed = 0
        for count in collect(given.out, nets, run, given.clock):
            timed += count
            print(f"run {run}: {timed} of {len(waiting)} nets", flush=True)
    return 0


def _of_folder(
    runtime: Any, folder: Path, index: Iterable[dict[str, Any]], threads: int, run: int
) -> Iterator[tuple[dict[str, Any], Callable[[], Pass]]]:
    for line in index:
        path = folder / line["file"]
        yield described(line, run), lambda path=path: opened(runtime, path.read_bytes(), threads)  # type: ignore[misc]


def _least(each: Pass, clock: Callable[[], float]) -> float:
    """Return the least milliseconds of one visit to a net."""
    each()
    times: list[float] = []
    while len(times) < FEWEST or (sum(times) < VISIT_SECONDS and len(times) < MOST):
        start = clock()
        each()
        times.append(clock() - start)
    return 1e3 * min(times)


if __name__ == "__main__":
    raise SystemExit(main())
