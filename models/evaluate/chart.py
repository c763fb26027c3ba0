"""Curves as a PNG file, drawn with what decodes our pictures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from app.types import Image
from models.evaluate.plot import COLOURS, TICKS, Line

WIDTH, HEIGHT, MARGIN = 960, 720, 90  # pixels
FONT, SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.55
BLACK, GREY = (0, 0, 0), (200, 200, 200)
FRACTION_BITS = 4  # of the coordinates that lines are drawn at


@dataclass(frozen=True, slots=True)
class Chart:
    """One pair of axes. On logarithmic ones only points above 0 are drawn."""

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    logarithmic: bool = False


def png(chart: Chart) -> bytes:
    """Return the chart as a PNG file."""
    image = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    curves = [_points(line, chart.logarithmic) for line in chart.lines]
    everything = np.concatenate([*curves, np.zeros((0, 2))])
    _text(image, chart.title, WIDTH / 2, MARGIN / 3)
    _text(image, chart.x, WIDTH / 2, HEIGHT - MARGIN / 4)
    _text(image, chart.y, MARGIN, MARGIN * 0.75)
    if len(everything):
        low, high = _range(everything, chart.logarithmic)
        _axes(image, low, high, chart.logarithmic)
        for number, (line, points) in enumerate(zip(chart.lines, curves, strict=True)):
            colour = _bgr(COLOURS[number % len(COLOURS)])
            places = np.rint(_place(points, low, high) * 2**FRACTION_BITS).astype(np.int32)
            cv2.polylines(image, [places], False, colour, 2, cv2.LINE_AA, FRACTION_BITS)
            _text(image, line.name, WIDTH - 1.8 * MARGIN, MARGIN + 24 * number, colour)
    return cv2.imencode(".png", image)[1].tobytes()


def _points(line: Line, logarithmic: bool) -> np.ndarray:
    """Return the points (n, 2) of a line as the axes count, decades or plain."""
    points = np.array(line.points, np.float64).reshape(-1, 2)
    return np.log10(points[(points > 0).all(axis=1)]) if logarithmic else points


def _range(points: np.ndarray, logarithmic: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends (2,) of both axes: whole decades, or from the least x and from 0 on."""
    low, high = points.min(axis=0), points.max(axis=0)
    if logarithmic:
        low, high = np.floor(low), np.ceil(high)
    else:
        low[1] = min(low[1], 0)
    return low, np.where(high > low, high, low + 1)


def _place(points: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return where points (n, 2) of the axes lie in the picture, x and y in pixels."""
    size = np.array([WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN])
    inside = (points - low) / (high - low) * size
    return np.asarray(np.column_stack([MARGIN + inside[:, 0], HEIGHT - MARGIN - inside[:, 1]]))


def _axes(image: Image, low: np.ndarray, high: np.ndarray, logarithmic: bool) -> None:
    """Draw ticks with their values and a line for each."""
    for axis in (0, 1):
        count = int(high[axis] - low[axis]) + 1 if logarithmic else TICKS
        for value in np.linspace(low[axis], high[axis], count):
            ends = np.stack([low, high])
            ends[:, axis] = value
            start, end = np.rint(_place(ends, low, high)).astype(int).tolist()
            cv2.line(image, start, end, GREY, 1)
            label = f"{10**value:.3g}" if logarithmic else f"{value:.3g}"
            _text(image, label, *((start[0], start[1] + 24) if axis == 0 else (start[0] - 36, start[1] + 5)))


def _text(image: Image, words: str, x: float, y: float, colour: tuple[int, ...] = BLACK) -> None:
    """Write words, their middle at x and their foot at y."""
    (width, _), _ = cv2.getTextSize(words, FONT, SIZE, 1)
    cv2.putText(image, words, (math.floor(x - width / 2), math.floor(y)), FONT, SIZE, colour, 1, cv2.LINE_AA)


def _bgr(colour: str) -> tuple[int, ...]:
    """Return ``#rrggbb`` as OpenCV takes it."""
    return tuple(int(colour[place : place + 2], 16) for place in (5, 3, 1))
