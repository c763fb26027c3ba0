"""The face branch of the lean detector: its shapes, its size, and that its ONNX files are the net."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from net_sizes import multiplications, parameter_count  # noqa: E402

from app.vision.runtime import ort  # noqa: E402
from models.detection.export import disagreement, written  # noqa: E402
from models.detection.priors import face_priors, person_priors  # noqa: E402
from models.nets.blocks import Convolution  # noqa: E402
from models.nets.face_branch import LeanWithFaces  # noqa: E402
from models.precisions import STEM, TAIL  # noqa: E402
from models.starter.person import SIDE  # noqa: E402


@pytest.fixture(scope="module")
def net() -> LeanWithFaces:
    """A net whose normalisations have seen something."""
    torch.manual_seed(0)
    made = LeanWithFaces().train()
    with torch.no_grad():
        made(torch.rand(2, 3, SIDE, SIDE) * 255)
    return made.eval()


def test_size(net: LeanWithFaces) -> None:
    assert parameter_count(net.faces) == 28_842
    assert multiplications(net, 1, 3, SIDE, SIDE) == 353_883_344  # 344_119_952 without it


def test_every_output_has_a_prior(net: LeanWithFaces) -> None:
    found = net(torch.zeros(2, 3, SIDE, SIDE))
    persons, faces = len(person_priors(SIDE, SIDE).boxes()), len(face_priors(SIDE, SIDE).boxes())
    assert (persons, faces) == (1917, 3810)
    assert [tuple(value.shape) for value in found] == [
        (2, persons, 4),
        (2, persons),
        (2, faces, 4),
        (2, faces),
        (2, faces, 10),
    ]


def test_every_activation_is_a_clip_that_the_runtime_joins_with_its_convolution(net: LeanWithFaces) -> None:
    activations = 0
    for model in written(net).values():
        graph = onnx.load_from_string(model).graph
        convolutions = {node.output[0] for node in graph.node if node.op_type == "Conv"}
        clips = [node for node in graph.node if node.op_type == "Clip"]
        constants = {tensor.name: tensor for tensor in graph.initializer}
        read = [name for node in graph.node for name in node.input]
        assert all(clip.input[0] in convolutions and read.count(clip.input[0]) == 1 for clip in clips)
        bounds = [[numpy_helper.to_array(constants[name]).item() for name in clip.input[1:]] for clip in clips]
        assert bounds == [[0, 6]] * len(clips)
        activations += len(clips)
    assert activations == sum(isinstance(one, Convolution) and not one.linear for one in net.modules()) > 0


def test_onnx_equals_torch(net: LeanWithFaces) -> None:
    nets = written(net)
    picture = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    assert disagreement(net, nets, [picture]) < 1e-5
    tail = ort.InferenceSession(nets[TAIL], providers=["CPUExecutionProvider"])
    assert [output.name for output in tail.get_outputs()] == [
        "box_codes",
        "person_logit",
        "face_codes",
        "face_logit",
        "face_points",
    ]
    stem = onnx.load_from_string(nets[STEM])
    kernel = next(tensor for tensor in stem.graph.initializer if len(tensor.dims) == 4)
    kernel.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kernel) * np.float32(1.1), kernel.name))
    assert disagreement(net, nets | {STEM: stem.SerializeToString()}, [picture]) > 1e-4


def test_writing_twice_gives_the_same_bytes_and_pads_within_convolutions(net: LeanWithFaces) -> None:
    tail = written(net)[TAIL]
    assert tail == written(net)[TAIL]
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
