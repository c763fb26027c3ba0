"""Events as a file: JSON lines or a table, read batch by batch, so that a year of them costs no memory.

Each batch is a transaction of its own: nobody waits for a slow client, and an event that is deleted or anonymised
while the file is on its way is so in the file too.
"""

import csv
import io
from collections.abc import Iterator
from typing import Any, Literal

from app.api.event_forms import AccessData, CameraData, EventRead, TamperData
from app.store import events
from app.store.engine import Store
from app.store.records import EventFilter, EventRecord

BATCH = 500
Format = Literal["csv", "jsonl"]
MEDIA_TYPES: dict[Format, str] = {"csv": "text/csv; charset=utf-8; header=present", "jsonl": "application/jsonl"}
_ACCESS = ("door", "visit", "decision", "similarity", "threshold", "margin", "quality", "captured_at", "expires_at")
_CAMERA = ("state", "previous", "detail")
_TAMPER = ("tampered", "kind", "since", "ended_at", "ended_by")
COLUMNS = (
    *("id", "time", "camera", *_ACCESS, "reasons", "person", "person_name", *_CAMERA),
    *("verdict", "real_person", "note", "corrected_by", "corrected_at"),
    *_TAMPER,  # at the end: whoever reads columns by their place finds them where they were
)
_MEMBERS: dict[type[AccessData | CameraData | TamperData], tuple[str, ...]] = {
    AccessData: _ACCESS,
    CameraData: _CAMERA,
    TamperData: ("detail", *_TAMPER),
}
# A spreadsheet takes a cell that begins with one of these for a formula, wide forms and leading blanks included.
FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def batches(store: Store, building: str, only: EventFilter) -> Iterator[list[EventRecord]]:
    """Yield a building's events, newest first.

    Raises:
        NotFoundError: there is no such building.
    """
    token: str | None = None
    while True:
        with store.reading() as session:
            page = events.listing(session, building, BATCH, token, only)
        yield page.items
        token = page.next_token
        if token is None:
            return


def written(form: Format, parts: Iterator[list[EventRecord]]) -> Iterator[str]:
    """Yield the text of a file, a piece for each batch."""
    if form == "csv":
        yield _table([COLUMNS])
    for records in parts:
        found = [EventRead.of(record) for record in records]
        if form == "csv":
            yield _table([_cells(event) for event in found])
        else:
            yield "".join(f"{event.model_dump_json()}\n" for event in found)


def harmless(text: str) -> str:
    """Return text that a spreadsheet takes for text: what looks like a formula gets an apostrophe before it."""
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA) else text


def _cells(event: EventRead) -> tuple[object, ...]:
    data, said = event.data, event.correction
    row: dict[str, Any] = {"id": event.id, "time": event.time, "camera": data.camera}
    row |= {name: getattr(data, name) for name in _MEMBERS[type(data)]}
    if isinstance(data, AccessData):
        row["reasons"] = " ".join(data.reasons)
        if data.person is not None:
            row |= {"person": data.person.id, "person_name": data.person.name}
    if said is not None:
        row |= {"verdict": said.verdict, "real_person": said.person, "note": said.note, "corrected_by": said.actor}
        row["corrected_at"] = said.at.isoformat()
    return tuple(row.get(name) for name in COLUMNS)


def _table(rows: list[tuple[object, ...]]) -> str:
    """Return rows as CSV (RFC 4180)."""
    out = io.StringIO()
    writer = csv.writer(out)
    for row in rows:
        writer.writerow(harmless(cell) if isinstance(cell, str) else cell for cell in row)
    return out.getvalue()
