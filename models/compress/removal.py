"""Takes channels out of a net for good.

A group says where a set of channels lives: in the layers that write them, in what follows channel by channel, and in
the layers that read them (`models.compress.groups` finds groups). A channel is first silenced: its filters, biases,
gains and shifts are zero, so that it is zero everywhere and nobody who reads it notices when it goes. With filters
alone at zero a batch normalisation still emits the constant shift - mean gain / sqrt(variance + epsilon), and folding
that into the readers' biases would be wrong at the padded border.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.compress.stage import Edit, module_at

OUTPUTS, INPUTS = "outputs", "inputs"  # sides of a layer, and the names of their kept places in an edit


@dataclass(frozen=True, slots=True)
class Member:
    """A module of a group."""

    name: str  # dotted
    places: tuple[tuple[int, ...], ...]  # for each channel of the group where this module has it: none, one or more


@dataclass(frozen=True, slots=True)
class Group:
    """Channels that stand or fall together."""

    writers: tuple[Member, ...]  # convolutions and fully connected layers: rows of their weights
    followers: tuple[Member, ...]  # normalisations, depthwise convolutions, PReLUs: one entry a channel
    readers: tuple[Member, ...]  # convolutions and fully connected layers: columns of their weights

    @property
    def channels(self) -> int:
        """How many there are."""
        return len(self.writers[0].places)

    @property
    def inner(self) -> bool:
        """Whether one layer alone writes them, so that no addition ties them to another's."""
        return len(self.writers) == 1


def zero_filters(model: nn.Module, group: Group, channels: Sequence[int]) -> None:
    """Set the filters alone of channels of a group to zero, in place; they can learn again, and are not yet silent."""
    with torch.no_grad():
        for member in group.writers:
            weight_of(model, member)[_of(member, channels)] = 0


def silence(model: nn.Module, group: Group, channels: Sequence[int]) -> None:
    """Set filters, biases, gains and shifts of channels of a group to zero, in place."""
    with torch.no_grad():
        for member in (*group.writers, *group.followers):
            places = _of(member, channels)
            module = module_at(model, member.name)
            if not isinstance(module, nn.PReLU):  # its slopes scale zeros anyhow
                for parameter in module.parameters(recurse=False):
                    parameter[places] = 0


def silent(model: nn.Module, group: Group) -> list[int]:
    """Return the channels of a group all of whose filters are zero."""
    alive = torch.zeros(group.channels, dtype=torch.bool)
    for member in group.writers:
        alive |= by_channel(member, weight_of(model, member).detach().flatten(1).abs().amax(1).cpu()) > 0
    return (~alive).nonzero()[:, 0].tolist()


def remove(model: nn.Module, silenced: Sequence[tuple[Group, Sequence[int]]]) -> list[Edit]:
    """Cut channels out of every member of their groups, in place; exact where they were silenced before.

    Args:
        model: the net.
        silenced: groups, each with the channels that go; places in one module may come from several groups.

    Returns:
        One edit for each module that became smaller, with the places that it kept.

    Raises:
        ValueError: all channels of a group would go.
    """
    gone: dict[str, dict[str, set[int]]] = defaultdict(lambda: {OUTPUTS: set(), INPUTS: set()})
    for group, channels in silenced:
        if len(set(channels)) >= group.channels:
            raise ValueError(f"all {group.channels} channels that {group.writers[0].name} writes would go")
        for side, members in ((OUTPUTS, (*group.writers, *group.followers)), (INPUTS, group.readers)):
            for member in members:
                gone[member.name][side].update(_of(member, channels))
    edits = []
    for name, sides in gone.items():
        kept = {side: _kept(module_at(model, name), side, places) for side, places in sides.items() if places}
        if kept:
            edits.append(Edit("removed", name, kept))
            apply_removed(model, edits[-1])
    return edits


def apply_removed(model: nn.Module, edit: Edit) -> None:
    """Keep those outputs and inputs of a layer that the edit names, in place.

    A depthwise convolution, a normalisation and a PReLU have one entry a channel: `outputs` names it.

    Raises:
        TypeError: the module is none that channels can be taken from.
    """
    module = module_at(model, edit.layer)
    outputs, inputs = edit.values.get(OUTPUTS), edit.values.get(INPUTS)
    if outputs is not None:
        for name, value in _tensors(module):
            _put(module, name, value[outputs])
    if inputs is not None:
        assert isinstance(module.weight, Tensor)
        _put(module, "weight", module.weight[:, inputs])
    _count(module)


def by_channel(member: Member, values: Tensor) -> Tensor:
    """Return values (n,) of a module's places summed up for each channel of the group."""
    sums = values.new_zeros(len(member.places))
    for channel, places in enumerate(member.places):
        sums[channel] = values[list(places)].sum()
    return sums


def weight_of(model: nn.Module, member: Member) -> Tensor:
    """Return the weights of a writer."""
    weight = module_at(model, member.name).weight
    assert isinstance(weight, Tensor)
    return weight


def depthwise(module: nn.Module) -> bool:
    """Say whether a module is a convolution with a filter for each channel of its own."""
    return isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels == module.out_channels


def _of(member: Member, channels: Sequence[int]) -> list[int]:
    return [place for channel in channels for place in member.places[channel]]


def _kept(module: nn.Module, side: str, gone: set[int]) -> list[int]:
    assert isinstance(module.weight, Tensor)
    return [place for place in range(module.weight.shape[side == INPUTS]) if place not in gone]


def _tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Return parameters and buffers that have an entry for each output."""
    both = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    return [(name, value) for name, value in both if value.ndim]


def _put(module: nn.Module, name: str, value: Tensor) -> None:
    old = getattr(module, name)
    value = value.detach().clone()
    setattr(module, name, nn.Parameter(value, old.requires_grad) if isinstance(old, nn.Parameter) else value)


def _count(module: nn.Module) -> None:
    """Let a layer's own record of its shape follow its weights."""
    match module:
        case nn.Conv2d() if module.groups > 1:
            module.groups = module.in_channels = module.out_channels = len(module.weight)
        case nn.Conv2d():
            module.out_channels, module.in_channels = module.weight.shape[:2]
        case nn.Linear():
            module.out_features, module.in_features = module.weight.shape
        case nn.BatchNorm2d() | nn.BatchNorm1d():
            module.num_features = len(module.weight)
        case nn.PReLU():
            module.num_parameters = len(module.weight)
        case _:
            raise TypeError(f"no channels can be taken from a {type(module).__name__}")
