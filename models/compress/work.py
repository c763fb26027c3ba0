"""A net on its way through the stages, and the file from which a stopped run goes on."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.compress.export import write
from models.compress.recipe import replay
from models.compress.stage import Edit
from models.compress.training import Progress
from models.run import load

EPOCHS, FINETUNE = 0, 1  # the two trainings of a turn


@dataclass
class Work:
    """Where a run stands; in the middle of `EPOCHS` the stage has prepared the net, which `recipe` does not say yet."""

    net: nn.Module
    recipe: list[Edit] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)  # of the report, one for each finished stage
    answers: list[list[int]] = field(default_factory=list)  # classes of the test pictures, behind each of them
    turn: int = 0  # of the stage that is under way
    training: int = EPOCHS  # and which of its trainings
    progress: Progress = field(default_factory=Progress)  # of that training
    seconds: float = 0.0  # that its stage took so far
    shaped: dict[str, Any] | None = None  # weights to be taken once the stage has prepared the net again

    def keep(self, path: Path, start: Mapping[str, Any] | None = None) -> None:
        """Write the state, whole or not at all.

        Args:
            path: the file.
            start: in the middle of `EPOCHS`: the weights from before the stage prepared the net.
        """
        weights = self.net.state_dict()
        state = {
            "recipe": [asdict(edit) for edit in self.recipe],
            "entries": self.entries,
            "answers": self.answers,
            "turn": self.turn,
            "training": self.training,
            "progress": vars(self.progress),
            "seconds": self.seconds,
            "weights": weights if start is None else start,
            "shaped": None if start is None else weights,
        }
        save(state, path)

    @staticmethod
    def resumed(fresh: nn.Module, path: Path) -> "Work":
        """Return what was kept; `fresh` is a net without any edits.

        Raises:
            SetupError: the file is missing or damaged.
        """
        state = load(path)
        recipe = [Edit(**edit) for edit in state.pop("recipe")]
        net = made(fresh, recipe, state.pop("weights"))
        return Work(net, recipe, progress=Progress(**state.pop("progress")), **state)


def made(fresh: nn.Module, recipe: Sequence[Edit], weights: Mapping[str, Any]) -> nn.Module:
    """Give a fresh net a recipe's structure and these weights; return it in evaluation mode."""
    replay(fresh, recipe)
    fresh.load_state_dict(weights)
    return fresh.eval()


def save(content: Mapping[str, Any], path: Path) -> None:
    """Write a file of tensors and plain values, whole or not at all."""
    written = io.BytesIO()
    torch.save(dict(content), written)
    write(written.getvalue(), path)
