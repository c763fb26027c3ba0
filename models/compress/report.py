"""What is reported of a compression: what each stage left of the net, beside the base and beside the stage before."""

import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from app.types import Array
from app.vision.runtime import ort
from models.compress.binary_size import Size, size_of
from models.compress.counting import Counts, counts, theoretical_bytes
from models.compress.export import LOGITS, PICTURES, exported, logits_of
from models.compress.paired import Answers, difference, macro_f1, recalls
from models.compress.sessions import peak_bytes, session
from models.compress.tasks import Task, normalised
from models.compress.training import answers

COMPARED = 64  # pictures on which file and net are compared
WARMING, REPEATS = 10, 100  # passes of each net before times count, and those that do
CHUNK = 256  # pictures that the runtime is shown at once


@dataclass(frozen=True, slots=True)
class Measured:
    """A net as it stands behind a stage."""

    counts: Counts
    theoretical: dict[str, int]  # bytes, by how parameters could be kept
    size: Size  # with what is binary as signs
    content: bytes  # ONNX
    peak_bytes: int  # see `models.compress.sessions.peak_bytes`; of one picture
    validation: float  # accuracy
    logits: Array  # (n, k) of the test pictures

    @property
    def answers(self) -> Answers:
        """The classes (n,) that it tells of the test pictures."""
        return np.asarray(self.logits.argmax(axis=1), np.int64)


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of a pass over one picture with one thread."""

    least: float
    median: float
    p95: float  # which one pass of twenty exceeds

    @staticmethod
    def of(taken: Sequence[float]) -> "Latency":
        """Return the figures of passes that took so long, one at least."""
        return Latency(min(taken), statistics.median(taken), float(np.quantile(taken, 0.95)))


def measure(net: nn.Module, task: Task, artefact: bytes = b"") -> Measured:
    """Export and measure a net in evaluation mode; an artefact made of it takes its place where files answer.

    Raises:
        SetupError: the exported file does not answer as the net does, or its memory cannot be measured.
    """
    pictures = normalised(task.test.pictures[:COMPARED])
    content = artefact or exported(net, pictures)
    if artefact:
        validation, logits = (_file_logits(artefact, part.pictures) for part in (task.validation, task.test))
    else:
        validation, logits = (answers(net, part).numpy() for part in (task.validation, task.test))
    return Measured(
        counts=counts(net, task.blank),
        theoretical=theoretical_bytes(net),
        size=size_of(net),
        content=content,
        peak_bytes=peak_bytes(content, tuple(task.blank.shape)),
        validation=float((validation.argmax(axis=1) == task.validation.labels).mean()),
        logits=logits,
    )


def told(net: Measured, base: Measured, before: Mapping[str, Any] | None, task: Task) -> dict[str, Any]:
    """Return the figures of a net.

    All that is about answers is of the test part, ``validation_accuracy`` apart. Times are taken in turns with the
    base, which runs twice: ``repeat`` is how much its own two differ, so no smaller difference means anything.
    ``of_base`` and ``of_before`` are shares of the base and of the figures before the stage; ``latency`` is of the
    least times, which a busy machine disturbs least. ``one_bit``, of binary nets alone, is what
    `models.compress.binary_file` keeps: bits of signs, and by kind the numbers in float32.
    """
    labels, classes = task.test.labels, len(task.classes)
    own, first, second = latencies([net.content, base.content, base.content], task.blank)
    figures = {
        **asdict(net.counts),
        "file_bytes": len(net.content),
        "peak_bytes": net.peak_bytes,
        "theoretical_bytes": net.theoretical,
        **({"one_bit": asdict(net.size)} if net.size.weight_bits else {}),
        "latency_ms": asdict(own) | {"base": asdict(first), "repeat": abs(second.least / first.least - 1)},
        "accuracy": float((net.answers == labels).mean()),
        "validation_accuracy": net.validation,
        "macro_f1": macro_f1(net.answers, labels, classes),
        "recalls": dict(zip(task.classes, recalls(net.answers, labels, classes), strict=True)),
        "minus_base": difference(net.answers, base.answers, labels),
        "agreement_with_base": float((net.answers == base.answers).mean()),
        "kl_from_base": divergence(net.logits, base.logits),
    }
    sizes = {"parameters": base.counts.parameters, "macs": base.counts.macs}
    sizes |= {"file_bytes": len(base.content), "peak_bytes": base.peak_bytes}
    figures["of_base"] = {name: figures[name] / size for name, size in sizes.items()}
    figures["of_base"] |= {"latency": own.least / first.least, "latency_p95": own.p95 / first.p95}
    figures["of_before"] = {name: figures[name] / (before or sizes)[name] for name in sizes}
    return figures


def divergence(logits: Array, reference: Array) -> float:
    """Return the mean KL(softmax(reference) || softmax(logits)) of logits (n, k)."""
    own, other = (functional.log_softmax(torch.from_numpy(values).double(), dim=1) for values in (logits, reference))
    return float(functional.kl_div(own, other, reduction="batchmean", log_target=True))


def latencies(contents: Sequence[bytes], picture: Tensor) -> list[Latency]:
    """Time nets in turns, so that whatever else the processor does falls on all of them alike."""
    sessions, given = [session(content) for content in contents], {PICTURES: picture.numpy()}
    times: list[list[float]] = [[] for _ in sessions]
    for repeat in range(-WARMING, REPEATS):
        for net, taken in zip(sessions, times, strict=True):
            began = time.perf_counter()
            net.run([LOGITS], given)
            if repeat >= 0:
                taken.append(1e3 * (time.perf_counter() - began))
    return [Latency.of(taken) for taken in times]


def versions() -> dict[str, str]:
    """Return what the figures were found with."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnxruntime": ort.__version__,
        "numpy": np.__version__,
    }


def _file_logits(content: bytes, pictures: np.ndarray) -> Array:
    parts = [
        logits_of(content, normalised(pictures[first : first + CHUNK])) for first in range(0, len(pictures), CHUNK)
    ]
    return np.concatenate(parts)
