"""The visible table of classifiers: by what name a run file asks for one."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from models.nets.binary_resnet import BinaryMobileNetV2, BinaryResNet
from models.nets.mobilenetv2 import MobileNetV2
from models.nets.resnet import STAGES, STEMS, ResNet

NETS: dict[str, Callable[..., nn.Module]] = {  # name -> (classes, width, stem)
    **{f"resnet{depth}": partial(ResNet, depth) for depth in STAGES},
    "mobilenetv2": MobileNetV2,
    **{f"binary_resnet{depth}": partial(BinaryResNet, depth) for depth in STAGES},  # shortcuts around every convolution
    "binary_mobilenetv2": BinaryMobileNetV2,
}


@dataclass(frozen=True, kw_only=True)
class NetPlan:
    """What a run file says in ``[net]``."""

    name: str  # of `NETS`
    width: int = 16  # channels of the first layer
    stem: str = "small"  # "large" is for pictures of 224 pixels

    def __post_init__(self) -> None:
        if self.name not in NETS:
            raise ValueError(f"name is {self.name!r}, none of {', '.join(NETS)}")
        if self.width < 1:
            raise ValueError(f"width is {self.width}; it is 1 at least")
        if self.stem not in STEMS:
            raise ValueError(f"stem is {self.stem!r}, none of {', '.join(STEMS)}")

    def build(self, classes: int) -> nn.Module:
        """Return the net with weights as the random numbers of the moment have them."""
        return NETS[self.name](classes=classes, width=self.width, stem=self.stem)
