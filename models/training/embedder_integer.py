"""Goes on with an embedder under 8-bit arithmetic: the same lesson, every weight and map rounded."""

from collections.abc import Sequence
from pathlib import Path

from models.nets.integer import round_everything, watch
from models.run import Plan
from models.training import embedder

WATCHED = 16  # batches that show how far the maps reach


class Task(embedder.Task):
    """See `embedder.Task`; rounding needs floats of 32 bits."""

    activation = "relu"
    mixed = False

    def __init__(self, plan: Plan, runs: Path, cache: Path, folders: Sequence[Path]) -> None:
        """See `embedder.Task`; `plan.start` names the run that is gone on from."""
        super().__init__(plan, runs, cache, folders)
        round_everything(self._student.eval())
        watch(self._student, (self._pictures(self._batches.batch(number)) for number in range(WATCHED)))
