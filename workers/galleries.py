"""The galleries that a worker decides by, kept in step with the store."""

from sqlalchemy.orm import Session

from app.gallery import Gallery
from app.store import galleries
from app.vision.embedder import Embedder


class Galleries:
    """One gallery per building. Followed by one thread, searched by any."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._galleries: dict[str, Gallery] = {}

    def of(self, building: str) -> Gallery:
        """Return the gallery of a building; an empty one knows nobody."""
        return self._galleries.get(building) or Gallery(self._embedder.dimension)

    def sequences(self) -> dict[str, int]:
        """Return how far each gallery has followed."""
        return {building: gallery.sequence for building, gallery in self._galleries.items()}

    def follow(self, session: Session) -> bool:
        """Apply what changed since the last call; return whether anything did.

        Args:
            session: of `Store.reading`, so that all of it is of one moment.
        """
        before = self.sequences()
        wanted = galleries.sequences(session)
        kept = {building: self._kept(building, sequence) for building, sequence in wanted.items()}
        for building, gallery in kept.items():
            if gallery.sequence < wanted[building]:
                changes = galleries.changes_since(session, building, gallery.sequence, self._embedder.card.id)
                gallery.apply(changes)
                changes.vectors.fill(0)  # the gallery has its own copy, and overwrites that one when the time comes
        dropped = [gallery for gallery in self._galleries.values() if gallery not in kept.values()]
        self._galleries = kept
        for gallery in dropped:
            gallery.clear()
        return self.sequences() != before

    def _kept(self, building: str, wanted: int) -> Gallery:
        """Return the gallery to go on with: a new one when the store went back, because a backup was restored."""
        gallery = self._galleries.get(building)
        return gallery if gallery is not None and gallery.sequence <= wanted else Gallery(self._embedder.dimension)
