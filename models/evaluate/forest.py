"""Figures with their intervals as an SVG file: a row for each name, a column for each kind of data (a forest plot)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from models.evaluate.plot import COLOURS

NAMES, COLUMN, ROW, MARGIN = 170, 300, 18, 24  # pixels: widths of names and of a column, height of a row, border
TICKS = 4


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with the bounds of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that are shown together, in one colour."""

    title: str
    names: Sequence[str]


def forest(groups: Sequence[Group], columns: Mapping[str, Mapping[str, Interval]], line: str | None = None) -> str:
    """Return an SVG document.

    Args:
        groups: all rows, from above.
        columns: by the column's title: each name's figure; names without one have an empty row there.
        line: name whose figures are drawn as a line through their columns.
    """
    rows = sum(1 + len(group.names) for group in groups)
    width, height = NAMES + COLUMN * len(columns), ROW * (rows + 3) + 2 * MARGIN
    parts = _names(groups)
    for number, (title, figures) in enumerate(columns.items()):
        drawn = _column(title, groups, figures, rows, line)
        parts.append(f'<g transform="translate({NAMES + number * COLUMN} 0)">{drawn}</g>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _names(groups: Sequence[Group]) -> list[str]:
    parts, row = [], 1
    for number, group in enumerate(groups):
        parts.append(_text(MARGIN / 2, row, group.title, _colour(number), "bold"))
        parts += [_text(MARGIN, row + place, name, "black") for place, name in enumerate(group.names, 1)]
        row += 1 + len(group.names)
    return parts


def _column(title: str, groups: Sequence[Group], figures: Mapping[str, Interval], rows: int, line: str | None) -> str:
    parts = [_text(MARGIN, 0, title, "black", "bold")]
    if not figures:
        return parts[0]
    low, high = min(one.low for one in figures.values()), max(one.high for one in figures.values())
    span = (high - low) or 1.0

    def at(value: float) -> float:
        return MARGIN + (value - low) / span * (COLUMN - 2 * MARGIN)

    bottom = _y(rows + 1)
    for tick in range(TICKS + 1):
        value = low + span * tick / TICKS
        parts.append(f'<path d="M{at(value):.1f} {_y(0) + 6}V{bottom}" stroke="#ddd"/>')
        parts.append(_text(at(value) - 12, rows + 2, f"{value:.3f}", "#555"))
    if line and line in figures:
        parts.append(
            f'<path d="M{at(figures[line].value):.1f} {_y(0) + 6}V{bottom}" stroke="#888" stroke-dasharray="4"/>'
        )
    row = 1
    for number, group in enumerate(groups):
        for place, name in enumerate(group.names, 1):
            if name in figures:
                one, y = figures[name], _y(row + place) - 4
                ends = f"M{at(one.low):.1f} {y}H{at(one.high):.1f}"
                parts.append(f'<path d="{ends}" stroke="{_colour(number)}" stroke-width="2"/>')
                parts.append(f'<circle cx="{at(one.value):.1f}" cy="{y}" r="4" fill="{_colour(number)}"/>')
        row += 1 + len(group.names)
    return "".join(parts)


def _y(row: int) -> int:
    return MARGIN + ROW * (row + 1) - ROW // 2


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _text(x: float, row: int, words: str, colour: str, weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{_y(row)}" fill="{colour}" font-weight="{weight}">{escape(words)}</text>'
