"""The receipt of an erasure as an answer."""

from datetime import datetime
from typing import Any

from fastapi import Response
from pydantic import BaseModel, Field

from app.store.records import Forgotten, Receipt, Remains


class ReceiptRead(BaseModel):
    """What was erased, and how each worker that was alive is known to have forgotten it."""

    building: str
    person: str
    photos: int
    templates: int
    events_anonymised: int = Field(description="events that named the person and stay without the name")
    snapshots: int = Field(description="pictures deleted from these events")
    gallery_sequence: int = Field(description="of the building, from which on nobody is matched with what was erased")
    erased_at: datetime
    workers: dict[str, Forgotten]
    remains: Remains = Field(description="erased bytes that may still lie on the database's disk")
    complete: bool = Field(description="whether nobody can recognise what was erased any more")


INCOMPLETE: dict[int | str, dict[str, Any]] = {
    202: {"model": ReceiptRead, "description": "Erased from the store; a live worker has not confirmed in time."}
}


def answer(receipt: Receipt, response: Response) -> ReceiptRead:
    """Return the receipt; the status tells whether it is complete."""
    response.status_code = 200 if receipt.complete else 202
    return ReceiptRead(
        building=receipt.building,
        person=receipt.person,
        photos=receipt.photos,
        templates=receipt.templates,
        events_anonymised=receipt.events_anonymised,
        snapshots=receipt.snapshots,
        gallery_sequence=receipt.sequence,
        erased_at=receipt.erased_at,
        workers=receipt.workers,
        remains=receipt.remains,
        complete=receipt.complete,
    )
