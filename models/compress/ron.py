"""RON, a reduced-order net: late layers compute a few chosen entries of each map, from which the others follow.

What lies between two activations becomes one matrix from the entries chosen before to those chosen behind it
(`models.compress.ron_layers`); where the part ends, maps are whole again. It needs no training. After Gusak et al. 2021
(Reduced-Order Modeling of Deep Neural Networks); unlike its code, no matrix of a whole convolution is made, and
residual blocks are reduced too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor, nn

from app.errors import SetupError
from models.compress.bases import Choice, given_to, in_batches, select
from models.compress.ron_chain import Chain, Unit, read, replace_units
from models.compress.ron_layers import Picked, Reduced, Sizes, fill, macs_of, sizes_of
from models.compress.stage import LOOKED_AT, Context, Edit, Stage
from models.numerics.maxvol import TOLERANCE

CHECKED = 8  # pictures on which what was read of the net is compared with the net


@dataclass(kw_only=True)
class Ron(Stage):
    """Reduces the net from one layer to the end of its features, or as late a part of that as pays in MACs.

    `finetune` trains the linear maps with the rest of the net. No other stage can follow that changes the net's layers.
    """

    first: str  # name of the layer, block or container where the part begins
    energy: float = 0.99  # share of each layer's squared outputs that is kept
    ranks: list[int] = field(default_factory=list)  # instead of it: one for all layers, or one for each
    oversampling: float = 2.0  # most entries of a layer by rank, 1 and more; 1 takes square MaxVol
    growth: float = 1.0  # most weights of the reduced part, as a share of those it had
    tolerance: float = TOLERANCE  # of MaxVol
    pictures: int = 1000  # training pictures whose outputs are looked at, `LOOKED_AT` at most

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ValueError: names the field.
        """
        checks = {
            "first": bool(self.first),
            "energy": 0 < self.energy <= 1,
            "ranks": all(rank > 0 for rank in self.ranks),
            "oversampling": self.oversampling >= 1,
            "growth": self.growth > 0,
            "tolerance": self.tolerance > 1,
            "pictures": 0 < self.pictures <= LOOKED_AT,
            "rounds": self.rounds == 1,
        }
        for name, right in checks.items():
            if not right:
                raise ValueError(f"{name} is {getattr(self, name)!r}")

    def finish(self, model: nn.Module, context: Context) -> list[Edit]:
        """Replace the part by a reduced one, unless that saves no MACs or takes too many weights.

        The edit also holds, for each layer, rank, energy, and the error of its selection with the bound that it keeps
        to, and the error of the whole part, all on training pictures.

        Raises:
            SetupError: the part cannot be read (`models.compress.ron_chain.read`), or its outputs have no basis.
        """
        chain = read(model, self.first, context.pictures[:CHECKED])
        random = torch.Generator().manual_seed(context.seed)
        some = context.pictures[torch.randperm(len(context.pictures), generator=random)[: self.pictures]]
        given = given_to(model, chain.units[0].names[0], some)
        picked = self._pick(chain.units, given, context.seed)
        start = cheapest_start(chain, picked, self.growth)
        if start is None:
            return []
        units, picked = chain.units[start:], picked[start:]
        given = given_to(model, units[0].names[0], some)
        values = {
            "names": [name for unit in units for name in unit.names],
            "inputs": list(given.shape[1:]),
            "outputs": list(chain.outputs),
            "averaged": chain.averaged,
            "layers": layers_of(units, picked),
        }
        edit = Edit("reduced", units[0].names[0], values)
        apply_reduced(model, edit)
        reduced = model.get_submodule(edit.layer)
        assert isinstance(reduced, Reduced)
        fill(reduced, units, picked)
        edit.values["error"] = _error(reduced, units, given)
        return [edit]

    def _pick(self, units: Sequence[Unit], given: Tensor, seed: int) -> list[Picked]:
        """Return the selections of units, the first of which is given (N, ...) on the training pictures.

        Raises:
            SetupError: there are other than one rank for each selection, or a layer's outputs have no basis.
        """
        count = sum(1 if unit.inner is None else 2 for unit in units)
        ranks = self.ranks * count if len(self.ranks) == 1 else self.ranks or [0] * count
        if len(ranks) != count:
            raise SetupError(f"ranks has {len(ranks)} numbers; give one, or one for each of {count} layers")
        choices = (Choice(self.energy, rank, self.oversampling, self.tolerance, seed) for rank in ranks)
        picked = []
        for unit in units:
            name, inner = unit.names[0], None
            if unit.inner is not None:
                inner = select(name, in_batches(unit.inner, given).flatten(1), next(choices))
            given = in_batches(unit, given)
            picked.append(Picked(select(name, given.flatten(1), next(choices)), inner))
        return picked


def cheapest_start(chain: Chain, picked: Sequence[Picked], growth: float = 1.0) -> int | None:
    """Return with which unit the reduced part begins for the fewest MACs, None when none of the choices pays.

    A part pays when each of its units has fewer MACs than the unit in the net, and all of it no more weights than
    `growth` times what it had: a kernel serves all cells, and a map serves only its own. The first unit is given the
    whole map, so it takes more than it would farther back, and leading the last entries back to all is counted too.
    """
    best, least = None, sum(unit.macs for unit in chain.units)
    lifted = chain.outputs[0] if chain.averaged else prod(chain.outputs)
    for start in range(len(chain.units)):
        units = chain.units[start:]
        layers = layers_of(units, picked[start:])
        weights = sum(macs_of(sizes) for sizes in layers) + layers[-1]["entries"] * lifted  # each is used once
        macs = sum(unit.macs for unit in chain.units[:start]) + weights
        pays = all(macs_of(sizes) < unit.macs for sizes, unit in zip(layers, units, strict=True))
        if pays and macs < least and weights <= growth * sum(unit.weights for unit in units):
            best, least = start, macs
    return best


def layers_of(units: Sequence[Unit], picked: Sequence[Picked]) -> list[Sizes]:
    """Return the sizes of a reduced part made of these units."""
    layers: list[Sizes] = []
    for unit, picks in zip(units, picked, strict=True):
        inputs = layers[-1]["entries"] if layers else prod(unit.first.inputs)
        layers.append(sizes_of(unit, picks, inputs, raw=not layers))
    return layers


def apply_reduced(model: nn.Module, edit: Edit) -> None:
    """Put a reduced part of the edit's sizes in the place of the modules that it names; others become identities."""
    reduced = Reduced(edit.values).to(next(model.parameters()))
    replace_units(model, edit.values["names"], reduced)


def _error(reduced: Reduced, units: Sequence[Unit], given: Tensor) -> float:
    """Return how far the reduced part is from the whole one on pictures, relative to that."""
    wanted = given
    for unit in units:
        wanted = in_batches(unit, wanted)
    wanted = wanted.reshape(-1, *reduced.outputs)
    if reduced.averaged:
        wanted = wanted.mean((2, 3), keepdim=True).expand_as(wanted)
    return float((in_batches(reduced, given) - wanted).norm() / wanted.norm())
