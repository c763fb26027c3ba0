"""What a worker asks the store twice a second: marks that tell whether anything has to be read."""

from dataclasses import dataclass

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from app.store.tables import Building, CameraRow, LiveEmbedder


@dataclass(frozen=True, slots=True)
class Marks:
    """The state of the store, as far as a worker follows it, at one moment."""

    embedder: str | None  # id of the live one; None before the first template
    buildings: dict[str, tuple[int, float]]  # id -> gallery sequence, share of strangers' visits that may match anybody
    cameras: dict[str, tuple[int, int]]  # id of each camera of the worker -> revision, owner epoch


# Made once: making a statement anew takes as long as running it.
BUILDINGS = select(
    Building.id, Building.gallery_sequence, Building.target_fpir, select(LiveEmbedder.embedder).scalar_subquery()
)
CAMERAS = select(CameraRow.id, CameraRow.revision, CameraRow.owner_epoch).where(
    CameraRow.owner == bindparam("worker"), CameraRow.enabled
)


def marks(session: Session, worker: str) -> Marks:
    """Return the marks for a worker of this name."""
    connection = session.connection()  # these are no objects: the session's own way takes a fifth longer
    buildings = connection.execute(BUILDINGS).all()
    owned = connection.execute(CAMERAS, {"worker": worker})
    return Marks(
        embedder=buildings[0][3] if buildings else None,
        buildings={building: (sequence, target) for building, sequence, target, _ in buildings},
        cameras={camera: (revision, epoch) for camera, revision, epoch in owned},
    )
