"""The loop that trains: AdamW, a cosine of the learning rate, an average of the weights, validation, checkpoints."""

import copy
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Generator, Mapping
from contextlib import closing
from fnmatch import fnmatch
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from models.run import Plan, Run

LOOK_EVERY = 20  # steps between two rows of losses
SAVE_EVERY = 120.0  # seconds between two checkpoints
LARGEST_GRADIENT = 10.0  # norm; single batches with a strange label must not undo hours


class Task(Protocol):
    """What is learned."""

    net: nn.Module

    def batches(self, first: int) -> Generator[Any]:
        """Yield batches from number `first` on, without end."""

    def losses(self, batch: Any) -> dict[str, Tensor]:
        """Return the terms of the loss by name, unweighted."""

    def validate(self, net: nn.Module) -> dict[str, float]:
        """Return figures of a net like `net`, in evaluation mode; ``score``, which is to be large, among them."""


class Schedule(Protocol):
    """What a plan, a run's or another's, says of its steps."""

    @property
    def steps(self) -> int:
        """Number of steps."""

    @property
    def rate(self) -> float:
        """Highest learning rate."""

    @property
    def warmup(self) -> int:
        """Steps in which the rate rises."""

    @property
    def decay(self) -> float:
        """Weight decay."""


class Average:
    """The running average of a net's weights (Polyak and Juditsky 1992); running figures are taken as they are."""

    def __init__(self, net: nn.Module, share: float) -> None:
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self._share = share

    def update(self, net: nn.Module, step: int) -> None:
        """Take the weights after step `step` in; early on they count more, so that the start is forgotten."""
        share = min(self._share, (1 + step) / (10 + step))
        mine = dict(self.net.named_parameters())
        with torch.no_grad():
            for name, value in net.named_parameters():
                mine[name].lerp_(value, 1 - share)
            for mine_buffer, buffer in zip(self.net.buffers(), net.buffers(), strict=True):
                mine_buffer.copy_(buffer)


def rate(plan: Schedule, step: int) -> float:
    """Return the learning rate of a step: rising in a line, then falling as half a cosine to a hundredth."""
    if step < plan.warmup:
        return plan.rate * (step + 1) / plan.warmup
    share = (step - plan.warmup) / max(plan.steps - plan.warmup, 1)
    return plan.rate * (0.01 + 0.99 * (1 + math.cos(math.pi * min(share, 1.0))) / 2)


def fit(run: Run, task: Task) -> None:
    """Train to the plan's last step, from the run's last checkpoint if it has one."""
    plan, net = run.plan, task.net
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(not any(fnmatch(name, pattern) for pattern in plan.frozen))
    optimiser, average = optimiser_of(net, plan), Average(net, plan.average)
    first, best = _restored(run, net, average, optimiser)
    run.begin(first)
    if not first:
        run.save("start", {"net": net.state_dict()})
    looked: dict[str, list[float]] = defaultdict(list)  # by term, since the last row of losses
    saved = time.monotonic()
    with closing(task.batches(first)) as batches:
        for done in range(first + 1, plan.steps + 1):
            for group in optimiser.param_groups:
                group["lr"] = rate(plan, done - 1)
            for name, value in _step(task, next(batches), optimiser, plan).items():
                looked[name].append(value)
            average.update(net, done - 1)
            figures = {}
            if done % LOOK_EVERY == 0:
                figures = {name: statistics.fmean(values) for name, values in looked.items()}
                looked.clear()
            if done % plan.validate_every == 0 or done == plan.steps:
                figures |= task.validate(average.net)
                best = _judged(run, average, done, figures["score"], best)
            if figures:
                run.log(done, figures | {"rate": rate(plan, done - 1)})
            if done == plan.steps or time.monotonic() - saved > SAVE_EVERY:
                saved = time.monotonic()
                run.save("last", _state(net, average, optimiser, done, best))


def _restored(run: Run, net: nn.Module, average: Average, optimiser: torch.optim.Optimizer) -> tuple[int, float]:
    """Take everything from the run's last checkpoint; return the steps that are done and the best score so far."""
    state = run.load("last")
    if state is None:
        return 0, -math.inf
    net.load_state_dict(state["net"])
    average.net.load_state_dict(state["average"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"]), float(state["best"])


def _judged(run: Run, average: Average, done: int, score: float, best: float) -> float:
    """Keep the averaged weights if their score is the best so far; return the best one."""
    if score > best:
        run.save("best", {"net": average.net.state_dict(), "step": done, "score": score})
    return max(score, best)


def _step(task: Task, batch: Any, optimiser: torch.optim.Optimizer, plan: Plan) -> dict[str, float]:
    task.net.train()
    _freeze_norms(task.net)
    terms = task.losses(batch)
    loss = torch.stack([plan.losses[name] * value for name, value in terms.items()]).sum()
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(task.net.parameters(), LARGEST_GRADIENT)
    if norm.isfinite():  # else one batch would make every weight a NaN; metrics.csv shows the share left out
        optimiser.step()
    figures = {"loss": float(loss.detach()), "left_out": float(not norm.isfinite())}
    return figures | {name: float(value.detach()) for name, value in terms.items()}


def _freeze_norms(net: nn.Module) -> None:
    """Keep the running figures of normalisations whose weights are frozen."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
            module.eval()


def optimiser_of(net: nn.Module, plan: Schedule) -> torch.optim.Optimizer:
    """Return AdamW; normalisations, biases and depthwise kernels, which are vectors, are not pulled to zero."""
    trained = [value for value in net.parameters() if value.requires_grad]
    decayed = [value for value in trained if value.ndim == 4 and value.shape[1] > 1]
    kept = [value for value in trained if not (value.ndim == 4 and value.shape[1] > 1)]
    groups = [{"params": decayed, "weight_decay": plan.decay}, {"params": kept, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=plan.rate)


def _state(
    net: nn.Module, average: Average, optimiser: torch.optim.Optimizer, step: int, best: float
) -> Mapping[str, Any]:
    return {
        "net": net.state_dict(),
        "average": average.net.state_dict(),
        "optimiser": optimiser.state_dict(),
        "step": step,
        "best": best,
    }
