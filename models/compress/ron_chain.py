"""Reads the part of a net that can be reduced: a chain of layers, each with one activation, as affine maps."""

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from app.errors import SetupError
from models.compress.conv_rows import Affine, Pool, Shape, affine_of, pool_of
from models.compress.stage import replace_module
from models.nets.resnet import Block

# Elementwise and non-decreasing: they commute with choosing entries and with a largest of several.
ACTIVATIONS = {kind.__name__: kind for kind in (nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Tanh, nn.Sigmoid)}
LETTERS = (  # what a module is to a unit
    {nn.Conv2d: "l", nn.Linear: "l", nn.BatchNorm1d: "n", nn.BatchNorm2d: "n", nn.MaxPool2d: "p"}
    | dict.fromkeys(ACTIVATIONS.values(), "a")
    | dict.fromkeys((nn.Identity, nn.Flatten, nn.Dropout, nn.Dropout2d), "-")  # keep flattened maps as they are
)
UNIT = re.compile("-*l-*n?-*(p-*a|a-*p?)-*")  # layer, normalisation, then pooling and activation in either order
ALIKE = 1e-3  # of the largest output: how near the layers read have to come to the net


@dataclass(frozen=True, slots=True)
class Unit:
    """What lies between two activations: act(pool(affine(x))), or act(affine(inner(x)) + shortcut(x)) of a block."""

    names: tuple[str, ...]  # of its modules, in the order in which they run
    affine: Affine
    activation: str  # of `ACTIVATIONS`
    pool: Pool | None = None
    inner: "Unit | None" = None  # the first half of a residual block
    shortcut: Affine | None = None  # of a residual block; None adds the input itself

    @property
    def outputs(self) -> Shape:
        """Shape of the map that it returns."""
        return self.affine.outputs if self.pool is None else self.pool.outputs(self.affine.outputs)

    @property
    def macs(self) -> int:
        """Multiply-adds of one picture."""
        parts = (self.affine, self.inner, self.shortcut)
        return sum(part.macs for part in parts if part is not None)

    @property
    def weights(self) -> int:
        """Number of weights, biases apart."""
        shortcut = 0 if self.shortcut is None else self.shortcut.weight.numel()
        return self.affine.weight.numel() + shortcut + (0 if self.inner is None else self.inner.weights)

    @property
    def first(self) -> Affine:
        """The layer that its input meets."""
        return self.affine if self.inner is None else self.inner.affine

    def __call__(self, given: Tensor) -> Tensor:
        """Return all outputs (n, c, h, w) of inputs (n, ...)."""
        sums = self.affine(given if self.inner is None else self.inner(given))
        if self.inner is not None:
            sums = sums + (given.reshape(sums.shape) if self.shortcut is None else self.shortcut(given))
        if self.pool is not None:
            sums = functional.max_pool2d(sums, self.pool.kernel, self.pool.stride)
        activated: Tensor = ACTIVATIONS[self.activation]()(sums)
        return activated

    def rows_of(self, entries: Tensor) -> Tensor:
        """Return the entries (p, g) of the affine map that make each chosen output (p,): g above 1 where it pools."""
        return entries[:, None] if self.pool is None else self.pool.groups(entries, self.affine.outputs)


@dataclass(frozen=True, slots=True)
class Chain:
    """The part of a net that can be reduced."""

    units: list[Unit]
    outputs: tuple[int, ...]  # shape of what the last unit hands on, without the batch
    averaged: bool  # whether the net looks at nothing of that but the average of each channel


@dataclass(frozen=True, slots=True)
class _Leaf:
    name: str
    module: nn.Module
    given: Tensor
    output: Tensor


class _Whole(nn.Module):
    """All units as they were read, with no entry left out."""

    def __init__(self, chain: Chain) -> None:
        super().__init__()
        self._chain = chain

    def forward(self, given: Tensor) -> Tensor:
        for unit in self._chain.units:
            given = unit(given)
        output = given.reshape(-1, *self._chain.outputs)
        return output.mean((2, 3), keepdim=True).expand(output.shape) if self._chain.averaged else output


def read(model: nn.Module, first: str, pictures: Tensor) -> Chain:
    """Return the chain that begins with the module of a name.

    It is followed as the net ran, through layers, blocks of `models.nets.resnet` and containers, and ends where the
    output of one is not the input of the next, or behind the last activation: the last fully connected layer has
    none. That the layers read do what the net does is checked on the pictures.

    Args:
        model: classifier or embedder.
        first: a layer, a block, or a container of them.
        pictures: (n, ...), a few.

    Raises:
        SetupError: nothing can be reduced from there on, a layer is of a kind that cannot be, the net's input has no
            fixed size, or the net does more than its modules say.
    """
    leaves, expected = _run(model, pictures)
    start = next((i for i, leaf in enumerate(leaves) if f"{leaf.name}.".startswith(f"{first}.")), None)
    if start is None:
        raise SetupError(f"first is {first!r}; the net runs through {', '.join(leaf.name for leaf in leaves)}")
    chain = _connected(leaves[start:])
    units = list(_units(chain))
    if not units:
        kinds = ", ".join(type(leaf.module).__name__ for leaf in chain[:4])
        raise SetupError(f"{first} begins with {kinds}; what can be reduced is a plain layer and one activation")
    if not isinstance(expected, Tensor) or expected.ndim != 2:
        raise SetupError("a net that returns maps takes pictures of any size; a reduced layer takes one size only")
    last = next(leaf for leaf in chain if leaf.name == units[-1].names[-1])
    shape = tuple(last.output.shape[1:])
    if not _alike(model, Chain(units, shape, False), pictures, expected):
        raise SetupError(f"from {first} on the net does more than its modules, one behind the other; begin farther on")
    averaged = Chain(units, shape, True)
    return averaged if len(shape) == 3 and _alike(model, averaged, pictures, expected) else Chain(units, shape, False)


def replace_units(model: nn.Module, names: Sequence[str], module: nn.Module) -> None:
    """Put `module` in the place of the first of the modules, and nothing in the places of the others."""
    for name in names[1:]:
        replace_module(model, name, nn.Identity())
    replace_module(model, names[0], module)


def _run(model: nn.Module, pictures: Tensor) -> tuple[list[_Leaf], Tensor]:
    """Return the layers and blocks in the order in which they ran, and what the net returned."""
    leaves: list[_Leaf] = []

    def noting(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda module, given, output: leaves.append(_Leaf(name, module, given[0], output))

    hooks = [module.register_forward_hook(noting(name)) for name, module in _leaves(model, "")]
    was_training = model.training
    try:
        with torch.no_grad():
            output: Tensor = model.eval()(pictures)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return leaves, output


def _leaves(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield blocks, which are read as one, and modules without any inside."""
    children = list(module.named_children())
    if isinstance(module, Block) or not children:
        yield name, module
        return
    for child, inside in children:
        yield from _leaves(inside, f"{name}.{child}".lstrip("."))


def _connected(leaves: list[_Leaf]) -> list[_Leaf]:
    """Return the first leaf and those behind it, as long as each is given the very output of the one before."""
    chain = leaves[:1]
    for before, after in pairwise(leaves):
        if after.given is not before.output:
            break
        chain.append(after)
    return chain


def _units(leaves: list[_Leaf]) -> Iterator[Unit]:
    """Yield the units that a chain of leaves begins with."""
    while leaves:
        unit = _block(leaves[0]) if isinstance(leaves[0].module, Block) else _layer(leaves)
        if unit is None:
            return
        yield unit
        leaves = leaves[len(unit.names) :]


def _block(leaf: _Leaf) -> Unit:
    block, name = leaf.module, leaf.name
    assert isinstance(block, Block)
    inputs = _shape(leaf)
    inner = affine_of(f"{name}.conv1", block.conv1, block.norm1, inputs)
    second = affine_of(f"{name}.conv2", block.conv2, block.norm2, inner.outputs)
    shortcut = None
    if not isinstance(block.shortcut, nn.Identity):
        convolution, norm = block.shortcut.get_submodule("conv"), block.shortcut.get_submodule("norm")
        shortcut = affine_of(f"{name}.shortcut.conv", convolution, norm, inputs)
    between, last = (type(module).__name__ for module in (block.relu1, block.relu2))
    return Unit((name,), second, last, inner=Unit((), inner, between), shortcut=shortcut)


def _layer(leaves: list[_Leaf]) -> Unit | None:
    """Return the unit that the leaves begin with, None when they do not begin with a layer and an activation."""
    letters = "".join(LETTERS.get(type(leaf.module), "?") for leaf in leaves)
    match = UNIT.match(letters)
    if match is None:
        return None
    taken = leaves[: match.end()]
    found = dict(zip(letters, taken, strict=False))
    norm = found["n"].module if "n" in found else None
    affine = affine_of(found["l"].name, found["l"].module, norm, _shape(found["l"]))
    pool = found["p"].module if "p" in found else None
    return Unit(
        names=tuple(leaf.name for leaf in taken),
        affine=affine,
        activation=type(found["a"].module).__name__,
        pool=pool_of(found["p"].name, pool) if isinstance(pool, nn.MaxPool2d) else None,
    )


def _shape(leaf: _Leaf) -> Shape:
    """Return the shape of what a layer is given."""
    match tuple(leaf.given.shape[1:]), isinstance(leaf.module, nn.Linear):
        case (int(count),), True:
            return count, 1, 1
        case (int(channels), int(height), int(width)), False:
            return channels, height, width
    raise SetupError(f"{leaf.name} is given {tuple(leaf.given.shape)}; a reduced layer takes a map or a vector")


def _alike(model: nn.Module, chain: Chain, pictures: Tensor, expected: Tensor) -> bool:
    """Say whether the net returns what is expected with the units in the place of their modules."""
    other = copy.deepcopy(model).eval()
    replace_units(other, [name for unit in chain.units for name in unit.names], _Whole(chain))
    with torch.no_grad():
        difference = (other(pictures) - expected).abs().max()
    return bool(difference <= ALIKE * expected.abs().max())
