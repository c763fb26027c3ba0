"""The last stage: the exported net in 8 bits, calibrated on training pictures. The torch net stays as it is."""

from dataclasses import dataclass, field

import numpy as np
from torch import nn

from app.errors import SetupError
from models import quantise
from models.compress.export import exported
from models.compress.stage import LOOKED_AT, Context, Edit, Stage

LEAST = 200  # pictures to calibrate on
COMPARED = 64  # pictures that show that the float file answers as the net
BATCH = 50  # pictures


@dataclass(kw_only=True)
class Int8(Stage):
    """Static quantisation of all convolutions, weights by output channel, maps as they range on training pictures.

    What it makes is `artefact`, a file; layers that are no convolution stay in float in it.
    """

    calibrate: int = 256  # training pictures
    artefact: bytes = field(init=False, default=b"", repr=False)  # ONNX in 8 bits, behind `finish`

    def __post_init__(self) -> None:
        if not LEAST <= self.calibrate <= LOOKED_AT:
            raise ValueError(f"calibrate is {self.calibrate}; ranges of maps need {LEAST} to {LOOKED_AT} pictures")
        if self.epochs or self.finetune or self.rounds != 1:
            raise ValueError("epochs, finetune and rounds are left out: nothing is trained in 8 bits")

    def finish(self, model: nn.Module, context: Context) -> list[Edit]:
        """Export, calibrate, quantise; the net itself is not changed.

        Raises:
            SetupError: there are fewer training pictures than `calibrate`, or nothing in the net can be in 8 bits.
        """
        pictures = context.pictures[: self.calibrate]
        if len(pictures) < self.calibrate:
            raise SetupError(f"calibrate is {self.calibrate}, the task has {len(pictures)} training pictures")
        content = exported(model, pictures[:COMPARED])
        batches = np.array_split(pictures.numpy(), max(len(pictures) // BATCH, 1))
        try:
            self.artefact = quantise.quantised(content, quantise.calibrate(content, batches))
        except (KeyError, IndexError, ValueError) as error:
            raise SetupError(f"the net cannot be put into 8 bits ({error!r}); leave quantise.int8 out") from error
        return []
