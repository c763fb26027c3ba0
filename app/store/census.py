"""Counts for the metrics. Each is bounded by the number of cameras or by a span of time, so that asking stays cheap."""

from collections import Counter
from datetime import timedelta

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from app.store import cameras
from app.store.clock import now
from app.store.tables import CameraRow, EventRow, Worker
from app.store.workers import alive

Counts = dict[tuple[str, str], int]  # (building, state or decision) -> number


def cameras_by_state(session: Session) -> Counts:
    """Count cameras by building and state; those that nobody watches count as ``unwatched`` or ``disabled``."""
    living = select(Worker.id).where(alive(session))
    state = case(
        (CameraRow.enabled.is_(False), "disabled"),
        (CameraRow.owner.in_(living), func.coalesce(CameraRow.state, "starting")),
        else_="unwatched",
    ).label("state")
    query = select(CameraRow.building_id, state, func.count()).group_by(CameraRow.building_id, state)
    return {(building, name): number for building, name, number in session.execute(query)}


def tampered_by_kind(session: Session) -> Counts:
    """Count the cameras that are watched, online and kept from seeing, by building and kind of tampering."""
    kept = ((camera.building, camera.kept_from_seeing) for camera in cameras.tampered(session))
    return Counter((building, str(seen.kind)) for building, seen in kept if seen is not None)


def events_by_decision(session: Session, span: timedelta) -> Counts:
    """Count the access events of the last `span` by building and decision."""
    query = (
        select(EventRow.building_id, EventRow.decision, func.count())
        .where(EventRow.kind == "access", EventRow.occurred_at > now(session) - span)
        .group_by(EventRow.building_id, EventRow.decision)
    )
    return {(building, str(decision)): number for building, decision, number in session.execute(query)}
