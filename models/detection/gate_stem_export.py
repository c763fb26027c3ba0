"""Turns a trained gate's stem into its ONNX file, and proves that the two agree."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from app.errors import SetupError
from app.vision.picture import ArrayPicture
from app.vision.runtime import ort
from models.detection.onnx_writer import layer
from models.nets.gate_stem import POOLED, GateStem
from models.precisions import FEATURES, HALF_STEM
from models.run import load
from models.starter.graph import Graph, Map
from models.starter.person import HALF_SIDE

TOLERANCE = 1e-4  # share of the largest feature by which ONNX may differ from torch


def export_gate_stem(run: Path, folder: Path, pictures: Iterable[np.ndarray]) -> float:
    """Write ``stem_half.onnx`` of a run's best weights into `folder`; return by how much it differs from the net.

    Args:
        run: folder of a run of the task ``gate_stem``.
        folder: made when it does not exist.
        pictures: BGR (H, W, 3) of any size, on which net and file are compared.

    Raises:
        SetupError: the run has no weights, or the file disagrees with the net.
    """
    net = GateStem()
    net.load_state_dict(load(run / "best.pt")["net"])
    content = gate_stem_model(net.eval())
    difference = _disagreement(net, content, pictures)
    if difference > TOLERANCE:
        raise SetupError(f"the ONNX file of {run.name} differs from the net by {difference:.1e}, over {TOLERANCE}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / HALF_STEM).write_bytes(content)
    return difference


def gate_stem_model(net: GateStem) -> bytes:
    """Return the stem as ONNX, batch normalisation folded in; averages and the last convolution are one kernel."""
    graph = Graph("gate stem", {"image": [1, 1, HALF_SIDE, HALF_SIDE]})
    cells = layer(graph, Map("image", 1, HALF_SIDE, HALF_SIDE), net.first, scale=1 / 128)
    cells = layer(graph, cells, net.depthwise)
    weights, bias = net.pointwise.weight.detach().double().numpy(), net.pointwise.bias
    assert bias is not None
    kernel = np.tile(weights / POOLED**2, (1, 1, POOLED, POOLED))
    cells = graph.convolution(cells, kernel, bias.detach().double().numpy(), POOLED, pad=False)
    graph.node("Identity", cells.name, output=FEATURES)
    return graph.model({FEATURES: [1, cells.channels, cells.rows, cells.columns]})


def _disagreement(net: GateStem, content: bytes, pictures: Iterable[np.ndarray]) -> float:
    """Return the largest difference of file and net, as a share of the largest feature."""
    session, worst = ort.InferenceSession(content, providers=["CPUExecutionProvider"]), 0.0
    for picture in pictures:
        batch = ArrayPicture(picture).luma(HALF_SIDE, HALF_SIDE)[None, None].astype(np.float32)
        with torch.no_grad():
            expected = net(torch.from_numpy(batch)).numpy()
        (features,) = session.run([FEATURES], {"image": batch})
        worst = max(worst, float(np.abs(features - expected).max() / np.abs(expected).max()))
    return worst
