"""Curves as an SVG file, written out: a drawing library would be one more dependency for two axes and a few lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT, MARGIN = 420, 300, 50  # of one panel, pixels
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")  # Okabe and Ito 2008
TICKS = 5


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: its name, empty for none, and points (x, y)."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes; y begins with 0."""

    title: str
    x: str
    lines: Sequence[Line]


def plot(panels: Sequence[Panel]) -> str:
    """Return an SVG document with the panels side by side."""
    drawn = "".join(
        f'<g transform="translate({number * WIDTH} 0)">{_panel(panel)}</g>' for number, panel in enumerate(panels)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH * len(panels)}" height="{HEIGHT}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>{drawn}</svg>\n'
    )


def _panel(panel: Panel) -> str:
    points = [point for line in panel.lines for point in line.points]
    if not points:
        return _text(WIDTH / 2, 20, f"{panel.title}: nothing to show")
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    top = max(y for _, y in points) or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        share = (x - left) / (right - left) if right > left else 0.5
        return MARGIN + share * (WIDTH - 2 * MARGIN), HEIGHT - MARGIN - y / top * (HEIGHT - 2 * MARGIN)

    parts = [_text(WIDTH / 2, 20, panel.title), _text(WIDTH / 2, HEIGHT - 10, panel.x)]
    parts.append(f'<path d="M{MARGIN} {MARGIN}V{HEIGHT - MARGIN}H{WIDTH - MARGIN}" fill="none" stroke="#888"/>')
    for tick in range(TICKS):
        share = tick / (TICKS - 1)
        x, y = left + share * (right - left), share * top
        parts.append(_text(at(x, 0)[0], HEIGHT - MARGIN + 16, f"{x:.3g}"))
        parts.append(_text(MARGIN - 20, at(left, y)[1] + 4, f"{y:.3g}"))
    for number, line in enumerate(panel.lines):
        colour = COLOURS[number % len(COLOURS)]
        places = [at(x, y) for x, y in line.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        parts.append(_text(WIDTH - MARGIN / 2, MARGIN + 16 * number, line.name, colour))
    return "".join(parts)


def _text(x: float, y: float, words: str, colour: str = "black") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" fill="{colour}">{escape(words)}</text>'
