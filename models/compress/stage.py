"""One stage of compression: the hooks that every kind fills in, and the edits that it leaves behind.

A stage changes a net in place and says what it did as edits: plain values from which the same structure can be made
again on a fresh net (`models.compress.recipe`), so weights are reloaded without pickled code.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

LOOKED_AT = 4096  # training pictures at most that stages may look at besides training on them


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of a net's structure."""

    form: str  # of `models.compress.recipe.FORMS`
    layer: str  # dotted name of the module at that moment; "" is the net itself
    values: dict[str, Any]  # what the form needs, as JSON can hold it: ranks, kept channels


@dataclass(frozen=True, slots=True)
class Context:
    """What a stage may look at besides the net."""

    pictures: Tensor  # (n, c, h, w) training pictures, `LOOKED_AT` at most, none of a test set
    base: nn.Module  # the net before the first stage, in evaluation mode: teacher and reference
    seed: int
    turn: int = 0  # turns of the stage that are done, of `Stage.turns`


@dataclass(kw_only=True)
class Stage:
    """A stage does nothing unless a kind overrides a hook. Fields are what a run file may set."""

    epochs: int = 0  # of training between `prepare` and `finish`
    finetune: int = 0  # of training behind `finish`
    rounds: int = 1  # how often all of it is done

    def turns(self, model: nn.Module, context: Context) -> int:
        """Return how often it is prepared, trained and finished: once a round, unless a kind takes rounds in parts."""
        return self.rounds

    def prepare(self, model: nn.Module, context: Context) -> list[Edit]:
        """Change the net before training."""
        return []

    def extra_loss(self, model: nn.Module, inputs: Tensor, outputs: Tensor) -> Tensor | None:
        """Return what is added to the task's loss of a batch."""
        return None

    def before_epoch(self, model: nn.Module, epoch: int) -> None:
        """Set what depends on progress; `epoch` counts from 0 within the round and is restored on resumption."""

    def after_epoch(self, model: nn.Module, epoch: int) -> None:
        """Put right what training undid."""

    def finish(self, model: nn.Module, context: Context) -> list[Edit]:
        """Change the net after training, for good."""
        return []


def module_at(model: nn.Module, name: str) -> nn.Module:
    """Return the module of a dotted name.

    Raises:
        AttributeError: there is none.
    """
    return model.get_submodule(name)


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put `module` in the place of the one of that name, in the same mode and on the same device.

    Raises:
        AttributeError: there is no such place.
        ValueError: the name is empty: a net cannot replace itself.
    """
    if not name:
        raise ValueError("the net itself cannot be replaced; name a module in it")
    parent, _, last = name.rpartition(".")
    old = model.get_submodule(name)
    reference = next(old.parameters(), torch.empty(0))
    setattr(model.get_submodule(parent), last, module.to(reference.device).train(old.training))
