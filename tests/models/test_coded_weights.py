"""Weights kept as 8-bit codes: a smaller file, hardly another net, and the same work for the runtime."""

from pathlib import Path

import numpy as np
import onnx

from app.vision.artefact import Net
from app.vision.runtime import ort
from models.coded_weights import LEAST, with_coded_weights
from models.starter.graph import Graph, Map

SIDE = 8


def small_net(channels: int) -> bytes:
    """One 3x3 convolution and a 1x1 one of a few weights behind it."""
    random = np.random.default_rng(0)
    graph = Graph("net", {"picture": ["batch", 3, SIDE, SIDE]})
    cells = graph.convolution(
        Map("picture", 3, SIDE, SIDE), random.normal(size=(channels, 3, 3, 3)), np.zeros(channels), 1, True
    )
    cells = graph.convolution(cells, random.normal(size=(2, channels, 1, 1)), np.ones(2), 1, True)
    graph.node("Identity", cells.name, output="map")
    return graph.model({"map": ["batch", 2, SIDE, SIDE]})


def run(content: bytes, folder: Path) -> np.ndarray:
    path = folder / "net.onnx"
    path.write_bytes(content)
    batch = np.random.default_rng(1).normal(size=(2, 3, SIDE, SIDE)).astype(np.float32)
    return Net(path).run(batch)[0]


def nodes(content: bytes, folder: Path) -> list[str]:
    """Return the operators that the runtime is left with."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return sorted(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


def test_the_file_shrinks_and_the_net_stays(tmp_path: Path) -> None:
    floats = small_net(256)
    coded = with_coded_weights(floats)
    assert len(coded) < 0.45 * len(floats)
    expected, found = run(floats, tmp_path), run(coded, tmp_path)
    assert not np.array_equal(found, expected)  # or nothing was rounded
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_nothing_is_left_to_do_for_a_picture(tmp_path: Path) -> None:
    floats = small_net(256)
    assert nodes(with_coded_weights(floats), tmp_path) == nodes(floats, tmp_path)


def test_few_weights_stay_floats(tmp_path: Path) -> None:
    floats = small_net(LEAST // 27 - 1)
    assert np.array_equal(run(with_coded_weights(floats), tmp_path), run(floats, tmp_path))
