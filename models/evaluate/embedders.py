"""Embedders as they are measured: each turns one aligned face into a unit vector."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from app.errors import SetupError
from app.types import Array, Image
from app.vision.artefact import Artefact, shipped
from app.vision.embedder import Embedder
from models.evaluate.subjects import fingerprint
from models.labels import SFACE
from models.recognition.teachers import sface


class EmbedderSubject(Protocol):
    """What is measured."""

    id: str
    files: dict[str, str]  # file name -> SHA-256
    sha256: str  # of all of them
    precision: str  # fp32 | int8

    def embed(self, crop: Image) -> Array:
        """Return the vector (d,) of an aligned face (112, 112, 3) BGR: float32, of unit length."""

    def threshold(self, templates: int, target_fpir: float) -> float | None:
        """Return the similarity from which a product with this embedder takes a face for one of so many templates."""


class OfArtefact:
    """An artefact's embedder as the runtime uses it, shipped or on trial."""

    def __init__(self, artefact: Artefact, precision: str | None = None) -> None:
        """Open the net; without a `precision` in the one that suits the processor.

        Raises:
            ArtefactError: the card describes no embedder, or has no such precision.
        """
        self._embedder = Embedder(artefact, precision)
        self.precision, self.threshold = self._embedder.precision, self._embedder.threshold
        self.id, self.files, self.sha256 = artefact.card.id, artefact.card.files, fingerprint(artefact.card)

    def embed(self, crop: Image) -> Array:
        """Return the vector of one face.

        Raises:
            ArtefactError: the net gave something else.
        """
        return np.asarray(self._embedder.embed([crop])[0])


class SFace:
    """The net that teaches and that judges labels, in its faster form. It has no thresholds of a product."""

    precision = "fp32"

    def __init__(self, cache: Path) -> None:
        """Fetch the net into `cache`, if it is not there, and open it.

        Raises:
            SetupError: it cannot be fetched or is not the pinned one.
        """
        self.embed = sface(cache).embed
        self.id, self.sha256 = f"sface@{SFACE.member_sha256[:12]}", SFACE.member_sha256
        self.files = {Path(SFACE.member).name: SFACE.member_sha256}

    def threshold(self, templates: int, target_fpir: float) -> float | None:
        """Return None."""


EMBEDDERS: dict[str, Callable[[Path], EmbedderSubject]] = {  # name -> cache of packages -> what is measured
    "cardea": lambda cache: OfArtefact(shipped("embedder")),
    "sface": SFace,
}


def embedder(name: str, cache: Path) -> EmbedderSubject:
    """Open an embedder by its name, or by its artefact's folder, ``FOLDER`` or ``FOLDER@PRECISION``.

    Raises:
        ArtefactError: the folder's card describes no embedder or has no such precision, or a file is damaged.
        SetupError: there is neither, or a package cannot be fetched.
    """
    if name in EMBEDDERS:
        return EMBEDDERS[name](cache)
    folder, _, precision = name.partition("@")
    if not Path(folder).is_dir():
        raise SetupError(f"there is no embedder {name}; choose {', '.join(EMBEDDERS)} or an artefact's folder")
    return OfArtefact(Artefact(Path(folder)), precision or None)
