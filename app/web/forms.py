"""From a form to the body of the API and back to the form: what is wrong is said at its field, in plain words."""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from pydantic import ValidationError

from app.api.face_checks import ADVICE
from app.api.problem_types import PROBLEM_TYPES
from app.api.problems import ProblemError, invalid
from app.errors import ConflictError, DuplicatePhotoError, PhotoError, RevisionError
from app.types import Reason, Zones
from app.web import words

Errors = dict[str, str]  # field -> what is wrong; the field "" is the form as a whole
REFUSALS = (ValidationError, ProblemError, PhotoError, ConflictError)  # what `explain` has words for

_MESSAGES = {
    "missing": "Please fill this in.",
    "string_too_short": "Please fill this in.",
    "string_pattern_mismatch": "This holds signs that cannot be printed, or blanks at its ends.",
    "string_type": "Please fill this in.",
    "float_type": "Please write a number.",
    "greater_than": "This must be more than {gt}.",
    "greater_than_equal": "This must be at least {ge}.",
    "less_than_equal": "This must be at most {le}.",
    "string_too_long": "This is too long: at most {max_length} characters.",
    "too_long": "These are too many: at most {max_length}.",
    "literal_error": "Please choose one of these.",
}


def explain(error: Exception) -> Errors:
    """Return what is wrong with a form, by field.

    Args:
        error: one of `REFUSALS`.
    """
    if isinstance(error, ValidationError):
        return {str(row["loc"][0]) if row["loc"] else "": _message(row) for row in error.errors()}
    if isinstance(error, RevisionError):
        return {"": "Somebody changed this meanwhile. Load the page again and repeat your change."}
    if isinstance(error, DuplicatePhotoError):
        return {"photo": "This very photo is enrolled already, for this or another person."}
    if isinstance(error, ConflictError):
        return {"external_id" if "external id" in str(error) else "": sentence(str(error))}
    if isinstance(error, PhotoError):
        return {"photo": photo_trouble(error)}
    assert isinstance(error, ProblemError)
    places: Any = error.members.get("errors") or ()
    told = {str(place.pointer).removeprefix("#/").partition("/")[0]: sentence(place.detail) for place in places}
    return told or {"": sentence(str(error))}


def photo_trouble(error: PhotoError) -> str:
    """Return why a photo cannot be enrolled and what to do about it."""
    reasons = [Reason(code) for code in error.reasons]
    if reasons:
        return " ".join(f"{words.REASONS[reason]} {ADVICE[reason]}" for reason in reasons)
    if error.code == "empty-upload":
        return "Please choose a photo first."
    kind = PROBLEM_TYPES[error.code]
    return f"{kind.title} {kind.advice}"


def sentence(text: str) -> str:
    """Return a message of the API as people write it."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")


def groups_of(text: str) -> list[str]:
    """Return the groups of a field, written with commas between them."""
    return sorted({part.strip() for part in text.split(",")} - {""})


def moment_of(text: str, zone: tzinfo, present: datetime | None = None) -> str | None:
    """Return a ``datetime-local`` field as the API takes a time; what cannot be read goes on as it is.

    Args:
        present: what the field showed, which loses its seconds there: unchanged it is kept.
    """
    if not text:
        return None
    if present is not None and text == local_minute(present, zone):
        return present.isoformat()
    try:
        return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        return text


def day_of(text: str, zone: tzinfo, present: datetime | None = None) -> str | None:
    """Return a ``date`` field as the time at which that day begins."""
    if not text:
        return None
    if present is not None and text == local_day(present, zone):
        return present.isoformat()
    return moment_of(f"{text}T00:00", zone)


def local_minute(moment: datetime | None, zone: tzinfo) -> str:
    """Return what a ``datetime-local`` field shows."""
    return "" if moment is None else f"{moment.astimezone(zone):%Y-%m-%dT%H:%M}"


def local_day(moment: datetime | None, zone: tzinfo) -> str:
    """Return what a ``date`` field shows."""
    return "" if moment is None else f"{moment.astimezone(zone):%Y-%m-%d}"


def day_span(since: str, until: str, zone: tzinfo) -> tuple[datetime | None, datetime | None]:
    """Return the span of two ``date`` fields, the second day included; a day that cannot be read is left out."""
    return _day(since, zone), _day(until, zone, days=1)


def number_of(text: str) -> float | str:
    """Return a number as the API takes it, with a comma as well; what cannot be read goes on as it is."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return text


def zones_of(text: str) -> list[list[list[float]]]:
    """Return zones written as one polygon a line, ``x,y x,y x,y`` in percent of the picture.

    Raises:
        ProblemError: a line is no polygon.
    """
    try:
        return [[_corner(corner) for corner in line.split()] for line in text.splitlines() if line.strip()]
    except ValueError:
        detail = "Write one area a line, such as 10,20 60,20 60,90: percent from the left and from the top."
        raise invalid("#/zones", detail) from None


def zones_text(zones: Zones) -> str:
    """Return zones as `zones_of` reads them."""
    return "\n".join(" ".join(f"{x * 100:g},{y * 100:g}" for x, y in polygon) for polygon in zones)


def _corner(text: str) -> list[float]:
    x, y = (float(part) / 100 for part in text.split(","))
    return [round(x, 4), round(y, 4)]


def _day(text: str, zone: tzinfo, days: int = 0) -> datetime | None:
    """Return when a day begins, or so many days later; None for what is no day, and where the calendar ends."""
    try:
        return (datetime.fromisoformat(text).replace(tzinfo=zone) + timedelta(days)).astimezone(UTC) if text else None
    except (ValueError, OverflowError):
        return None


def _message(row: Any) -> str:
    if row["type"] == "value_error":
        return sentence(str(row["msg"]).removeprefix("Value error, "))
    return _MESSAGES.get(row["type"], sentence(row["msg"])).format(**row.get("ctx", {}))
