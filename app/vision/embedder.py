"""From aligned faces to unit vectors, and from a wanted rate of false matches to the similarity it takes."""

from collections.abc import Sequence

import numpy as np

from app.errors import ArtefactError
from app.types import Array, Image
from app.vision.artefact import Artefact

LENGTH_ERROR = 1e-3  # a vector's length may differ from one by this


class Embedder:
    """The embedding net. It remembers nothing, so cameras and requests share one."""

    def __init__(self, artefact: Artefact) -> None:
        """Open the net.

        Raises:
            ArtefactError: the card does not describe an embedder.
        """
        self.card = artefact.card
        try:
            self.dimension = int(self.card.parameters["dimension"])
            impostors = self.card.parameters["impostors"]
            self._rates = np.array(impostors["fmr"], np.float64)
            self._similarities = np.array(impostors["similarity"], np.float64)
            self._floor = float(self.card.parameters["floor"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"{self.card.name}: the card describes no embedder ({error!r})") from error
        if len(self._rates) != len(self._similarities) or (np.diff(self._rates) >= 0).any():
            raise ArtefactError(f"{self.card.name}: the rates of the impostor table do not fall")
        if (np.diff(self._similarities) < 0).any():
            raise ArtefactError(f"{self.card.name}: the similarities of the impostor table fall")
        self._net = artefact.open("embedder.onnx")

    def embed(self, crops: Sequence[Image]) -> Array:
        """Return the vectors (n, dimension) of aligned faces (112, 112, 3) BGR: float32 rows of unit length.

        Raises:
            ArtefactError: the net gave something else; a broken vector must never reach a gallery.
        """
        if not crops:
            return np.zeros((0, self.dimension), np.float32)
        batch = np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32, order="C")
        vectors = np.ascontiguousarray(self._net.run(batch)[0], np.float32)
        lengths = np.linalg.norm(vectors, axis=1)
        if vectors.shape != (len(crops), self.dimension) or not (np.abs(lengths - 1) <= LENGTH_ERROR).all():
            raise ArtefactError(f"{self.card.id} gave vectors of shape {vectors.shape} and lengths {lengths.tolist()}")
        return vectors

    def threshold(self, templates: int, target_fpir: float) -> float:
        """Return the similarity from which a face matches, so that a stranger matches anybody at `target_fpir`.

        A stranger is compared with every template, so each comparison may match falsely at target_fpir / templates
        (ISO/IEC 19795-1: FPIR = 1 - (1 - FMR)^N, about N FMR). The card's floor holds whatever the target.

        Args:
            templates: in the gallery, 0 counts as 1.
            target_fpir: above 0, at most 1.
        """
        return max(self.similarity_at(target_fpir / max(templates, 1)), self._floor)

    def similarity_at(self, rate: float) -> float:
        """Return the similarity that two faces of different people reach at this false-match rate.

        Between two entries of the card's table the similarity goes with the logarithm of the rate. Beyond its last
        rate nothing was measured: the last similarity is returned, and the rate is not promised.
        """
        return float(np.interp(-np.log(rate), -np.log(self._rates), self._similarities))
