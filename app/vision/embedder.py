"""From aligned faces to unit vectors, and from a wanted rate of false matches to the similarity it takes."""

from collections.abc import Sequence

import numpy as np

from app.errors import ArtefactError
from app.types import Array, Image
from app.vision.artefact import Artefact
from app.vision.impostors import Impostors
from app.vision.processor import suited_precision

LENGTH_ERROR = 1e-3  # a vector's length may differ from one by this


class Embedder:
    """The embedding net. It remembers nothing, so cameras and requests share one."""

    def __init__(self, artefact: Artefact, precision: str | None = None) -> None:
        """Open the net.

        Args:
            artefact: the card names the file of each precision. Vectors of both may be compared: they have one id.
            precision: overrides what suits the processor, ``int8`` or ``fp32``.

        Raises:
            ArtefactError: the card does not describe an embedder, or has no such precision.
        """
        self.card = artefact.card
        try:
            self.dimension = int(self.card.parameters["dimension"])
            self._impostors = Impostors.read(self.card.parameters)
            self._floor = float(self.card.parameters["floor"])
            precisions = self.card.parameters["precisions"]
            self.precision = precision or suited_precision(precisions)
            file = str(precisions[self.precision])
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"{self.card.name}: the card describes no embedder ({error!r})") from error
        self._net = artefact.open(file)

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

    def threshold(self, templates: float, target_fpir: float) -> float:
        """Return the similarity from which a face matches, so that a stranger matches anybody at `target_fpir`.

        A stranger is compared with every template, so each comparison may match falsely at target_fpir / templates
        (ISO/IEC 19795-1: FPIR = 1 - (1 - FMR)^N, about N FMR). The card's floor holds whatever the target. Where the
        card knows nothing of so small a rate, the strictest threshold that it knows is returned; see `keeps`.

        Args:
            templates: in the gallery, as `app.fusion.comparisons` counts them; less than 1 counts as 1.
            target_fpir: above 0, at most 1.
        """
        return max(self.similarity_at(target_fpir / max(templates, 1)), self._floor)

    def keeps(self, templates: float, target_fpir: float) -> bool:
        """Return whether the card knows of a threshold that keeps the target with so many templates."""
        return templates <= self.most_templates(target_fpir)

    def most_templates(self, target_fpir: float) -> int:
        """Return how many templates the card has a threshold for."""
        return int(target_fpir / self._impostors.least_rate + 1e-9)  # quotients such as 1e-3 / 1e-8 are a hair off

    def expected_fpir(self, templates: float, threshold: float) -> float:
        """Return the share of strangers' looks that match anybody at a threshold; at most that where little is known.

        Comparisons with the templates count as independent, which people who look alike are not.
        """
        return float(1 - (1 - self._impostors.rate_at(threshold)) ** templates)

    def similarity_at(self, rate: float) -> float:
        """Return the similarity that two faces of different people reach at this false-match rate.

        For a rate that the card knows nothing of it is the highest similarity that the card names.
        """
        return self._impostors.similarity_at(rate)
