"""The early-exit net: its shapes, its size, and that it can be written as ONNX without a difference."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from net_sizes import multiplications, parameter_count  # noqa: E402

from app.vision.runtime import ort  # noqa: E402
from models.detection.onnx_writer import stem_model, tail_model  # noqa: E402
from models.detection.priors import face_priors, person_priors  # noqa: E402
from models.nets.blocks import Convolution  # noqa: E402
from models.nets.early_exit import HEIGHT, WIDTH, EarlyExitDetector, gate_features  # noqa: E402


@pytest.fixture(scope="module")
def net() -> EarlyExitDetector:
    """A net whose normalisations have seen something."""
    torch.manual_seed(0)
    made = EarlyExitDetector().train()
    with torch.no_grad():
        made(torch.rand(2, 3, HEIGHT, WIDTH) * 255)
    return made.eval()


def test_size(net: EarlyExitDetector) -> None:
    assert parameter_count(net) == 3_049_199
    assert multiplications(net.stem, 1, 3, HEIGHT, WIDTH) == 34_560_000
    assert multiplications(net, 1, 3, HEIGHT, WIDTH) == 434_940_992


def test_every_output_has_a_prior(net: EarlyExitDetector) -> None:
    found = net(torch.zeros(2, 3, HEIGHT, WIDTH))
    persons, faces = len(person_priors(WIDTH, HEIGHT).boxes()), len(face_priors(WIDTH, HEIGHT).boxes())
    assert (persons, faces) == (1554, 3160)
    assert [tuple(value.shape) for value in found] == [
        (2, persons, 4),
        (2, persons),
        (2, faces, 4),
        (2, faces),
        (2, faces, 10),
    ]


def test_every_activation_is_a_clip_that_the_runtime_joins_with_its_convolution(net: EarlyExitDetector) -> None:
    stem, tail = stem_model(net.stem, WIDTH, HEIGHT), tail_model(net.tail, 24, HEIGHT // 4, WIDTH // 4)
    for model, part in ((stem, net.stem), (tail, net.tail)):
        graph = onnx.load_from_string(model).graph
        convolutions = {node.output[0] for node in graph.node if node.op_type == "Conv"}
        clips = [node for node in graph.node if node.op_type == "Clip"]
        constants = {tensor.name: tensor for tensor in graph.initializer}
        read = [name for node in graph.node for name in node.input]
        activations = [one for one in part.modules() if isinstance(one, Convolution) and not one.linear]
        assert len(clips) == len(activations) > 0
        assert all(clip.input[0] in convolutions and read.count(clip.input[0]) == 1 for clip in clips)
        bounds = [[numpy_helper.to_array(constants[name]).item() for name in clip.input[1:]] for clip in clips]
        assert bounds == [[0, 6]] * len(clips)


def test_onnx_equals_torch(net: EarlyExitDetector) -> None:
    stem, tail = stem_model(net.stem, WIDTH, HEIGHT), tail_model(net.tail, 24, HEIGHT // 4, WIDTH // 4)
    picture = torch.rand(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1)) * 255
    with torch.no_grad():
        cells, found = net.stem(picture), net(picture)
        features = gate_features(cells)
    opened = [ort.InferenceSession(model, providers=["CPUExecutionProvider"]) for model in (stem, tail)]
    mine = opened[0].run(None, {"image": picture.numpy()})
    outputs = opened[1].run(None, {"map": mine[0]})
    assert [output.name for output in opened[1].get_outputs()] == [
        "box_codes",
        "person_logit",
        "face_codes",
        "face_logit",
        "face_points",
    ]
    for value, expected in zip([*mine, *outputs], [cells, features, *found], strict=True):
        np.testing.assert_allclose(value, expected.numpy(), atol=1e-4)


def test_writing_twice_gives_the_same_bytes_and_pads_within_convolutions(net: EarlyExitDetector) -> None:
    tail = tail_model(net.tail, 24, HEIGHT // 4, WIDTH // 4)
    assert tail == tail_model(net.tail, 24, HEIGHT // 4, WIDTH // 4)
    assert {node.op_type for node in onnx.load_from_string(tail).graph.node} == {
        "Conv",
        "Clip",
        "Add",
        "Concat",
        "Resize",
        "Reshape",
        "Slice",
        "Transpose",
    }
