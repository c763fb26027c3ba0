"""The galleries that a worker decides by, kept in step with the store."""

from collections.abc import Mapping
from dataclasses import replace

from sqlalchemy.orm import Session

from app.gallery import Gallery
from app.store import galleries
from app.vision.embedder import Embedder


class Galleries:
    """One gallery per building, of one embedder. Followed by one thread, searched by any.

    Args:
        embedder: None knows nobody, and follows all the same so that erasures need not wait for it.
    """

    def __init__(self, embedder: Embedder | None) -> None:
        self.embedder = embedder
        self._source = "" if embedder is None else embedder.card.id
        self._dimension = 1 if embedder is None else embedder.dimension
        self._galleries: dict[str, Gallery] = {}
        self._told: dict[str, int] = {}  # how far each gallery was when `follow` last said whether anything changed

    def of(self, building: str) -> Gallery:
        """Return the gallery of a building; an empty one knows nobody."""
        return self._galleries.get(building) or Gallery(self._dimension)

    def sequences(self) -> dict[str, int]:
        """Return how far each gallery has followed."""
        return {building: gallery.sequence for building, gallery in self._galleries.items()}

    def follow(self, session: Session, buildings: Mapping[str, tuple[int, float]]) -> bool:
        """Apply what changed since the last call that went well; return whether anything did since then.

        Args:
            session: of `Store.reading`, so that all of it is of one moment.
            buildings: gallery sequence and target of each, of the same moment (`Marks.buildings`).
        """
        kept = {building: self._kept(building, sequence) for building, (sequence, _) in buildings.items()}
        for building, gallery in kept.items():
            sequence, gallery.target_fpir = buildings[building]
            if gallery.sequence < sequence:
                changes = galleries.changes_since(session, building, gallery.sequence, self._source)
                gallery.apply(replace(changes, sequence=sequence))  # after a restore the last change may be earlier
                changes.vectors.fill(0)  # the gallery has its own copy, and overwrites that one when the time comes
        dropped = [gallery for gallery in self._galleries.values() if gallery not in kept.values()]
        self._galleries = kept
        for gallery in dropped:
            gallery.clear()
        before, self._told = self._told, self.sequences()
        return self._told != before

    def clear(self) -> None:
        """Know nobody any more."""
        for gallery in self._galleries.values():
            gallery.clear()

    def _kept(self, building: str, wanted: int) -> Gallery:
        """Return the gallery to go on with: a new one when the store went back, because a backup was restored."""
        gallery = self._galleries.get(building)
        return gallery if gallery is not None and gallery.sequence <= wanted else Gallery(self._dimension)
