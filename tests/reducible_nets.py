"""Small nets with normalisations that do something, and pictures that differ in a few ways only."""

from typing import cast

import torch
from torch import Tensor, nn

from models.nets.resnet import ResNet


def distance(first: Tensor, second: Tensor) -> float:
    return float((first - second).detach().norm() / second.detach().norm())


def draw_norms(net: nn.Module) -> None:
    """Give normalisations something to do; some scales are below zero."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(cast(Tensor, module.running_mean), 0, 0.2)
            nn.init.normal_(module.weight, 0.5, 0.7)
            nn.init.normal_(module.bias, 0, 0.2)
            nn.init.uniform_(cast(Tensor, module.running_var), 0.5, 2)


def vgg(side: int = 8, width: int = 4) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()),
        *(nn.Conv2d(width, 2 * width, 3, padding=1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(inplace=True)),
        nn.MaxPool2d(2),
        *(nn.Conv2d(2 * width, 2 * width, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Flatten(), nn.Linear(2 * width * (side // 4) ** 2, 16), nn.ReLU(), nn.Linear(16, 5)),
    )
    draw_norms(net)
    return net.eval()


def resnet(width: int = 4) -> ResNet:
    torch.manual_seed(0)
    net = ResNet(8, 5, width)
    draw_norms(net)
    return net.eval()


def drawn_pictures(count: int, side: int = 8, freedoms: int = 4) -> Tensor:
    """Return pictures (count, 3, side, side) that differ in a few ways only."""
    random = torch.Generator().manual_seed(1)
    ways = torch.randn(freedoms, 3 * side * side, generator=random)
    pictures: Tensor = (torch.randn(count, freedoms, generator=random) @ ways).reshape(count, 3, side, side)
    return pictures
