"""The embedders that an installation has: the one that its version ships, and those of earlier versions."""

import threading
from collections.abc import Iterable

from app.errors import EmbedderError
from app.vision.artefact import Artefact, former, shipped
from app.vision.embedder import Embedder


class Embedders:
    """Opens each when it is first asked for. Threads may share it."""

    def __init__(self, ours: Artefact, earlier: Iterable[Artefact] = ()) -> None:
        """Take what is at hand.

        Args:
            ours: what this version ships, and new installations use.
            earlier: what earlier versions shipped.
        """
        self._artefacts = {artefact.card.id: artefact for artefact in (ours, *earlier)}
        self._opened: dict[str, Embedder] = {}
        self._opening = threading.Lock()
        self.shipped = ours.card.id

    @staticmethod
    def installed() -> "Embedders":
        """Return those of this installation.

        Raises:
            ArtefactError: one is missing or damaged.
        """
        return Embedders(shipped("embedder"), former("embedder"))

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all, the shipped one first."""
        return tuple(self._artefacts)

    def of(self, identity: str | None) -> Embedder:
        """Return an embedder; None stands for the shipped one.

        Raises:
            EmbedderError: it is not at hand.
            ArtefactError: it cannot be opened.
        """
        name = self.shipped if identity is None else identity
        if name not in self._artefacts:
            raise EmbedderError(f"this version has no embedder {name}, only {', '.join(self.ids)}")
        with self._opening:
            if name not in self._opened:
                self._opened[name] = Embedder(self._artefacts[name])
            return self._opened[name]
