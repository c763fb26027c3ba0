"""What is remarkable about a photo, carried from its enrolment to the person's page."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from fastapi import Request
from sqlalchemy.orm import Session

from app.api.notices import ADVICE, NoticeRead
from app.enrolment.notices import Notice
from app.store import people


@dataclass(frozen=True, slots=True)
class Remark:
    """One notice as the page shows it."""

    words: str
    person: str | None  # id of somebody else whom it is about
    name: str  # of that person, empty without one


def query(notices: Sequence[NoticeRead]) -> str:
    """Return the query of the person's page after a photo was enrolled."""
    other = [("other", one.person) for one in notices if one.person is not None][:1]
    return urlencode([("saved", "photo"), *(("notice", one.code.value) for one in notices), *other])


def remarks(request: Request, session: Session, building: str) -> list[Remark]:
    """Return what a page was told by its query; words that are none of ours, and people who are gone, are left out."""
    given, other = request.query_params.getlist("notice"), request.query_params.get("other", "")
    names = people.names(session, building, {other})
    found = []
    for notice in Notice:
        if notice.value in given:
            about = other if notice in (Notice.DUPLICATE_FACE, Notice.LOOKS_LIKE) and other in names else None
            found.append(Remark(ADVICE[notice], about, names.get(about or "", "")))
    return found
