"""Turns a trained embedder into its ONNX file, and proves that the two agree."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from app.errors import SetupError
from app.types import Array
from app.vision.runtime import ort
from models.detection.batches import set_path
from models.nets.integer import round_everything
from models.nets.mobilefacenet import Activation, MobileFaceNet
from models.precisions import EMBEDDER_NET
from models.quantise import calibrate, quantised
from models.recognition.crops import CropSet
from models.recognition.onnx_writer import embedder_model
from models.recognition.teachers import DIMENSION
from models.run import Plan, load

TOLERANCE = 1e-5  # 1 - the cosine of a face's vectors by torch and by ONNX
ROUNDED_TOLERANCE = 0.05  # the same where both round
COMPARED = 64  # faces that show it
ACTIVATIONS: dict[str, Activation] = {"embedder": "prelu", "embedder_relu": "relu", "embedder_integer": "relu"}


def export_embedder(run: Path, folder: Path, folders: Sequence[Path]) -> float:
    """Write ``embedder.onnx`` of a run's best weights into `folder`; return its `disagreement` with the net.

    Args:
        run: folder of a run of a task of `ACTIVATIONS`.
        folder: made when it does not exist.
        folders: of the sets that it was trained on, whose faces both are shown.

    Raises:
        SetupError: the run has no weights, a set is missing, or the file disagrees with the net.
    """
    plan = Plan.read(run / "run.toml")
    net = MobileFaceNet(DIMENSION, ACTIVATIONS[plan.task]).eval()
    rounds = plan.task == "embedder_integer"
    if rounds:
        round_everything(net)
    net.load_state_dict(load(run / "best.pt")["net"])
    content = embedder_model(net)
    crops = CropSet(set_path(next(iter(plan.sets)), folders))
    faces = np.stack([crops.face(row) for row in range(min(COMPARED, len(crops)))])
    batch = np.ascontiguousarray(faces.transpose(0, 3, 1, 2), np.float32)
    # A net that rounds is what the 8-bit twin of the file computes, not the file.
    twin = quantised(content, calibrate(content, [batch])) if rounds else content
    difference, limit = disagreement(net, twin, batch), ROUNDED_TOLERANCE if rounds else TOLERANCE
    if difference > limit:
        raise SetupError(f"the ONNX file of {run.name} differs from the net by {difference:.1e}, over {limit}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / EMBEDDER_NET).write_bytes(content)
    return difference


def disagreement(net: MobileFaceNet, content: bytes, batch: Array) -> float:
    """Return 1 - the least cosine between the vectors of net and file over faces (n, 3, 112, 112)."""
    with torch.no_grad():
        expected = functional.normalize(net(torch.from_numpy(batch))).numpy()
    (vectors,) = ort.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"crops": batch})
    return float(1 - (vectors * expected).sum(axis=1).min())
