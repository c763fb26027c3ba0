"""Shares with their 95 % intervals, pooled over groups whose members are alike, such as the frames of a clip."""

from collections.abc import Sequence
from typing import Any

import numpy as np

DRAWS = 2000  # of the bootstrap over groups


def rate(hits: Sequence[int], totals: Sequence[int]) -> dict[str, Any]:
    """Return the pooled rate of groups with two 95 % intervals.

    ``clips95``: bootstrap over the groups, for frames of one clip are alike; blind where all agree, absent for one.
    ``wilson95``: over members as if they were independent, so too narrow, but never empty.
    """
    hit, total = np.array(hits, np.float64), np.array(totals, np.float64)
    hit, total = hit[total > 0], total[total > 0]
    if not len(total):
        return {"rate": None, "of": 0}
    pooled = {
        "rate": round(float(hit.sum() / total.sum()), 4),
        "of": int(total.sum()),
        "wilson95": [round(bound, 4) for bound in wilson(hit.sum(), total.sum())],
    }
    if len(total) == 1:
        return pooled
    rows = np.random.default_rng(0).integers(0, len(hit), (DRAWS, len(hit)))
    drawn = hit[rows].sum(axis=1) / total[rows].sum(axis=1)
    return {**pooled, "clips95": [round(float(bound), 4) for bound in np.quantile(drawn, [0.025, 0.975])]}


def wilson(hits: float, total: float) -> tuple[float, float]:
    """Return the 95 % score interval of a proportion (Wilson 1927)."""
    z = 1.959964
    share = hits / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * np.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(float(centre - half), 0.0), min(float(centre + half), 1.0)
