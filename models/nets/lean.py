"""The lean person detector: the starter net with fewer channels inside, and more of them gone where pixels are many.

Maps between blocks and the priors stay the starter's, so it can teach without labels. Inside its blocks the stem keeps
a third of the channels and the trunk two thirds, the first convolution half of its own and the last one three tenths:
those that the net's own weights use most (after Li et al. 2017, Pruning Filters for Efficient ConvNets). A lean net of
other widths can be narrowed so too.
"""

import torch
from torch import Tensor, nn

from models.nets.blocks import Convolution, InvertedResidual, Predictor
from models.nets.ssdlite import BRANCH_BLOCK, SSDLite, Widths

LEAN = Widths(first=16, stem_expansion=2, expansion=4, branch=4, last=384)


def narrowed(starter: SSDLite, wide: Widths = LEAN) -> SSDLite:
    """Return a net of these widths with what it can keep of the starter.

    The channels that stay are those that send the most on: root mean square behind the activation, by the batch
    normalisation's own gain and shift, times the norm of the weights that read the channel.
    """
    net = SSDLite(wide)
    with torch.no_grad():
        stem = starter.stem.blocks[0]
        assert isinstance(stem, InvertedResidual)
        first = _largest(_sent(stem.depthwise) * _read(stem.project), wide.first)
        _copy(net.stem.first, starter.stem.first, outputs=first)
        rows = [_narrow_block(*pair, first) for pair in zip(_blocks(net), _blocks(starter), strict=True)]
        extra, source = net.trunk.extras[0], starter.trunk.extras[0]
        assert isinstance(extra, nn.Sequential) and isinstance(source, nn.Sequential)
        last = _largest(_sent(starter.trunk.last) * _read(source[0]), wide.last)
        _copy(net.trunk.last, starter.trunk.last, outputs=last)
        _copy(extra[0], source[0], inputs=last)
        for part in (1, 2):
            _copy(extra[part], source[part])
        for one, other in zip(net.trunk.extras[1:], starter.trunk.extras[1:], strict=True):
            one.load_state_dict(other.state_dict())
        _narrow_heads(net, starter, (rows[BRANCH_BLOCK], last))
    return net


def _blocks(net: SSDLite) -> list[nn.Module]:
    return [*net.stem.blocks, *net.trunk.blocks]


def _narrow_block(mine: nn.Module, theirs: nn.Module, first: Tensor) -> Tensor:
    """Narrow a block inside, where one without an expansion has the channels of the first convolution; return which."""
    assert isinstance(mine, InvertedResidual) and isinstance(theirs, InvertedResidual)
    kept = first
    if isinstance(mine.expand, Convolution):
        kept = _largest(_sent(theirs.depthwise) * _read(theirs.project), mine.depthwise.conv.out_channels)
        _copy(mine.expand, theirs.expand, outputs=kept)
    _copy(mine.depthwise, theirs.depthwise, outputs=kept)
    _copy(mine.project, theirs.project, inputs=kept)
    return kept


def _narrow_heads(net: SSDLite, starter: SSDLite, narrow: tuple[Tensor, ...]) -> None:
    """Copy the predictors, those of the first maps for the channels that are left there."""
    for mine, theirs in ((net.persons.codes, starter.persons.codes), (net.persons.logits, starter.persons.logits)):
        for level, (predictor, source) in enumerate(zip(mine, theirs, strict=True)):
            assert isinstance(predictor, Predictor) and isinstance(source, Predictor)
            every = torch.arange(source.depthwise.conv.out_channels)
            rows = narrow[level] if level < len(narrow) else every
            _copy(predictor.depthwise, source.depthwise, outputs=rows)
            values = source.pointwise.state_dict()
            predictor.pointwise.load_state_dict(values | {"weight": values["weight"][:, rows]})


def _copy(mine: nn.Module, theirs: nn.Module, outputs: Tensor | None = None, inputs: Tensor | None = None) -> None:
    """Copy a layer, of which only some outputs or inputs may be kept."""
    assert isinstance(mine, Convolution) and isinstance(theirs, Convolution)
    weights = theirs.conv.weight if outputs is None else theirs.conv.weight[outputs]
    mine.conv.weight.copy_(weights if inputs is None else weights[:, inputs])
    for name in ("weight", "bias", "running_mean", "running_var"):
        value = getattr(theirs.norm, name)
        getattr(mine.norm, name).copy_(value if outputs is None else value[outputs])


def _sent(layer: nn.Module) -> Tensor:
    """Return the root mean square of each channel behind a ReLU of a normal distribution of this gain and shift."""
    assert isinstance(layer, Convolution)
    gain, shift = layer.norm.weight.abs().clamp(min=1e-6), layer.norm.bias
    ratio = shift / gain
    below: Tensor = torch.special.ndtr(ratio)
    density = torch.exp(-ratio.square() / 2) / (2 * torch.pi) ** 0.5
    return ((shift.square() + gain.square()) * below + shift * gain * density).clamp(min=0).sqrt()


def _read(layer: nn.Module) -> Tensor:
    """Return the norm of the weights that read each input channel."""
    assert isinstance(layer, Convolution)
    return layer.conv.weight.flatten(1).norm(dim=0)


def _largest(values: Tensor, count: int) -> Tensor:
    """Return the places of the `count` largest values, in order."""
    return values.argsort(descending=True, stable=True)[:count].sort().values
