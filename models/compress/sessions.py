"""Nets in ONNX Runtime as they are timed and weighed, and the memory that one of them takes.

The memory is taken in a process of its own, which is this module run as a program: it never loads torch.

    python -m models.compress.sessions NET.onnx 1 3 32 32
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from app.errors import SetupError
from app.memory import give_back
from app.vision.runtime import ort

ROOT = Path(__file__).parents[2]
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
FORGET_PEAK = "5"  # written to CLEAR: the highest resident size begins anew at the present one (proc(5))
UNIT = 1024  # bytes; the kernel's kB


def session(net: bytes | str) -> ort.InferenceSession:
    """Open a net, its content or its path, for one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(net, options, providers=["CPUExecutionProvider"])


def peak_bytes(content: bytes, shape: tuple[int, ...]) -> int:
    """Return by how much the resident memory of a process rises at most while it opens a net and runs it once.

    Weights, activations, what ONNX Runtime makes of both, and what it takes to read the file are in it. The runtime
    itself is not: the process has opened, run and closed the net once before, so all code is loaded. It counts pages
    that were touched, with one thread, and varies by some ten of them, a tenth for a net of 80 kB. It is no share of
    the net's in the memory of a larger program, whose freed pages a net may take, and nothing is known of other
    devices by it.

    Args:
        content: ONNX, with one input.
        shape: of the input.

    Raises:
        SetupError: the process failed; it needs Linux and a /proc that may be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        path.write_bytes(content)
        words = [sys.executable, "-m", __name__, str(path), *map(str, shape)]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or f"its process ended with {done.returncode}").splitlines()[-1]
        raise SetupError(f"the memory of a net cannot be measured: {reason}")
    return int(done.stdout)


def _rise(path: str, shape: tuple[int, ...]) -> int:
    """Return `peak_bytes` of this process."""
    picture = np.zeros(shape, np.float32)
    _run(path, picture)
    give_back()
    CLEAR.write_text(FORGET_PEAK)
    before = _resident("VmHWM")
    _run(path, picture)
    return _resident("VmHWM") - before


def _run(path: str, picture: np.ndarray) -> None:
    net = session(path)
    net.run(None, {net.get_inputs()[0].name: picture})


def _resident(name: str) -> int:
    """Return a size of this process's memory in bytes."""
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return UNIT * int(line.split()[1])


if __name__ == "__main__":
    print(_rise(sys.argv[1], tuple(int(size) for size in sys.argv[2:])))
