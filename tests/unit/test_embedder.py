"""The shipped embedder on two portraits, and the threshold that its impostor table gives."""

import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from app.errors import ArtefactError
from app.types import Image
from app.vision.artefact import Artefact
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder, align
from models.starter.build import UNMEASURED

COLLINS, HOPPER = "Eileen Collins", "Grace Hopper"
PINNED = {135: 0.066, 200: 0.092, 222: -0.186, 257: -0.235, 273: 0.067, 312: -0.156}  # of Grace Hopper's vector
TABLE = {"fmr": [1e-1, 1e-2, 1e-3, 1e-4], "similarity": [0.2, 0.3, 0.36, 0.5]}
TAIL = {"start": 0.5, "share": 1e-4, "scale": 0.03, "shape": 0.0, "least_rate": 1e-6}


@pytest.fixture(scope="module")
def pictures(portrait_files: dict[str, bytes]) -> dict[str, Image]:
    return {
        name: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for name, data in portrait_files.items()
    }


@pytest.fixture(scope="module")
def crops(face_nets: tuple[FaceFinder, Embedder], pictures: dict[str, Image]) -> dict[str, Image]:
    return {name: align(image, face_nets[0].find(image).landmarks[0]) for name, image in pictures.items()}


@pytest.fixture(scope="module")
def embedder(face_nets: tuple[FaceFinder, Embedder]) -> Embedder:
    return face_nets[1]


def channel_means() -> bytes:
    """A net whose vectors (n, 3) are no unit vectors: the mean of each colour."""
    crops = helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["n", 3, 112, 112])
    vectors = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 3])
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3])
    mean = helper.make_node("ReduceMean", ["crops", "axes"], ["embedding"], keepdims=0)
    graph = helper.make_graph([mean], "means", [crops], [vectors], [axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def artefact(folder: Path, **parameters: Any) -> Artefact:
    """An embedder of channel means with these card parameters."""
    net = channel_means()
    files = {"embedder.onnx": {"sha256": hashlib.sha256(net).hexdigest()}}
    given: dict[str, Any] = {"dimension": 3, "impostors": TABLE, "floor": 0.25}
    given |= {"precisions": {"fp32": "embedder.onnx"}} | parameters
    card = {"name": "means", "version": "1", "role": "embedder", "files": files, "input": {}, "parameters": given}
    (folder / "embedder.onnx").write_bytes(net)
    (folder / "card.json").write_text(json.dumps(card))
    return Artefact(folder)


def test_vectors_are_unit_rows_that_do_not_depend_on_the_batch(embedder: Embedder, crops: dict[str, Image]) -> None:
    both = embedder.embed(list(crops.values()))
    assert both.shape == (2, embedder.dimension)
    assert both.dtype == np.float32
    assert both.flags.c_contiguous
    np.testing.assert_allclose(np.linalg.norm(both, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(embedder.embed([crops[HOPPER]])[0], both[1], atol=1e-5)
    assert embedder.embed([]).shape == (0, embedder.dimension)


def test_one_person_is_alike_and_another_is_not(
    face_nets: tuple[FaceFinder, Embedder], pictures: dict[str, Image], crops: dict[str, Image]
) -> None:
    finder, embedder = face_nets
    image = cv2.resize(pictures[COLLINS], None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    noisy = (image + np.random.default_rng(3).normal(0, 5, image.shape)).clip(0, 255).astype(np.uint8)
    again = align(noisy, finder.find(noisy).landmarks[0])
    collins, hopper, same = embedder.embed([crops[COLLINS], crops[HOPPER], again])
    assert collins @ same > 0.8
    assert collins @ hopper < 0.4


def test_colours_come_in_the_order_of_the_camera(embedder: Embedder, crops: dict[str, Image]) -> None:
    """The vector is pinned where red and blue matter most; exchanged, they would not fail otherwise."""
    right, exchanged = embedder.embed([crops[HOPPER], np.ascontiguousarray(crops[HOPPER][:, :, ::-1])])
    places, values = np.array(list(PINNED)), np.array(list(PINNED.values()))
    np.testing.assert_allclose(right[places], values, atol=0.01)
    assert (np.abs(exchanged[places] - values) > 0.02).all()


def test_a_net_that_gives_no_unit_vectors_is_not_believed(tmp_path: Path) -> None:
    embedder = Embedder(artefact(tmp_path))
    for value in (0, 90):
        with pytest.raises(ArtefactError, match="lengths"):
            embedder.embed([np.full((112, 112, 3), value, np.uint8)])


def test_a_net_of_another_width_is_not_believed(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="shape"):
        Embedder(artefact(tmp_path, dimension=4)).embed([np.zeros((112, 112, 3), np.uint8)])


@pytest.mark.parametrize(
    ("templates", "target", "similarity"),
    [
        (1, 1e-2, 0.3),  # an entry
        (0, 1e-2, 0.3),  # an empty gallery counts as one template
        (10, 1e-2, 0.36),  # each of ten comparisons may fail a tenth as often
        (1, 10**-2.5, 0.33),  # between two entries, in the logarithm
        (1_000_000, 1e-3, 0.5),  # beyond the table: its end
        (1, 1e-1, 0.25),  # the floor
    ],
)
def test_threshold(tmp_path: Path, templates: int, target: float, similarity: float) -> None:
    assert Embedder(artefact(tmp_path)).threshold(templates, target) == pytest.approx(similarity)


def test_past_the_table_the_threshold_goes_on_with_the_tail_and_then_stays(tmp_path: Path) -> None:
    embedder = Embedder(artefact(tmp_path, tail=TAIL))
    assert embedder.threshold(100, 1e-3) == pytest.approx(0.5 + 0.03 * np.log(10))
    strictest = 0.5 + 0.03 * np.log(100)
    assert [embedder.threshold(templates, 1e-3) for templates in (1000, 1001, 10**9)] == pytest.approx([strictest] * 3)
    assert embedder.most_templates(1e-3) == 1000
    assert [embedder.keeps(templates, 1e-3) for templates in (0, 1000, 1001)] == [True, True, False]
    assert [embedder.keeps(templates, 1e-5) for templates in (10, 11)] == [True, False]


def test_a_card_without_a_tail_keeps_what_its_table_knows(tmp_path: Path) -> None:
    embedder = Embedder(artefact(tmp_path))
    assert [embedder.keeps(templates, 1e-3) for templates in (10, 11)] == [True, False]


def test_what_a_gallery_lets_in_follows_from_the_threshold(tmp_path: Path) -> None:
    """ISO/IEC 19795-1: 200 templates at a false-match rate of 1e-5 let 1.998e-3 of the strangers in."""
    embedder = Embedder(artefact(tmp_path, tail=TAIL))
    assert embedder.expected_fpir(200, embedder.similarity_at(1e-5)) == pytest.approx(0.001998, abs=1e-6)
    for templates in (10, 100, 1000):
        assert embedder.expected_fpir(templates, embedder.threshold(templates, 1e-3)) == pytest.approx(1e-3, rel=1e-3)
    assert embedder.expected_fpir(2000, embedder.threshold(2000, 1e-3)) == pytest.approx(2e-3, rel=1e-2)
    assert embedder.expected_fpir(0, 0.5) == 0


def test_an_embedder_that_was_not_measured_knows_nobody(tmp_path: Path) -> None:
    embedder = Embedder(artefact(tmp_path, **UNMEASURED))
    assert embedder.threshold(1, 1e-3) == 1 and not embedder.keeps(1, 0.1)


def test_threshold_of_the_shipped_net_rises_with_the_gallery(embedder: Embedder) -> None:
    thresholds = [embedder.threshold(templates, 1e-3) for templates in (10, 100, 1000, 10_000, 100_000)]
    assert thresholds == sorted(set(thresholds))  # one template has the floor, which may be that of ten
    assert 0.3 < embedder.threshold(1, 1e-3) <= thresholds[0] < thresholds[-1] < 0.95
    assert embedder.keeps(100_000, 1e-3)


@pytest.mark.parametrize(
    "parameters",
    [
        {"impostors": None},
        {"impostors": {"fmr": [1e-2, 1e-2], "similarity": [0.3, 0.4]}},
        {"impostors": {"fmr": [1e-2, 1e-3], "similarity": [0.4, 0.3]}},
        {"impostors": {"fmr": [1e-2], "similarity": [0.4, 0.5]}},
        {"tail": TAIL | {"start": 0.4}},
        {"tail": {"start": 0.5}},
        {"floor": "high"},
        {"dimension": None},
    ],
)
def test_a_card_that_gives_no_threshold_is_refused(tmp_path: Path, parameters: dict[str, Any]) -> None:
    with pytest.raises(ArtefactError):
        Embedder(artefact(tmp_path, **parameters))
