"""The layers of a reduced-order net: linear maps between chosen entries, and what is written into them.

c_k = act(S_k W_k L_{k-1} c_{k-1} + S_k b_k): S_k chooses p_k entries of layer k, L = V (S V)^+ leads them back to all
n_k of them (`models.compress.bases`). Modules are built from sizes alone, plain values as an edit holds them, so that
weights can be loaded into them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, cast

import torch
from torch import Tensor, nn

from app.errors import SetupError
from models.compress.bases import Selection
from models.compress.conv_rows import Affine
from models.compress.ron_chain import ACTIVATIONS, Unit

ROWS = 256  # of a convolution's matrix that exist at once

Sizes = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Picked:
    """The selections of one unit."""

    own: Selection
    inner: Selection | None = None  # of a residual block's first half


class Gather(nn.Module):
    """Chosen entries: (n, inputs) -> (n, entries)."""

    def __init__(self, entries: int) -> None:
        super().__init__()
        self.register_buffer("entries", torch.zeros(entries, dtype=torch.long))

    def forward(self, given: Tensor) -> Tensor:
        """Take them."""
        return given.index_select(1, cast(Tensor, self.entries))


class ReducedLayer(nn.Module):
    """A linear map, an activation, and the largest of each group: (n, inputs) -> (n, entries)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.entries, self.group = int(sizes["entries"]), int(sizes["group"])
        self.map = nn.Linear(sizes["inputs"], self.entries * self.group)
        self.activation = ACTIVATIONS[sizes["activation"]]()

    def forward(self, given: Tensor) -> Tensor:
        """Run the layer."""
        values: Tensor = self.activation(self.map(given))
        return values.reshape(-1, self.entries, self.group).amax(2) if self.group > 1 else values


class ReducedBlock(nn.Module):
    """A residual block with a map for each way and one activation of their sum: (n, inputs) -> (n, entries)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        inputs, entries = sizes["inputs"], sizes["entries"]
        self.inner = ReducedLayer(sizes["inner"])
        self.map = nn.Linear(sizes["inner"]["entries"], entries)
        self.shortcut = Gather(entries) if sizes["gathers"] else nn.Linear(inputs, entries, bias=False)
        self.activation = ACTIVATIONS[sizes["activation"]]()

    def forward(self, given: Tensor) -> Tensor:
        """Run the block."""
        output: Tensor = self.activation(self.map(self.inner(given)) + self.shortcut(given))
        return output


class Reduced(nn.Module):
    """The reduced part of a net: maps or vectors (n, ...) of one size, from those of one size."""

    def __init__(self, values: Sizes) -> None:
        """Build it as an edit says."""
        super().__init__()
        self.inputs, self.outputs = tuple(values["inputs"]), tuple(values["outputs"])
        self.averaged = bool(values["averaged"])
        layers = [ReducedBlock(sizes) if "inner" in sizes else ReducedLayer(sizes) for sizes in values["layers"]]
        self.layers = nn.Sequential(*layers)
        lifted = self.outputs[0] if self.averaged else prod(self.outputs)
        self.lift = nn.Linear(values["layers"][-1]["entries"], lifted, bias=False)

    def forward(self, given: Tensor) -> Tensor:
        """Run all layers and lead the chosen entries back to all, or to the average of each channel.

        Raises:
            SetupError: the maps are not of the size at which the net was reduced.
        """
        if not torch.onnx.is_in_onnx_export() and given.shape[1:] != self.inputs:  # there, shapes are no numbers
            raise SetupError(f"the net was reduced for maps {self.inputs}, not {tuple(given.shape[1:])}")
        values: Tensor = self.lift(self.layers(given.flatten(1)))
        if self.averaged:
            return values[:, :, None, None].expand(-1, *self.outputs)
        return values.reshape(-1, *self.outputs)


def sizes_of(unit: Unit, picked: Picked, inputs: int, raw: bool) -> Sizes:
    """Return the sizes of a reduced unit, and what its selection is worth.

    Args:
        unit: as it is in the net.
        picked: its selections.
        inputs: p_{k-1}, or all entries of the map.
        raw: whether it is given the map.
    """
    kept = picked.own
    sizes = {
        "inputs": inputs,
        "entries": len(kept.entries),
        "group": unit.rows_of(torch.tensor(kept.entries)).shape[1],
        "activation": unit.activation,
        "rank": kept.rank,
        "energy": kept.energy,
        "error": kept.error,
        "bound": kept.bound,
    }
    if unit.inner is not None and picked.inner is not None:
        inner = sizes_of(unit.inner, Picked(picked.inner), inputs, raw)
        sizes |= {"inner": inner, "gathers": raw and unit.shortcut is None}
    return sizes


def macs_of(sizes: Sizes) -> int:
    """Return the multiply-adds of a reduced unit, as many as it has weights: p_k p_{k-1}, times a pooling's cells."""
    inputs, entries = int(sizes["inputs"]), int(sizes["entries"])
    if "inner" not in sizes:
        return inputs * entries * int(sizes["group"])
    through = macs_of(sizes["inner"]) + int(sizes["inner"]["entries"]) * entries
    return through if sizes["gathers"] else through + inputs * entries


def fill(reduced: Reduced, units: Sequence[Unit], picked: Sequence[Picked]) -> None:
    """Write the maps of units, the first of which is given the whole map, into a module of their sizes."""
    lift: Tensor | None = None
    with torch.no_grad():
        for layer, unit, picks in zip(reduced.layers, units, picked, strict=True):
            if isinstance(layer, ReducedBlock):
                _fill_block(layer, unit, picks, lift)
            elif isinstance(layer, ReducedLayer):
                _fill_layer(layer, unit, picks.own, lift)
            lift = picks.own.lift
        assert lift is not None
        channels = reduced.outputs[0]
        means = lift.reshape(channels, -1, lift.shape[1]).mean(1)  # of each channel
        reduced.lift.weight.copy_(means if reduced.averaged else lift)


def _fill_layer(layer: ReducedLayer, unit: Unit, selection: Selection, lift: Tensor | None) -> None:
    rows = unit.rows_of(_indices(selection, unit)).flatten()
    layer.map.weight.copy_(_map(unit.affine, rows, lift))
    layer.map.bias.copy_(unit.affine.biases(rows))


def _fill_block(layer: ReducedBlock, unit: Unit, picked: Picked, lift: Tensor | None) -> None:
    assert unit.inner is not None
    assert picked.inner is not None
    _fill_layer(layer.inner, unit.inner, picked.inner, lift)
    rows = _indices(picked.own, unit)
    layer.map.weight.copy_(_map(unit.affine, rows, picked.inner.lift))
    layer.map.bias.copy_(unit.affine.biases(rows))
    if isinstance(layer.shortcut, Gather):
        cast(Tensor, layer.shortcut.entries).copy_(rows)
    elif unit.shortcut is not None:
        layer.shortcut.weight.copy_(_map(unit.shortcut, rows, lift))
        layer.map.bias.add_(unit.shortcut.biases(rows))
    else:
        assert lift is not None
        layer.shortcut.weight.copy_(lift[rows])


def _map(affine: Affine, rows: Tensor, lift: Tensor | None) -> Tensor:
    """Return chosen rows of a layer's matrix, times what leads chosen inputs back to all."""
    if lift is None:
        return affine.rows(rows)
    return torch.cat([affine.rows(some) @ lift for some in torch.split(rows, ROWS)])


def _indices(selection: Selection, unit: Unit) -> Tensor:
    return torch.tensor(selection.entries, device=unit.affine.weight.device)
