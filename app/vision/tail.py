"""Beyond what was counted: how similar strangers get at rates that the data hardly reach, or do not reach any more."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tail:
    """Excesses over a high similarity follow a generalised Pareto distribution (Pickands 1975): peaks over threshold.

    P(S >= t) = share (1 + shape (t - start) / scale)^(-1 / shape), and share exp(-(t - start) / scale) for shape 0.
    """

    start: float  # cosine over which it holds
    share: float  # of the pairs of different people that reach `start`
    scale: float  # cosine, above 0
    shape: float  # below 0: similarities have an end; 0: each decade of the rate costs the same
    least_rate: float  # the smallest rate that may be asked for

    def similarity(self, rate: float) -> float:
        """Return the cosine that so large a share of the pairs reaches.

        Raises:
            ValueError: the rate is above `share` or below `least_rate`; nothing is extrapolated past that.
        """
        if not self.least_rate <= rate <= self.share:
            raise ValueError(f"a rate of {rate:g} is not between {self.least_rate:g} and {self.share:g}")
        depth = math.log(self.share / rate)
        return self.start + self.scale * (math.expm1(self.shape * depth) / self.shape if self.shape else depth)

    def rate(self, similarity: float) -> float:
        """Return the share of the pairs that reaches a cosine of at least `start`; 0 where similarities have an end."""
        excess = (similarity - self.start) / self.scale
        if not self.shape:
            return self.share * math.exp(-excess)
        left = 1 + self.shape * excess
        return self.share * left ** (-1 / self.shape) if left > 0 else 0.0
