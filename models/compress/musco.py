"""Multi-stage low-rank compression (Gusak et al. 2019, MUSCO): factorise, train, recompress, train, and so on.

A round chooses ranks, factorises the layers that are dense and recompresses those that are not, and then trains the
whole net. In a run file, two steps that cut the parameters of each layer 3.16 times, ten times in all:

    [[stage]]
    kind = "factorise.musco"
    rank = { rule = "cut", by = "parameters", times = 3.16 }
    rounds = 2
    epochs = 3

One step to the same size with as much training is ``times = 10``, ``rounds = 1``, ``epochs = 6``.

With ``ft_every = 4`` a round takes four layers at a time and trains the whole net behind each four, as the
authors' code does; a round of sixteen layers then has four such trainings, each of ``epochs`` and ``finetune``. A net
that lost more than ``max_drop`` of ``[accept]`` behind a training is cut no farther.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from typing import Any, cast

from torch import nn

from models.compress.factorised import PLAIN, CpConv, Dense, Factorised, Tucker2Conv, array, factorise
from models.compress.layers import Filter, Layer, layers_of
from models.compress.ranks import Candidate, LayerRule, Ranks, Rule, rule_of
from models.compress.recompress import core_of, recompressed
from models.compress.stage import Context, Edit, Stage, module_at, replace_module
from models.numerics.tucker import relative_error

FORMS = (Tucker2Conv.form, CpConv.form)


@dataclass(kw_only=True)
class Musco(Stage):
    """A round changes nothing once no rank falls any more, or once the wanted size is reached.

    A chain that an earlier stage left in a form whose error the rule cannot foresee stays as it is.
    """

    rank: dict[str, Any] = field(default_factory=lambda: {"rule": "cut"})  # of `models.compress.ranks.RULES`
    form: str = Tucker2Conv.form  # of kernels larger than 1x1; others and fully connected layers become pairs
    until: float = 0.0  # share of the base's parameters from which on nothing more is cut
    ft_every: int = 0  # layers that are cut before the net is trained; 0 cuts all of a round at once
    filter: Filter = field(default_factory=Filter)
    rule: Rule = field(init=False)

    def __post_init__(self) -> None:
        self.rule = rule_of(self.rank)
        self.rank = {"rule": self.rank["rule"], **asdict(self.rule)}  # with defaults, for whoever keeps the settings
        if self.form not in FORMS:
            raise ValueError(f"form is {self.form!r}, none of {', '.join(FORMS)}")
        if self.form not in self.rule.forms:
            raise ValueError(f"form is {self.form!r}, whose error rank.rule {self.rank['rule']!r} cannot foresee")
        if not 0 <= self.until < 1:
            raise ValueError(f"until is {self.until}; it is a share, 0 to below 1")
        if self.ft_every < 0:
            raise ValueError(f"ft_every is {self.ft_every}; it is a number of layers, 0 for all")
        if self.ft_every and not isinstance(self.rule, LayerRule):
            raise ValueError(f"ft_every is {self.ft_every}; rank.rule {self.rank['rule']!r} is of all layers at once")

    def turns(self, model: nn.Module, context: Context) -> int:
        """Return how many groups of layers there are in all rounds."""
        return self.rounds * self._groups(len(self._chosen(model, layers_of(model, context.pictures[:1]))))

    def prepare(self, model: nn.Module, context: Context) -> list[Edit]:
        """Give the chosen layers, or those of the group whose turn it is, smaller ranks."""
        if _parameters(model) <= self.until * _parameters(context.base):
            return []
        ran = layers_of(model, context.pictures[:1])
        chosen = self._chosen(model, ran)
        first = context.turn % self._groups(len(chosen)) * self.ft_every
        candidates = {
            layer.name: candidate_of(module_at(model, layer.name), self.form, layer)
            for layer in chosen[first : first + (self.ft_every or len(chosen))]
        }
        others = sum(layer.macs for layer in ran) - sum(one.cost("macs", one.ranks) for one in candidates.values())
        ranks = self.rule.choose(list(candidates.values()), others)
        return [
            _shrink(model, name, candidate.form, wanted, context.seed)
            for (name, candidate), wanted in zip(candidates.items(), ranks, strict=True)
            if wanted is not None
        ]

    def _chosen(self, model: nn.Module, ran: Sequence[Layer]) -> list[Layer]:
        """Return the layers that may get smaller ranks; they are the same in every round."""
        return [
            layer
            for layer in self.filter.chosen(whole_layers(model, ran))
            if self._can_shrink(module_at(model, layer.name))
        ]

    def _can_shrink(self, module: nn.Module) -> bool:
        return module.form in self.rule.forms if isinstance(module, Factorised) else type(module) in PLAIN

    def _groups(self, layers: int) -> int:
        """Return into how many groups so many layers are taken, one at least."""
        return max(math.ceil(layers / self.ft_every), 1) if self.ft_every else 1


def whole_layers(model: nn.Module, ran: Sequence[Layer]) -> list[Layer]:
    """Return the records of a net, those of the factors of a chain as the one of the dense layer that it equals.

    So a filter chooses the same layers in every round, and no factor is taken for a layer of its own, unless another
    stage took a chain's factors apart.

    Args:
        model: the net.
        ran: of `models.compress.layers.layers_of`.
    """
    whole = []
    for name, records in groupby(ran, lambda layer: layer.name.rpartition(".")[0]):
        chain = module_at(model, name)
        if isinstance(chain, Factorised) and chain.intact:
            whole.append(_whole(name, chain, list(records)))
        else:
            whole.extend(records)
    return whole


def candidate_of(module: nn.Module, form: str, layer: Layer) -> Candidate:
    """Return what rank rules need to know of a dense or factorised layer.

    Args:
        module: the layer.
        form: that a dense one gets if its kernel is larger than 1x1.
        layer: its record, of `whole_layers`.
    """
    convolution = layer.kind == "conv"
    cells = math.prod(layer.outputs[1:] if convolution else layer.outputs[:-1])
    seen = math.prod(layer.inputs[1:]) if convolution else cells
    if isinstance(module, Factorised):
        return Candidate(module.form, layer.shape, seen, cells, core_of(module), module.ranks)
    core = array(cast(Dense, module).weight)
    if math.prod(layer.shape[2:]) == 1:
        return Candidate("pair", layer.shape, seen, cells, core.reshape(layer.shape[:2]))
    return Candidate(form, layer.shape, seen, cells, core)


def _whole(name: str, chain: Factorised, factors: Sequence[Layer]) -> Layer:
    dense = chain.to_dense()
    return replace(
        factors[0],
        name=name,
        shape=tuple(dense.weight.shape),
        stride=next((one.stride for one in factors if one.stride != (1, 1)), (1, 1)),
        outputs=factors[-1].outputs,
        parameters=_parameters(dense),
        macs=math.prod(factors[-1].outputs) * math.prod(dense.weight.shape[1:]),
    )


def _shrink(model: nn.Module, name: str, form: str, ranks: Ranks, seed: int) -> Edit:
    """Factorise or recompress a layer; the edit also tells how far the new weight is from the old one."""
    old = module_at(model, name)
    if isinstance(old, Factorised):
        dense, new = old.to_dense(), recompressed(old, ranks)
    else:
        dense = cast(Dense, old)
        new = factorise(dense, form, ranks, seed)
    replace_module(model, name, new)
    error = relative_error(array(new.to_dense().weight), array(dense.weight))
    return Edit(form, name, {"ranks": list(new.ranks), "error": error})


def _parameters(module: nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())
