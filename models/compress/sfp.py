"""Soft filter pruning: the weakest filters are zeroed after every epoch, trained on, and removed at the end.

He et al. 2018 (SFP), with the schedule of He et al. 2019 (ASFP). What is zeroed is the filter, its bias and the gain
and shift behind it, because only then its removal is exact (`models.compress.removal`). Behind a rectifier such a
channel has no gradient: the optimiser's momentum alone revives it, plain gradient descent never does. For the same
reason momentum would move it after the last zeroing; so no step may lie between that and `finish`, which leaves new
parameters behind, for which no optimiser keeps a momentum.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from app.errors import SetupError
from models.compress.groups import groups_of, tensors_of
from models.compress.layers import Filter, layers_of
from models.compress.removal import Group, by_channel, remove, silence, silent, weight_of
from models.compress.stage import Context, Edit, Stage

STEEPNESS = 11.089988552228323  # of the schedule: three quarters of the ratio after an eighth of the epochs
ROUNDING = 1e-9  # 10 (1 - .9) is .9999999999999998 in floating point, and meant as 1
TOLERANCE = 1e-4  # of the outputs' largest value: what removal may move in float32
SCHEDULES = ("constant", "asymptotic")
CHOICES = ("inner", "all")


@dataclass(kw_only=True)
class SoftFilterPruning(Stage):
    """Removes the channels of least norm from each group that the filter chooses.

    A group is chosen if the filter chooses all layers that write it, so the first layer's group needs
    `first_and_last` and `min_inputs = 0`. Outputs of the net always stay, and one channel of each group.

    Raises:
        ValueError: names the field.
    """

    ratio: float = 0.2  # share of the channels of a group that goes
    energy: float = 0.0  # above 0 it decides in place of `ratio`: share of a group's squared norms that stays at least
    schedule: str = "constant"  # or "asymptotic": how much of it is done after an epoch
    groups: str = "inner"  # channels that one layer alone writes, or "all": also those that meet in additions
    filter: Filter = field(default_factory=Filter)

    def __post_init__(self) -> None:
        if not 0 <= self.ratio < 1:
            raise ValueError(f"ratio is {self.ratio}, not from 0 to below 1")
        if not 0 <= self.energy <= 1:
            raise ValueError(f"energy is {self.energy}, not from 0 to 1")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule is {self.schedule!r}, none of {', '.join(SCHEDULES)}")
        if self.groups not in CHOICES:
            raise ValueError(f"groups is {self.groups!r}, none of {', '.join(CHOICES)}")
        self._groups: list[Group] = []

    def prepare(self, model: nn.Module, context: Context) -> list[Edit]:
        """Find the groups; the net stays as it is."""
        picture = context.pictures[:1]
        chosen = {layer.name for layer in self.filter.chosen(layers_of(model, picture))}
        self._groups = [
            group
            for group in groups_of(model, picture)
            if (group.inner or self.groups == "all") and all(writer.name in chosen for writer in group.writers)
        ]
        return []

    def after_epoch(self, model: nn.Module, epoch: int) -> None:
        """Silence the weakest channels, as many as the schedule says."""
        progress = (epoch + 1) / self.epochs
        share = asymptotic(progress) if self.schedule == "asymptotic" else 1.0
        for group in self._groups:
            silence(model, group, self._weakest(model, group, share))

    def finish(self, model: nn.Module, context: Context) -> list[Edit]:
        """Remove what the last epoch silenced; without epochs, the weakest channels of now.

        Raises:
            SetupError: the outputs moved, so a removed channel was not zero where somebody read it.
        """
        going = []
        for group in self._groups:
            done = silent(model, group) if self.epochs else []  # energy would choose among the rest once more
            channels = (done or self._weakest(model, group, 1.0))[: group.channels - 1]
            silence(model, group, channels)
            going.append((group, channels))
        before = _outputs(model, context.pictures[:1])
        edits = remove(model, going)
        moved, scale = (_outputs(model, context.pictures[:1]) - before).abs().max(), before.abs().max()
        if not moved <= TOLERANCE * scale:
            raise SetupError(
                f"removing channels moved the outputs by {moved:.3g} at a scale of {scale:.3g}: one of them passes an "
                "operation that does not keep zeros; name the layers that write it in the filter's leave"
            )
        return edits

    def _weakest(self, model: nn.Module, group: Group, share: float) -> list[int]:
        norms = group_norms(model, group)
        if self.energy:
            return below_energy(norms, 1 - share * (1 - self.energy))
        return smallest(norms, share * self.ratio)


def filter_norms(weight: Tensor) -> Tensor:
    """Return the L2 norms (n,) of filters (n, ...)."""
    norms: Tensor = torch.linalg.vector_norm(weight.detach().flatten(1), dim=1)
    return norms


def group_norms(model: nn.Module, group: Group) -> Tensor:
    """Return the norms (c,) of a group's channels: the root of the sum of squares over the layers that write them.

    Each layer's filters are first divided by the norm of them all, so that no layer outvotes the others by its scale,
    which a batch normalisation takes away anyhow.
    """
    shares = [functional.normalize(filter_norms(weight_of(model, writer)), dim=0) for writer in group.writers]
    squares = [by_channel(writer, share.square()) for writer, share in zip(group.writers, shares, strict=True)]
    return torch.stack(squares).sum(0).sqrt()


def smallest(norms: Tensor, ratio: float) -> list[int]:
    """Return the floor(n ratio) channels of least norm, sorted; of equal ones the first.

    Args:
        norms: (n,), 0 and more.
        ratio: 0 to below 1.
    """
    count = math.floor(len(norms) * ratio + ROUNDING)
    return sorted(norms.argsort(stable=True)[:count].tolist())


def below_energy(norms: Tensor, energy: float) -> list[int]:
    """Return the channels that may go while the others keep at least that share of the sum of squares, sorted.

    The channel that would bring the rest below it stays. One channel always stays.

    Args:
        norms: (n,), 0 and more.
        energy: 0 to 1.
    """
    order = norms.argsort(stable=True)
    lost = norms.double().square()[order].cumsum(0)
    count = int((lost <= (1 - energy + ROUNDING) * lost[-1]).sum())
    return sorted(order[: min(count, len(norms) - 1)].tolist())


def asymptotic(progress: float) -> float:
    """Return the share of the ratio that is due: (1 - exp(-k p)) / (1 - exp(-k)) through (0, 0), (1/8, 3/4), (1, 1).

    He et al. 2019, equation 4: a exp(-k e) + b through three points.

    Args:
        progress: share p of the epochs that are done, 0 to 1.
    """
    return math.expm1(-STEEPNESS * progress) / math.expm1(-STEEPNESS)


def _outputs(model: nn.Module, pictures: Tensor) -> Tensor:
    """Return all that a net gives for pictures as one vector."""
    was_training = model.training
    with torch.no_grad():
        vector = torch.cat([output.flatten() for output in tensors_of(model.eval()(pictures))])
    model.train(was_training)
    return vector
