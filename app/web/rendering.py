"""From records to HTML: the templates, times as people read them, and what every page shows around its content."""

import functools
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.web import words
from app.web.visitor import Place

HERE = Path(__file__).parent
THEMES = ("auto", "light", "dark")
_SPANS = ((1, "second"), (60, "minute"), (3600, "hour"), (86_400, "day"), (2_629_746, "month"), (31_556_952, "year"))


@functools.cache
def environment() -> Environment:
    """Return the templates. Everything put into them is escaped."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"ago": ago, "absolute": absolute, "iso": iso}
    made.globals |= {"words": words}
    return made


def render(request: Request, template: str, status: int = 200, **content: Any) -> HTMLResponse:
    """Return a page."""
    return HTMLResponse(_text(request, template, content), status)


def render_in(request: Request, place: Place, template: str, status: int = 200, **content: Any) -> HTMLResponse:
    """Return a page of a building, with its navigation."""
    return render(request, template, status, place=place, visitor=place.visitor, **content)


def fragment(zone: tzinfo, place: Place, template: str, **content: Any) -> str:
    """Return a piece of a page that is put into one that is open already."""
    return environment().get_template(template).render(zone=zone, now=datetime.now(UTC), place=place, **content)


def zone_of(request: Request) -> tzinfo:
    """Return the visitor's time zone, which a script leaves in a cookie; UTC without one."""
    try:
        return ZoneInfo(request.cookies.get("zone", "UTC").replace("%2F", "/"))
    except (KeyError, ValueError, OSError):  # unknown, malformed, a folder of zones
        return UTC


def ago(moment: datetime, now: datetime) -> str:
    """Return how long ago something was, or in how long it will be, in one unit."""
    seconds = (now - moment).total_seconds()
    if abs(seconds) < 5:
        return "just now"
    size, unit = [span for span in _SPANS if span[0] <= abs(seconds)][-1]
    count = int(abs(seconds) // size)
    told = f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{told} ago" if seconds > 0 else f"in {told}"


def absolute(moment: datetime, zone: tzinfo, now: datetime) -> str:
    """Return day and time; the year only when it is another one."""
    local, today = moment.astimezone(zone), now.astimezone(zone)
    day = "" if local.date() == today.date() else f"{local:%a} {local.day} {local:%b}{_year(local, today)}, "
    return f"{day}{local:%H:%M:%S}"


def _year(local: datetime, today: datetime) -> str:
    return "" if local.year == today.year else f" {local.year}"


def iso(moment: datetime) -> str:
    """Return the time for machines."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(request: Request, template: str, content: Mapping[str, Any]) -> str:
    theme = request.cookies.get("theme", "auto")
    place: Place | None = getattr(request.state, "place", None)
    around: dict[str, Any] = {
        "place": place,
        "visitor": None if place is None else place.visitor,
        "section": "",
        "theme": theme if theme in THEMES else "auto",
        "zone": zone_of(request),
        "zone_name": str(zone_of(request)),
        "now": datetime.now(UTC),
        "here": _here(request),
    }
    return environment().get_template(template).render(around | dict(content))


def _here(request: Request) -> str:
    """Return where a page leads that only changes its looks. What a form was sent to cannot be asked for."""
    if request.method != "GET":
        return "/"
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")
