"""The stage that makes convolutions binary: thresholds from the training pictures, estimators that follow the epochs.

Which layers is the filter's business; layers in groups are never among them. For a ResNet `kernel_above = 1` keeps the
projections of the shortcuts in floats (ReActNet); without it they are binary too (IE-Net). What binarising a net needs
besides is in `models.nets.binary_resnet`.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

import torch
from torch import Tensor, nn

from app.errors import SetupError
from models.compress.binary import Binary, BinaryConv2d, apply_binary, check, fits_shortcut, starting_thresholds
from models.compress.binary_size import layer_size
from models.compress.layers import Filter, Layer, layers_of
from models.compress.stage import Context, Edit, Stage, module_at

BATCH = 128  # pictures that run at once to find the thresholds
FLOAT_BITS = 32


@dataclass(kw_only=True)
class Binarise(Stage):
    """Replaces the chosen convolutions by binary ones; see `models.compress.binary.Binary` for what the fields do."""

    thresholds: int = 1
    estimator: str = "iee"
    shared_weights: bool = True
    combination: str = "sum"
    shortcut: bool = False  # around each convolution whose shapes allow it, for nets that have none there
    activations_first: int = 0  # epochs in which the weights are still in floats (ReActNet's two steps)
    filter: Filter = field(default_factory=Filter)

    def __post_init__(self) -> None:
        if self.rounds != 1:
            raise ValueError(f"rounds {self.rounds}: after the first there is nothing left to make binary")
        if not 0 <= self.activations_first < max(self.epochs, 1):
            raise ValueError(f"activations_first {self.activations_first}: 0 up to but not epochs, {self.epochs}")
        self._binary = Binary(self.thresholds, self.estimator, self.shared_weights, self.combination, self.shortcut)

    def prepare(self, model: nn.Module, context: Context) -> list[Edit]:
        """Replace the convolutions; a layer that would take more bits than before is left as it is.

        Raises:
            SetupError: a layer was asked for that cannot be made binary.
        """
        layers = layers_of(model, context.pictures[:1])
        self._refuse_groups(layers)
        chosen = [layer for layer in self.filter.chosen(layers) if layer.kind == "conv" and self._saves(layer)]
        edits = [self._edit(model, layer.name) for layer in chosen]
        figures = input_figures(model, [layer.name for layer in chosen], context.pictures)
        for edit in edits:
            apply_binary(model, edit)
            conv = module_at(model, edit.layer)
            assert isinstance(conv, BinaryConv2d)
            with torch.no_grad():
                conv.thresholds.copy_(starting_thresholds(*figures[edit.layer], self.thresholds))
        return edits

    def before_epoch(self, model: nn.Module, epoch: int) -> None:
        """Set how far the training is, of all binary layers of the net."""
        _set_progress(model, epoch / self.epochs, epoch >= self.activations_first)

    def finish(self, model: nn.Module, context: Context) -> list[Edit]:
        """Leave the estimators at their narrowest; the structure stays as it is."""
        _set_progress(model, 1.0, True)
        return []

    def _refuse_groups(self, layers: list[Layer]) -> None:
        """Refuse layers in groups that the filter names; patterns pass over them."""
        named = [layer.name for layer in layers if layer.groups > 1 and layer.name in self.filter.only]
        if named:
            raise SetupError(f"layers in groups stay in floats; take {', '.join(named)} out of the filter's only")

    def _saves(self, layer: Layer) -> bool:
        return 8 * layer_size(layer.shape, 1, self._binary).bytes < FLOAT_BITS * layer.parameters

    def _edit(self, model: nn.Module, name: str) -> Edit:
        shortcut = self.shortcut and fits_shortcut(check(name, module_at(model, name)))
        return Edit("binary", name, asdict(replace(self._binary, shortcut=shortcut)))


def input_figures(model: nn.Module, names: list[str], pictures: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Return mean and standard deviation (c,) of each channel that layers are given, in evaluation mode.

    Args:
        model: the net.
        names: of convolutions in it.
        pictures: (n, c, h, w), one at least.
    """
    sums: dict[str, list[Tensor]] = {name: [] for name in names}  # (3, c) by batch: count, sum, sum of squares

    def noting(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def note(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            values = given[0].transpose(0, 1).flatten(1).double()  # (c, n h w)
            sums[name].append(torch.stack([torch.ones_like(values).sum(1), values.sum(1), values.square().sum(1)]))

        return note

    hooks = [module_at(model, name).register_forward_pre_hook(noting(name)) for name in names]
    was_training = model.training
    try:
        with torch.no_grad():
            model.eval()
            for batch in torch.split(pictures, BATCH):
                model(batch)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return {name: _mean_and_deviation(torch.stack(parts).sum(0)) for name, parts in sums.items()}


def _mean_and_deviation(sums: Tensor) -> tuple[Tensor, Tensor]:
    count, total, squares = sums
    mean = total / count
    return mean, (squares / count - mean.square()).clamp(min=0).sqrt()


def _set_progress(model: nn.Module, progress: float, signed: bool) -> None:
    for module in model.modules():
        if isinstance(module, BinaryConv2d):
            module.progress.fill_(progress)
            module.signed_weights.fill_(signed)
