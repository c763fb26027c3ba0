"""The receipt of an erasure as an answer."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

from app.api.services import Services
from app.store.records import Forgotten, InStream, Receipt, Remains
from app.stream_erasure import StreamEraser


class StreamRead(BaseModel):
    """What was done to the event stream."""

    entries: int = Field(description="taken out because they named the person")
    state: InStream


class ReceiptRead(BaseModel):
    """What was erased, and how each worker that was alive is known to have forgotten it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "building": "main",
                    "person": "per_1f0c6f4b5a0d4e2b9c7a",
                    "photos": 2,
                    "templates": 2,
                    "events_anonymised": 31,
                    "snapshots": 31,
                    "portraits": 31,
                    "corrections": 1,
                    "replies": 0,
                    "operation_items": 1,
                    "gallery_sequence": 412,
                    "erased_at": "2026-01-01T08:00:00Z",
                    "workers": {"north": "confirmed"},
                    "remains": "none",
                    "stream": {"entries": 31, "state": "removed"},
                    "complete": True,
                }
            ]
        }
    )

    building: str
    person: str
    photos: int
    templates: int
    events_anonymised: int = Field(description="events that named the person and stay without the name")
    snapshots: int = Field(
        description="pictures deleted from these events, those corrected to the person, and those enrolled from"
    )
    portraits: int = Field(description="close pictures deleted from the same events")
    corrections: int = Field(description="corrections that named the person: they stay without person and note")
    replies: int = Field(description="kept replies to requests with an Idempotency-Key")
    operation_items: int = Field(description="entries of bulk enrolments")
    gallery_sequence: int = Field(description="of the building, from which on nobody is matched with what was erased")
    erased_at: datetime
    workers: dict[str, Forgotten]
    remains: Remains = Field(description="readable leftovers on the database's disk")
    stream: StreamRead
    complete: bool = Field(description="whether nobody can recognise what was erased any more")


INCOMPLETE: dict[int | str, dict[str, Any]] = {
    202: {"model": ReceiptRead, "description": "Erased from the store; a live worker has not confirmed in time."}
}


@contextmanager
def stream_of(services: Services) -> Iterator[StreamEraser]:
    """Open the event stream for the time of one erasure; a stream that is away shows when it is used."""
    with closing(StreamEraser(services.redis_url, services.stream)) as stream:
        yield stream


def answer(receipt: Receipt, response: Response) -> ReceiptRead:
    """Return the receipt; the status tells whether it is complete."""
    response.status_code = 200 if receipt.complete else 202
    removed = receipt.removed
    return ReceiptRead(
        building=removed.building,
        person=removed.person,
        photos=removed.photos,
        templates=removed.templates,
        events_anonymised=removed.events,
        snapshots=removed.snapshots,
        portraits=removed.portraits,
        corrections=removed.corrections,
        replies=removed.replies,
        operation_items=removed.operation_items,
        gallery_sequence=removed.sequence,
        erased_at=removed.at,
        workers=receipt.workers,
        remains=receipt.remains,
        stream=StreamRead(entries=receipt.stream.entries, state=receipt.stream.state),
        complete=receipt.complete,
    )
