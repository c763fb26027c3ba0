"""The nets as they are shipped: shapes, padding, cut, and the rewritten activation."""

import cv2
import numpy as np
import pytest

from app.vision.artefact import SHIPPED, Artefact
from app.vision.faces import FaceFinder
from app.vision.runtime import ort
from models.differences import averaged, finder_differences
from models.pictures import decoded
from models.starter.embedder import prelu, with_prelus
from models.starter.graph import Graph, Map, same_padding
from models.starter.recipes import EMBEDDER, FINDER
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


def test_stem_and_tail_fit(starter_detector: Artefact) -> None:
    stem, tail = starter_detector.open("stem.onnx"), starter_detector.open("tail.onnx")
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


def test_the_embedder_takes_any_number_and_gives_unit_vectors() -> None:
    net = Artefact(SHIPPED / "former" / EMBEDDER.name).open("embedder.onnx")
    crops = noise(3, 3, 112, 112)
    (together,) = net.run(crops)
    (alone,) = net.run(crops[1:2])
    assert together.shape == (3, 192)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(alone[0], together[1], atol=1e-6)


def test_the_rewritten_prelu_is_one() -> None:
    slope = np.array([0.25, -0.5, 1.0, 0.0], np.float32)
    graph = Graph("activation", {"x": ["batch", 4, 3, 3]})
    activated = prelu(graph, Map("x", 4, 3, 3), slope)
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
    joined = list(with_prelus([*stored, step("add", [10, 5], 11)]))
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


def test_channel_order_is_blue_first(portrait_files: dict[str, bytes], starter_detector: Artefact) -> None:
    # With the channels swapped the person net loses confidence; a silent swap would go unnoticed otherwise.
    stem, tail = starter_detector.open("stem.onnx"), starter_detector.open("tail.onnx")
    picture = cv2.resize(decoded(portrait_files)[0], (300, 300), interpolation=cv2.INTER_AREA)
    batch = np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32)
    right, wrong = (tail.run(stem.run(order)[0])[1].max() for order in (batch, batch[:, ::-1].copy()))
    assert right > 2 and right > wrong + 0.5
