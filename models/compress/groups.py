"""Finds which channels of a net must go together when some of them go.

Outputs of convolutions that meet in an addition share their channels, and so do the normalisations, depthwise
convolutions and readers behind them. The dependency graph of torch-pruning follows them (Fang et al. 2023, DepGraph):
it reads what autograd recorded of one pass, so it copes with padding computed from the picture's size, lists of maps,
`len` and autocast in a net's code, at which symbolic tracing by torch.fx stops. Nothing else of that library is used.
"""

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch_pruning
from torch import Tensor, nn

from models.compress.removal import Group, Member, depthwise

PASSED = {  # operations without weights, which channels pass one by one
    torch_pruning.ops.OPTYPE.ELEMENTWISE,
    torch_pruning.ops.OPTYPE.CONCAT,
    torch_pruning.ops.OPTYPE.SPLIT,
    torch_pruning.ops.OPTYPE.SLICE,
    torch_pruning.ops.OPTYPE.RESHAPE,
}


def groups_of(model: nn.Module, picture: Tensor) -> list[Group]:
    """Return the groups whose channels can be removed, in the order of the net's modules.

    A group is left out where its channels are outputs of the net, or pass a module that cannot be cut or silenced: a
    convolution in groups, a normalisation without gains, a layer with weights of another kind.

    Args:
        model: the net; it stays as it is.
        picture: (1, c, h, w).
    """
    traced = copy.deepcopy(model).requires_grad_(True)
    graph = torch_pruning.DependencyGraph()
    with torch.enable_grad():
        graph.build_dependency(traced, (picture,), output_transform=_marked, verbose=False)
    names = {module: name for name, module in traced.named_modules()}
    found: list[Group] = []
    for module, name in names.items():
        writes = isinstance(module, nn.Conv2d | nn.Linear) and not depthwise(module) and module in graph.module2node
        if writes and not any(name == writer.name for group in found for writer in group.writers):
            found += _group(graph, module, names)
    return found


def tensors_of(outputs: Tensor | Iterable[Any]) -> list[Tensor]:
    """Return the tensors that a net gives, however they lie in lists and tuples."""
    if isinstance(outputs, Tensor):
        return [outputs]
    return [tensor for output in outputs for tensor in tensors_of(output)]


def _marked(outputs: Tensor | Iterable[Any]) -> list[Tensor]:
    """Return the outputs, each with an operation of its own: a module's output is not known as the net's otherwise."""
    return [tensor * 1 for tensor in tensors_of(outputs)]


def _group(graph: Any, writer: Any, names: dict[nn.Module, str]) -> list[Group]:
    """Return the group that a layer writes, nothing if its channels cannot be removed."""
    write, channels = graph.get_pruner_of_module(writer).prune_out_channels, len(writer.weight)
    if not _removable(graph.get_pruning_group(writer, write, [0])):  # a look at one channel spares most of the time
        return []
    items = graph.get_pruning_group(writer, write, list(range(channels)))
    if not _removable(items):
        return []
    roles: dict[str, list[Member]] = {"writers": [], "followers": [], "readers": []}
    for item in items:
        module = item.dep.target.module
        if not _passed(item):
            role = "followers"
            if isinstance(module, nn.Conv2d | nn.Linear) and not depthwise(module):
                role = "writers" if graph.is_out_channel_pruning_fn(item.dep.handler) else "readers"
            roles[role].append(Member(names[module], _places(item.root_idxs, item.idxs, channels)))
    order = list(names.values())
    ordered = {role: tuple(sorted(found, key=lambda member: order.index(member.name))) for role, found in roles.items()}
    return [Group(**ordered)] if roles["readers"] else []


def _removable(items: Iterable[Any]) -> bool:
    return all(_passed(item) or _cuttable(item.dep.target.module) for item in items)


def _passed(item: Any) -> bool:
    module = item.dep.target.module
    one_slope = isinstance(module, nn.PReLU) and module.num_parameters == 1
    return one_slope or item.dep.target.type in PASSED


def _cuttable(module: nn.Module) -> bool:
    """Say whether channels of a module can be silenced and taken out."""
    match module:
        case nn.BatchNorm2d() | nn.BatchNorm1d():
            cuttable = bool(module.affine)
        case nn.Conv2d():
            cuttable = module.groups == 1 or depthwise(module)
        case _:
            cuttable = isinstance(module, nn.Linear | nn.PReLU)
    return cuttable and {name for name, _ in module.named_parameters()} <= {"weight", "bias"}


def _places(channels: Sequence[int], places: Sequence[int], count: int) -> tuple[tuple[int, ...], ...]:
    """Return for each channel the places that it has."""
    found: list[list[int]] = [[] for _ in range(count)]
    for channel, place in zip(channels, places, strict=True):
        found[channel].append(place)
    return tuple(tuple(sorted(several)) for several in found)
