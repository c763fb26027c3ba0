"""Counts for the metrics. Each is bounded by the number of cameras or by a span of time, so that asking stays cheap."""

from datetime import timedelta

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from app.store.clock import now
from app.store.tables import CameraRow, EventRow, Worker
from app.store.workers import alive
from app.types import CameraState

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
    living = select(Worker.id).where(alive(session))
    query = (
        select(CameraRow.building_id, CameraRow.tampering, func.count())
        .where(CameraRow.enabled, CameraRow.owner.in_(living), CameraRow.state == CameraState.ONLINE.value)
        .where(CameraRow.tampering.is_not(None))
        .group_by(CameraRow.building_id, CameraRow.tampering)
    )
    return {(building, str(kind)): number for building, kind, number in session.execute(query)}


def events_by_decision(session: Session, span: timedelta) -> Counts:
    """Count the access events of the last `span` by building and decision."""
    query = (
        select(EventRow.building_id, EventRow.decision, func.count())
        .where(EventRow.kind == "access", EventRow.occurred_at > now(session) - span)
        .group_by(EventRow.building_id, EventRow.decision)
    )
    return {(building, str(decision)): number for building, decision, number in session.execute(query)}
