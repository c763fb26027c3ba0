"""What a change of embedder asks of the store: templates of the next one beside the live one's, then a switch."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, exists, func, select
from sqlalchemy.orm import Session

from app.errors import NotFoundError, SetupError
from app.store import audit, buildings, enrolments, people, templates
from app.store.clock import now
from app.store.sealing import unseal
from app.store.tables import LiveEmbedder, PersonRow, Photo, Template
from app.types import Array


@dataclass(frozen=True, slots=True)
class KeptPhoto:
    """A photo that has no template of an embedder."""

    id: str
    building: str
    person: str
    name: str  # of the person


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """Somebody whom no door would know after a switch."""

    building: str
    person: str
    name: str


def unfinished(session: Session, embedder: str, building: str | None = None) -> list[KeptPhoto]:
    """Return the photos that have no template of an embedder, by person; None for all buildings."""
    query = select(Photo.id, PersonRow.building_id, PersonRow.id, PersonRow.name)
    query = query.join(PersonRow, PersonRow.id == Photo.person_id)
    query = query.where(~exists().where(Template.photo_id == Photo.id, Template.embedder == embedder))
    if building is not None:
        query = query.where(PersonRow.building_id == building)
    rows = session.execute(query.order_by(PersonRow.building_id, PersonRow.id, Photo.id))
    return [KeptPhoto(*row) for row in rows]


def picture(session: Session, photo: KeptPhoto) -> bytes | None:
    """Return the JPEG of a photo, None when it was erased meanwhile.

    Raises:
        SealError: it cannot be opened.
    """
    sealed = session.scalar(select(Photo.image).where(Photo.id == photo.id))
    return None if sealed is None else unseal(session, sealed, f"photos.image/{photo.id}")


def add_template(session: Session, photo: KeptPhoto, embedder: str, vector: Array) -> bool:
    """Put a template of another embedder beside those that are there.

    Args:
        vector: (d,) of unit length.

    Returns:
        Whether it was wanted still: somebody may have erased the photo, and another run may have been quicker.
    """
    try:
        people.locked(session, photo.building, photo.person)
    except NotFoundError:
        return False
    enrolments.lock(session, photo.building)
    kept = session.scalar(select(Photo.id).where(Photo.id == photo.id))
    there = select(Template.id).where(Template.photo_id == photo.id, Template.embedder == embedder)
    if kept is None or session.scalar(there) is not None:
        return False
    templates.add(session, photo.building, photo.person, photo.id, embedder, vector)
    if templates.held(session) == embedder:  # else nobody has to follow: after a switch galleries are loaded whole
        buildings.raise_sequence(session, photo.building, photo.person)
    return True


def left_behind(session: Session, embedder: str, building: str | None = None) -> list[LeftBehind]:
    """Return who has templates of the live embedder and none of this one, by building and name."""
    query = select(PersonRow.building_id, PersonRow.id, PersonRow.name)
    query = query.where(_has(templates.live(session)), ~_has(embedder))
    if building is not None:
        query = query.where(PersonRow.building_id == building)
    rows = session.execute(query.order_by(PersonRow.building_id, PersonRow.name, PersonRow.id))
    return [LeftBehind(*row) for row in rows]


def unrecognised(session: Session, embedder: str | None) -> int:
    """Return how many persons have photos and no template of this embedder."""
    pictured = exists().where(Photo.person_id == PersonRow.id)
    return session.scalar(select(func.count(PersonRow.id)).where(pictured, ~_has(embedder))) or 0


def switch(session: Session, embedder: str, actor: audit.Actor, *, force: bool = False) -> list[LeftBehind]:
    """Make an embedder the live one; doors and enrolment follow within a second.

    Args:
        force: leave those behind who have no template of it.

    Returns:
        Who is left behind. When there is anybody, nothing was changed without `force`.

    Raises:
        SetupError: there are no templates yet.
    """
    row = session.scalars(select(LiveEmbedder).with_for_update()).one_or_none()  # enrolments come before or after
    if row is None:
        raise SetupError("there are no templates yet; the first one decides which embedder is live")
    missing = left_behind(session, embedder)
    if row.embedder != embedder and (force or not missing):
        detail = {"from": row.embedder, "left_behind": len(missing)}
        audit.add(session, actor, "embedder.switched", target=embedder, detail=detail)
        row.embedder, row.since = embedder, now(session)
    return missing


def forget(session: Session, embedder: str, actor: audit.Actor) -> int:
    """Delete the templates of an embedder that is not live, and return their number.

    Raises:
        SetupError: it is live.
    """
    if templates.held(session) == embedder:
        raise SetupError(f"{embedder} is live: switch to another one first")
    gone = session.scalars(delete(Template).where(Template.embedder == embedder).returning(Template.id)).all()
    audit.add(session, actor, "embedder.forgotten", target=embedder, detail={"templates": len(gone)})
    return len(gone)


def _has(embedder: str | None) -> ColumnElement[bool]:
    return exists().where(Template.person_id == PersonRow.id, Template.embedder == embedder)
