"""How alike different people look to an embedder: as counted in pairs, and a little further by a validated tail."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.vision.tail import Tail


@dataclass(frozen=True, slots=True)
class Impostors:
    """False-match rates and the cosines that go with them: a table, then the tail, then nothing."""

    rates: NDArray[np.float64]  # (n,) shares of pairs of different people, falling
    similarities: NDArray[np.float64]  # (n,) cosines that they reach
    tail: Tail | None = None  # begins where the table ends

    @staticmethod
    def read(parameters: Mapping[str, Any]) -> "Impostors":
        """Return what a card says.

        Raises:
            KeyError, TypeError: something is missing or of another kind.
            ValueError: the rates do not fall, the similarities do, or the tail does not go on from the table.
        """
        table, tail = parameters["impostors"], parameters.get("tail")
        rates, similarities = (np.array(table[name], np.float64) for name in ("fmr", "similarity"))
        if len(rates) != len(similarities) or (np.diff(rates) >= 0).any():
            raise ValueError("the rates of the impostor table do not fall")
        if (np.diff(similarities) < 0).any():
            raise ValueError("the similarities of the impostor table fall")
        if tail is None:
            return Impostors(rates, similarities)
        made = Tail(*(float(tail[name]) for name in ("start", "share", "scale", "shape", "least_rate")))
        if (made.start, made.share) != (similarities[-1], rates[-1]) or not made.scale > 0 < made.least_rate:
            raise ValueError("the tail does not go on from the impostor table")
        return Impostors(rates, similarities, made)

    @property
    def least_rate(self) -> float:
        """The smallest rate of which anything is known."""
        return float(self.rates[-1]) if self.tail is None else self.tail.least_rate

    def similarity_at(self, rate: float) -> float:
        """Return the cosine that two different people reach at this rate; below `least_rate`, the one of `least_rate`.

        Between two entries of the table the cosine goes with the logarithm of the rate.
        """
        if self.tail is not None and rate < self.tail.share:
            return self.tail.similarity(max(rate, self.tail.least_rate))
        return float(np.interp(-np.log(rate), -np.log(self.rates), self.similarities))

    def rate_at(self, similarity: float) -> float:
        """Return the rate at which two different people reach a cosine, between the table's first and `least_rate`."""
        if self.tail is not None and similarity > self.tail.start:
            return max(self.tail.rate(similarity), self.tail.least_rate)
        return float(np.exp(np.interp(similarity, self.similarities, np.log(self.rates))))
