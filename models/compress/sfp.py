"""Soft filter pruning: the weakest filters are zeroed after every epoch, trained on, and removed at the end.

He et al. 2018 (SFP), with the schedule of He et al. 2019 (ASFP). Filters alone are zeroed, as published: the gain and
the shift behind a filter stay, so gradients reach it through an open rectifier, and it comes back where it grows larger
than another one. A normalisation makes of the smallest filter a full map again, which the net then leans on; hence two
things that are not published. In the last epoch what goes is silent, bias, gain and shift at zero too, and it stays so
until `finish`, for only then is removal exact (`models.compress.removal`). And the stage wants `finetune`.

Momentum still moves silent channels. So they are silenced again behind the last step, and none may lie between that and
`finish`, which leaves new parameters behind, for which no optimiser keeps a momentum.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from app.errors import SetupError
from models.compress.groups import groups_of, tensors_of
from models.compress.layers import Filter, layers_of
from models.compress.removal import Group, by_channel, remove, silence, weight_of, zero_filters
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

    How many go by `energy` is decided before training; which ones, after each epoch.

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
        self._groups: list[tuple[Group, float]] = []  # each with the share of its channels that goes

    def prepare(self, model: nn.Module, context: Context) -> list[Edit]:
        """Find the groups and how much of each goes; the net stays as it is."""
        picture = context.pictures[:1]
        chosen = {layer.name for layer in self.filter.chosen(layers_of(model, picture))}
        self._groups = [
            (group, self._share_of(model, group))
            for group in groups_of(model, picture)
            if (group.inner or self.groups == "all") and all(writer.name in chosen for writer in group.writers)
        ]
        return []

    def before_epoch(self, model: nn.Module, epoch: int) -> None:
        """Silence in the last of several epochs what goes, so that the net learns to do without."""
        if 0 < epoch == self.epochs - 1:
            self._silence(model)

    def after_epoch(self, model: nn.Module, epoch: int) -> None:
        """Zero the weakest filters, as many as the schedule says; after the last epoch silence all channels that go."""
        if epoch == self.epochs - 1:
            self._silence(model)
            return
        progress = (epoch + 1) / self.epochs
        due = asymptotic(progress) if self.schedule == "asymptotic" else 1.0
        for group, share in self._groups:
            zero_filters(model, group, smallest(group_norms(model, group), due * share))

    def finish(self, model: nn.Module, context: Context) -> list[Edit]:
        """Remove what the last epoch silenced; without epochs, the weakest channels of now.

        Raises:
            SetupError: the outputs moved, so a removed channel was not zero where somebody read it.
        """
        going = self._silence(model)
        before = _outputs(model, context.pictures[:1])
        edits = remove(model, going)
        moved, scale = (_outputs(model, context.pictures[:1]) - before).abs().max(), before.abs().max()
        if not moved <= TOLERANCE * scale:
            raise SetupError(
                f"removing channels moved the outputs by {moved:.3g} at a scale of {scale:.3g}: one of them passes an "
                "operation that does not keep zeros; name the layers that write it in the filter's leave"
            )
        return edits

    def _silence(self, model: nn.Module) -> list[tuple[Group, list[int]]]:
        """Silence the weakest channels of each group, as many as go in the end; return them."""
        going = [(group, smallest(group_norms(model, group), share)) for group, share in self._groups]
        for group, channels in going:
            silence(model, group, channels)
        return going

    def _share_of(self, model: nn.Module, group: Group) -> float:
        """Return the share of a group's channels that goes; of zeroed filters, energy would take more and more."""
        if not self.energy:
            return self.ratio
        return len(below_energy(group_norms(model, group), self.energy)) / group.channels


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
