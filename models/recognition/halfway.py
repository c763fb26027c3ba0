"""Weights part of the way from where a net began to what it has learnt (Wortsman et al. 2022, WiSE-FT, equation 1).

Whoever learns to look through damage forgets some of what he knew of clean faces; a part of the way keeps most of both,
and costs nothing. How far to go is chosen by the people who judge, as the training's steps are.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from models.recognition.judging import Judges

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the way

Weights = Mapping[str, Tensor]


def between(start: Weights, end: Weights, share: float) -> dict[str, Tensor]:
    """Return start + share (end - start); counters, which are integers, are those of the end."""
    return {name: start[name].lerp(value, share) if value.is_floating_point() else value for name, value in end.items()}


def best_share(net: nn.Module, start: Weights, end: Weights, judges: Judges) -> tuple[float, dict[str, float]]:
    """Give the net the weights of the share with the best score; return it and what the judges say."""
    said: dict[float, dict[str, float]] = {}
    for share in SHARES:
        net.load_state_dict(between(start, end, share))
        said[share] = judges.figures(net.eval())
    best = max(said, key=lambda share: said[share]["score"])
    net.load_state_dict(between(start, end, best))
    return best, said[best]
