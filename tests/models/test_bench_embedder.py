"""What `cardea bench embedder` prints, and the nets it compares with. Nothing here asserts a speed."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from fixtures_starter import take_or_skip

from app.__main__ import main
from app.cli import bench_embedder
from app.errors import SetupError
from app.vision.artefact import Net, shipped
from models.__main__ import main as models
from models.evaluate.yardsticks import YARDSTICKS, dlib_resnet, iresnet100
from models.labels import SFACE
from models.starter.recipes import EMBEDDER

KEYS = ("int8", "fp32", "start", "teacher", "iresnet100", "dlib")


@pytest.mark.slow
def test_every_net_is_measured_or_said_to_be_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "embedder", "--rounds", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    for name in KEYS:
        assert (told[f"{name}_ms"] is None) == (name in told["not_measured"])
        assert told[f"{name}_ms"] is None or told[f"{name}_ms"] > 0
    assert told["fp32_ms"] and told["iresnet100_ms"] and told["dlib_ms"]  # these need no registry
    card = shipped("embedder").card
    assert (told["int8_ms"] is None) == ("int8" not in card.parameters["precisions"])
    assert (told["artefact"], told["files"], told["threads"]) == (card.id, card.files, 1) and told["hardware"]


def test_the_forerunner_and_the_teacher_are_the_registrys(tmp_path: Path) -> None:
    assert set(bench_embedder.YARDSTICKS) == set(YARDSTICKS)
    for name, source in (("start", EMBEDDER.source), ("teacher", SFACE)):
        take_or_skip(source)
        assert models(["yardstick", name, "--out", str(tmp_path / name)]) == 0
    face = np.random.default_rng(0).integers(0, 256, (1, 3, 112, 112)).astype(np.float32)
    vectors = {name: Net(tmp_path / name).run(face)[0] for name in ("start", "teacher")}
    assert vectors["start"].shape == (1, 192) and np.linalg.norm(vectors["start"]) == pytest.approx(1, abs=1e-5)
    assert vectors["teacher"].shape == (1, 128)


def test_what_the_toolchain_cannot_write_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_embedder.sys, "executable", "/bin/false")
    with pytest.raises(SetupError):
        bench_embedder.yardstick("dlib")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "weights", "operations"),
    [
        (iresnet100, 65_156_160 - 81_280, 12_089_606_144),  # published, less two a channel of normalisations and slopes
        (dlib_resnet, 5_603_936, None),  # its file has 22.5 MB
    ],
)
def test_large_nets_have_the_published_shape(build: Callable[[], bytes], weights: int, operations: int | None) -> None:
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(build())).graph
    shapes = {known.name: list(known.dims) for known in graph.initializer}
    cells = {
        value.name: math.prod(axis.dim_value for axis in value.type.tensor_type.shape.dim[2:])
        for value in (*graph.value_info, *graph.output)
    }
    layers = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    assert sum(math.prod(shapes[node.input[1]]) for node in layers) == weights
    counted = sum(math.prod(shapes[node.input[1]]) * cells[node.output[0]] for node in layers)
    assert operations is None or counted == operations
