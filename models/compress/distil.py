"""A stage that trains the net to answer as the untouched one does (Hinton et al. 2015)."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.compress.stage import Context, Edit, Stage
from models.recognition.distillation import hinton_loss


def distillation_loss(logits: Tensor, teacher: Tensor, labels: Tensor, temperature: float, share: float) -> Tensor:
    """Return (1 - q) CE + q T^2 KL(softmax(z_t / T) || softmax(z_s / T)), the batch's mean, of logits (n, k)."""
    return (1 - share) * functional.cross_entropy(logits, labels) + share * hinton_loss(logits, teacher, temperature)


def teacher_cross_entropy(logits: Tensor, teacher: Tensor) -> Tensor:
    """Return -sum softmax(z_t) log softmax(z_s), the batch's mean, of logits (n, k) (Liu et al. 2020, ReActNet)."""
    return functional.cross_entropy(logits, teacher.softmax(dim=1))


@dataclass(kw_only=True)
class Distil(Stage):
    """Trains with `distillation_loss`; the teacher is the base net, which sees the same pictures as the student.

    The labels' part comes from the loop, which weighs its own loss by `task_share`.
    """

    temperature: float = 4.0
    share: float = 0.9  # q: of the teacher's part
    _teacher: nn.Module = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"temperature is {self.temperature}; it has to be above 0")
        if not 0 <= self.share <= 1:
            raise ValueError(f"share is {self.share}; it is a number from 0 to 1")

    @property
    def task_share(self) -> float:
        """What the loss of the labels is multiplied by."""
        return 1 - self.share

    def prepare(self, model: nn.Module, context: Context) -> list[Edit]:
        """Take the base net as the teacher."""
        self._teacher = context.base
        return []

    def extra_loss(self, model: nn.Module, inputs: Tensor, outputs: Tensor) -> Tensor:
        """Return the teacher's part."""
        with torch.no_grad():
            teacher = self._teacher.to(inputs.device)(inputs)
        return self.share * hinton_loss(outputs, teacher, self.temperature)
