"""The nets as they are shipped: shapes, padding, cut, and the rewritten activation."""

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from app.vision.artefact import SHIPPED, Artefact
from app.vision.faces import FaceFinder
from app.vision.runtime import ort
from models.differences import averaged, finder_differences
from models.pictures import decoded
from models.starter.embedder import _prelu, _with_prelus
from models.starter.graph import Graph, Map, same_padding
from models.starter.recipes import EMBEDDER, FINDER, PERSON
from models.starter.tflite import Operator


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)


@pytest.mark.parametrize(
    ("side", "padding"),
    [(300, (0, 1)), (150, (0, 1)), (75, (1, 1)), (38, (0, 1)), (19, (1, 1)), (10, (0, 1)), (5, (1, 1)), (3, (1, 1))],
)
def test_padding_at_stride_two_depends_on_the_side(side: int, padding: tuple[int, int]) -> None:
    assert same_padding(side, 3, 2) == padding


def test_padding_at_stride_one_is_even() -> None:
    assert same_padding(19, 3, 1) == (1, 1) and same_padding(7, 1, 1) == (0, 0)


def test_stem_and_tail_fit() -> None:
    artefact = Artefact(SHIPPED / PERSON.name)
    stem, tail = artefact.open("stem.onnx"), artefact.open("tail.onnx")
    cells, features = stem.run(noise(1, 3, 300, 300))
    codes, logits = tail.run(cells)
    assert stem.outputs == ["map", "features"] and tail.outputs == ["box_codes", "person_logit"]
    assert [part.shape for part in (cells, features, codes, logits)] == [
        (1, 24, 75, 75),
        (1, 24, 25, 25),
        (1, 1917, 4),
        (1, 1917),
    ]
    np.testing.assert_allclose(features, averaged(cells, 3), atol=1e-5)


def convolved(values: np.ndarray, weights: np.ndarray, bias: np.ndarray, stride: int) -> np.ndarray:
    """A convolution (c, h, w) -> (o, h', w') with TensorFlow's SAME padding, written out."""
    channels, side, kernel = len(values), values.shape[1], weights.shape[2]
    before, after = same_padding(side, kernel, stride)
    padded = np.pad(values, ((0, 0), (before, after), (before, after)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(1, 2))[:, ::stride, ::stride]
    if weights.shape[1] == 1 and channels == len(weights):
        return np.einsum("chwij,cij->chw", windows, weights[:, 0]) + bias[:, None, None]
    return np.einsum("chwij,ocij->ohw", windows, weights, optimize=True) + bias[:, None, None]


def test_the_half_stem_equals_its_layers_written_out() -> None:
    # The pads of the 300x300 stem would be wrong at 150x150, and the result still looks like a map.
    model = onnx.load(SHIPPED / PERSON.name / "stem_half.onnx")
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    layers = [[constants[name] for name in node.input[1:]] for node in model.graph.node if node.op_type == "Conv"]
    strides = [2, 1, 1, 1, 2, 1, 1, 1, 1]  # first convolution; block 0; block 1 strides; block 2 adds its input
    linear = {2, 5, 8}
    picture = noise(1, 3, 150, 150)
    values, entry = picture[0].astype(np.float64) * (2 / 255) - 1, np.zeros(0)
    for index, ((weights, bias), stride) in enumerate(zip(layers, strides, strict=True)):
        entry = values if index == 6 else entry
        values = convolved(values, weights, bias, stride)
        values = values if index in linear else values.clip(0, 6)
    values = values + entry
    assert values.shape == (24, 38, 38)
    (features,) = Artefact(SHIPPED / PERSON.name).open("stem_half.onnx").run(picture)
    np.testing.assert_allclose(features, averaged(values[None], 2), atol=1e-3)


def test_the_embedder_takes_any_number_and_gives_unit_vectors() -> None:
    net = Artefact(SHIPPED / EMBEDDER.name).open("embedder.onnx")
    crops = noise(3, 3, 112, 112)
    (together,) = net.run(crops)
    (alone,) = net.run(crops[1:2])
    assert together.shape == (3, 192)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(alone[0], together[1], atol=1e-6)


def test_the_rewritten_prelu_is_one() -> None:
    slope = np.array([0.25, -0.5, 1.0, 0.0], np.float32)
    graph = Graph("activation", {"x": ["batch", 4, 3, 3]})
    activated = _prelu(graph, Map("x", 4, 3), slope)
    graph.node("Identity", activated.name, output="y")
    session = ort.InferenceSession(graph.model({"y": ["batch", 4, 3, 3]}), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).normal(size=(2, 4, 3, 3)).astype(np.float32)
    expected = np.where(x < 0, slope[:, None, None] * x, x)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, atol=1e-6)


def test_a_stored_prelu_is_recognised() -> None:
    # relu(x) + m (x - |x|) is 2 m x below zero.
    def step(name: str, inputs: list[int], output: int, constants: tuple[np.ndarray, ...] = ()) -> Operator:
        return Operator(name, inputs, list(constants), output, 1, False)

    stored = [
        step("relu", [5], 6),
        step("abs", [5], 7),
        step("subtract", [5, 7], 8),
        step("multiply", [8], 9, (np.array([0.1], np.float32),)),
        step("add", [6, 9], 10),
    ]
    joined = list(_with_prelus([*stored, step("add", [10, 5], 11)]))
    assert [(part.name, part.inputs, part.output) for part in joined] == [("prelu", [5], 10), ("add", [10, 5], 11)]
    np.testing.assert_allclose(joined[0].constants[0], [0.2])


def test_the_finder_takes_any_multiple_of_32() -> None:
    net = Artefact(SHIPPED / FINDER.name).open("finder.onnx")
    outputs = dict(zip(net.outputs, net.run(noise(1, 3, 96, 320)), strict=True))
    assert {name: value.shape[1] for name, value in outputs.items() if name.startswith("kps")} == {
        "kps_8": 12 * 40,
        "kps_16": 6 * 20,
        "kps_32": 3 * 10,
    }


def test_the_finder_finds_what_opencv_finds(portrait_files: dict[str, bytes]) -> None:
    source = (SHIPPED / FINDER.name / "finder.onnx").read_bytes()
    differences = finder_differences(source, decoded(portrait_files))
    assert differences[1].n >= 8  # faces
    assert [difference.what for difference in differences if difference.value > difference.limit] == []


def test_a_face_is_found_in_each_portrait(portrait_files: dict[str, bytes]) -> None:
    finder = FaceFinder(Artefact(SHIPPED / FINDER.name))
    assert [len(finder.find(picture)) for picture in decoded(portrait_files)] == [1, 1]


def test_channel_order_is_blue_first(portrait_files: dict[str, bytes]) -> None:
    # With the channels swapped the person net loses confidence; a silent swap would go unnoticed otherwise.
    artefact = Artefact(SHIPPED / PERSON.name)
    stem, tail = artefact.open("stem.onnx"), artefact.open("tail.onnx")
    picture = cv2.resize(decoded(portrait_files)[0], (300, 300), interpolation=cv2.INTER_AREA)
    batch = np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32)
    right, wrong = (tail.run(stem.run(order)[0])[1].max() for order in (batch, batch[:, ::-1].copy()))
    assert right > 2 and right > wrong + 0.5
