"""Accuracy against cost as an SVG file: a point with its interval for each way, and the line of those worth having."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from models.evaluate.plot import COLOURS

WIDTH, HEIGHT, MARGIN, LEGEND = 420, 320, 54, 190  # pixels; the legend stands right of all panels
TICKS = 5
AIR = 0.05  # share of the span that is left free on both ends


@dataclass(frozen=True, slots=True)
class Point:
    """One way with what it costs and what it is worth."""

    name: str
    cost: float
    value: float
    low: float  # ends of the value's interval
    high: float


@dataclass(frozen=True, slots=True)
class Panel:
    """Points with one kind of cost."""

    title: str
    points: Sequence[Point]


def front(points: Sequence[Point]) -> list[Point]:
    """Return the points than which none is both as cheap and better, or as good and cheaper; cheapest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda one: (one.cost, -one.value)):
        if not best or point.value > best[-1].value:
            best.append(point)
    return best


def pareto(panels: Sequence[Panel], value: str) -> str:
    """Return an SVG document with the panels side by side; `value` is what the upright axis is called."""
    names = list(dict.fromkeys(point.name for panel in panels for point in panel.points))
    parts = [
        f'<g transform="translate({number * WIDTH} 0)">{_panel(panel, value, names)}</g>'
        for number, panel in enumerate(panels)
    ]
    left = WIDTH * len(panels)
    for row, name in enumerate(names):
        parts.append(_circle(left + 8, MARGIN + 20 * row, _colour(names, name)))
        parts.append(_text(left + 18, MARGIN + 20 * row + 4, name, "start"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + LEGEND}" '
        f'height="{max(HEIGHT, 2 * MARGIN + 20 * len(names))}" font-family="sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _panel(panel: Panel, value: str, names: Sequence[str]) -> str:
    if not panel.points:
        return _text(WIDTH / 2, 20, f"{panel.title}: nothing to show")
    costs = _span([point.cost for point in panel.points])
    values = _span([end for point in panel.points for end in (point.low, point.value, point.high)])

    def at(cost: float, height: float) -> tuple[float, float]:
        across, up = (cost - costs[0]) / (costs[1] - costs[0]), (height - values[0]) / (values[1] - values[0])
        return MARGIN + across * (WIDTH - 2 * MARGIN), HEIGHT - MARGIN - up * (HEIGHT - 2 * MARGIN)

    parts = [_text(WIDTH / 2, 20, panel.title), _text(MARGIN, MARGIN - 12, value, "start")]
    parts.append(f'<path d="M{MARGIN} {MARGIN}V{HEIGHT - MARGIN}H{WIDTH - MARGIN}" fill="none" stroke="#888"/>')
    for tick in range(TICKS):
        share = tick / (TICKS - 1)
        cost, height = costs[0] + share * (costs[1] - costs[0]), values[0] + share * (values[1] - values[0])
        parts.append(_text(at(cost, values[0])[0], HEIGHT - MARGIN + 16, f"{cost:.3g}"))
        parts.append(_text(MARGIN - 6, at(costs[0], height)[1] + 4, f"{height:.3f}", "end"))
    places = [at(point.cost, point.value) for point in front(panel.points)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts.append(f'<polyline points="{line}" fill="none" stroke="#bbb" stroke-width="2"/>')
    for point in panel.points:
        x, low = at(point.cost, point.low)
        colour = _colour(names, point.name)
        parts.append(f'<path d="M{x:.1f} {low:.1f}V{at(0, point.high)[1]:.1f}" stroke="{colour}"/>')
        parts.append(_circle(x, at(0, point.value)[1], colour))
    return "".join(parts)


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis, some air around the values."""
    low, high = min(values), max(values)
    air = AIR * (high - low) or 0.5 * abs(high) or 1.0
    return low - air, high + air


def _colour(names: Sequence[str], name: str) -> str:
    return COLOURS[names.index(name) % len(COLOURS)]


def _circle(x: float, y: float, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'


def _text(x: float, y: float, words: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
