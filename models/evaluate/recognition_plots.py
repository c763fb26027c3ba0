"""The curves of a recognition test as PNG files: DET, error versus discard, distribution of the scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.errors import SetupError
from models.evaluate.chart import Chart, png
from models.evaluate.plot import Line
from models.evaluate.recognition_metrics import Scores, det

BINS = np.arange(-0.4, 1.001, 0.02)  # of cosine


@dataclass(frozen=True, slots=True)
class Curves:
    """What is drawn of one embedder."""

    name: str
    genuine: Scores  # (g,) -inf where a person was refused without a comparison
    impostors: Scores  # (n,)
    discard: Mapping[str, float | None]  # share set aside -> error rate


def check_folder(folder: Path | None) -> None:
    """Refuse a folder for plots that is not there, before anything is measured.

    Raises:
        SetupError: it is no folder.
    """
    if folder and not folder.is_dir():
        raise SetupError(f"{folder} is no folder: make it or give --plot another place")


def write_plots(embedders: Sequence[Curves], folder: Path, name: str, rates: tuple[str, str]) -> None:
    """Write ``NAME-det.png``, ``NAME-discard.png`` and ``NAME-scores.png``; `rates` are what the DET's axes show."""
    charts = {
        "det": Chart("detection error trade-off", *rates, [_det(one) for one in embedders], logarithmic=True),
        "discard": Chart(
            "errors when the worst faces are set aside",
            "share set aside",
            rates[1],
            [_discard(one) for one in embedders],
        ),
        "scores": Chart("similarity", "cosine", "density", [line for one in embedders for line in _densities(one)]),
    }
    for curve, chart in charts.items():
        (folder / f"{name}-{curve}.png").write_bytes(png(chart))


def _det(one: Curves) -> Line:
    return Line(one.name, list(zip(*(rate.tolist() for rate in det(one.genuine, one.impostors)), strict=True)))


def _discard(one: Curves) -> Line:
    return Line(one.name, [(float(share), rate) for share, rate in one.discard.items() if rate is not None])


def _densities(one: Curves) -> list[Line]:
    """Return the densities of genuine and impostor scores, by bins."""
    middles, lines = (BINS[1:] + BINS[:-1]) / 2, []
    for what, scores in (("same", one.genuine), ("different", one.impostors)):
        shares = np.histogram(scores, BINS)[0] / max(len(scores), 1) / np.diff(BINS)
        lines.append(Line(f"{one.name}, {what}", list(zip(middles.tolist(), shares.tolist(), strict=True))))
    return lines
