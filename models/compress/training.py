"""The loop that trains classifiers: bases, and every stage of a compression.

Which pictures are in which batch, and how they are moved, depends on seed and epoch alone, so a run that was stopped
goes on as if it had not been, from the state behind its last whole epoch.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from app.errors import SetupError
from models.compress.stage import Stage
from models.compress.tasks import Part, normalised
from models.training.device import device
from models.training.fit import LARGEST_GRADIENT

OPTIMISERS = ("sgd", "adamw")
MOMENTUM = 0.9  # of SGD, as all the compared methods were published
LAST_SHARE = 0.01  # of the rate, at the end of its cosine
ANSWERED_AT_ONCE = 256  # pictures, when nothing is learned


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How epochs are trained."""

    rate: float  # highest learning rate; it falls as half a cosine
    batch: int = 64  # pictures
    optimiser: str = "sgd"
    decay: float = 5e-4  # weight decay, of weights of two axes or more that no stage marks with `no_decay`
    warmup: float = 0.0  # share of the epochs in which the rate rises
    smoothing: float = 0.0  # of the labels
    shift: int = 0  # pixels by which pictures are moved at most
    mirror: bool = False  # whether every second picture is mirrored

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise ValueError(f"rate is {self.rate}; it has to be above 0")
        if self.batch < 2:
            raise ValueError(f"batch is {self.batch}; normalisation needs 2 at least")
        if self.optimiser not in OPTIMISERS:
            raise ValueError(f"optimiser is {self.optimiser!r}, none of {', '.join(OPTIMISERS)}")
        if not (0 <= self.warmup < 1 and 0 <= self.smoothing < 1):
            raise ValueError("warmup and smoothing are shares, 0 to below 1")
        if self.decay < 0 or self.shift < 0:
            raise ValueError("decay and shift are numbers from 0 on")


@runtime_checkable
class Weighing(Protocol):
    """A stage whose extra loss takes weight from the loss of the labels."""

    @property
    def task_share(self) -> float:
        """What that loss is multiplied by."""


@dataclass
class Progress:
    """Where a training stands; what resumption needs."""

    epoch: int = 0  # epochs that are done
    optimiser: Mapping[str, Any] | None = None
    losses: list[float] = field(default_factory=list)  # mean of each epoch


def train(
    net: nn.Module,
    part: Part,
    tuning: Tuning,
    epochs: int,
    seed: int,
    stage: Stage,
    progress: Progress,
    done: Callable[[Progress], None],
) -> None:
    """Train a net in place, from the epoch at which `progress` stands to the last.

    Args:
        net: whose weights are trained, all of those that want a gradient.
        part: what it is shown.
        tuning: how.
        epochs: how many in all.
        seed: of order, shifts and mirrors.
        stage: whose hooks are called; a plain `Stage` has none.
        progress: is kept up to date.
        done: is called behind each epoch.

    Raises:
        SetupError: a loss was no number.
    """
    if progress.epoch >= epochs:
        return
    where = device()
    net.to(where)
    optimiser = _optimiser(net, tuning)
    if progress.optimiser is not None:
        optimiser.load_state_dict(dict(progress.optimiser))
    steps = len(part) // min(tuning.batch, len(part))
    for epoch in range(progress.epoch, epochs):
        torch.manual_seed(_mixed(seed, epoch))  # of dropout and the like
        stage.before_epoch(net, epoch)
        net.train()
        losses = []
        for step, (pictures, labels) in enumerate(batches(part, tuning, _mixed(seed, epoch))):
            for group in optimiser.param_groups:
                group["lr"] = rate(tuning, (epoch * steps + step) / (epochs * steps))
            losses.append(_step(net, optimiser, stage, tuning, pictures.to(where), labels.to(where)))
        stage.after_epoch(net, epoch)
        progress.epoch, progress.optimiser = epoch + 1, optimiser.state_dict()
        progress.losses.append(math.fsum(losses) / len(losses))
        if not math.isfinite(progress.losses[-1]):
            raise SetupError(f"the loss of epoch {epoch} is no number; lower rate, {tuning.rate} now")
        done(progress)
    net.to("cpu").eval()


def batches(part: Part, tuning: Tuning, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield an epoch's batches of normalised pictures (n, 3, h, w) and labels (n,); what fills no batch is left out."""
    random = np.random.default_rng(seed)
    size = min(tuning.batch, len(part))
    order = random.permutation(len(part))
    for first in range(0, len(order) - size + 1, size):
        rows = order[first : first + size]
        yield normalised(_moved(part.pictures[rows], tuning, random)), torch.from_numpy(part.labels[rows])


def answers(net: nn.Module, part: Part) -> Tensor:
    """Return the logits (n, k) that a net in evaluation mode gives to a part's pictures."""
    where, was_training = device(), net.training
    net.to(where).eval()
    with torch.no_grad():
        found = [
            net(normalised(part.pictures[first : first + ANSWERED_AT_ONCE]).to(where)).cpu()
            for first in range(0, len(part), ANSWERED_AT_ONCE)
        ]
    net.to("cpu").train(was_training)
    return torch.cat(found)


def accuracy(net: nn.Module, part: Part) -> float:
    """Return the share of a part's pictures to which a net's highest logit is the label's."""
    return float((answers(net, part).argmax(dim=1).numpy() == part.labels).mean())


def rate(tuning: Tuning, share: float) -> float:
    """Return the learning rate when this share of all steps, 0 to 1, is done: a line up, then half a cosine down."""
    if share < tuning.warmup:
        return tuning.rate * max(share / tuning.warmup, LAST_SHARE)
    fallen = (share - tuning.warmup) / (1 - tuning.warmup)
    return tuning.rate * (LAST_SHARE + (1 - LAST_SHARE) * (1 + math.cos(math.pi * fallen)) / 2)


def _step(
    net: nn.Module, optimiser: torch.optim.Optimizer, stage: Stage, tuning: Tuning, inputs: Tensor, labels: Tensor
) -> float:
    outputs = net(inputs)
    loss = functional.cross_entropy(outputs, labels, label_smoothing=tuning.smoothing)
    if isinstance(stage, Weighing):
        loss = stage.task_share * loss
    extra = stage.extra_loss(net, inputs, outputs)
    if extra is not None:
        loss = loss + extra
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(net.parameters(), LARGEST_GRADIENT)
    optimiser.step()
    return float(loss.detach())


def _optimiser(net: nn.Module, tuning: Tuning) -> torch.optim.Optimizer:
    """Return an optimiser; vectors, and parameters that a stage marked with ``no_decay``, are not pulled to zero."""
    trained = [value for value in net.parameters() if value.requires_grad]
    decayed = [value for value in trained if value.ndim > 1 and not getattr(value, "no_decay", False)]
    kept = [value for value in trained if value.ndim <= 1 or getattr(value, "no_decay", False)]
    groups = [{"params": decayed, "weight_decay": tuning.decay}, {"params": kept, "weight_decay": 0.0}]
    if tuning.optimiser == "sgd":
        return torch.optim.SGD(groups, tuning.rate, MOMENTUM, nesterov=True)
    return torch.optim.AdamW(groups, tuning.rate)


def _moved(pictures: NDArray[np.uint8], tuning: Tuning, random: np.random.Generator) -> NDArray[np.uint8]:
    """Return pictures (n, c, h, w), each moved by up to `shift` pixels, its edges repeated, and mirrored or not."""
    moved, reach = pictures, tuning.shift
    if reach:
        padded = np.pad(pictures, ((0, 0), (0, 0), (reach, reach), (reach, reach)), mode="edge")
        height, width = pictures.shape[2:]
        corners = random.integers(0, 2 * reach + 1, (len(pictures), 2))
        moved = np.stack([one[:, y : y + height, x : x + width] for one, (y, x) in zip(padded, corners, strict=True)])
    if tuning.mirror:
        turned = random.random(len(pictures)) < 0.5
        moved = np.where(turned[:, None, None, None], moved[..., ::-1], moved)
    return np.ascontiguousarray(moved)


def _mixed(seed: int, epoch: int) -> int:
    """Return a seed of an epoch that no epoch of another seed has."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
