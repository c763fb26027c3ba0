"""How the answers of two classifiers to the same pictures differ, with intervals that know that they are the same."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.intervals import DRAWS

Answers = NDArray[np.int64]  # (n,) rows of classes
SIDES = (0.025, 0.975)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided exact p of McNemar's test.

    Of the pictures to which one classifier alone is right, half would be each one's if they were equally good, so the
    smaller count is binomial with 1/2 (McNemar 1947, exact form); 1 where they agree everywhere.

    Args:
        only_first: pictures to which the first alone is right.
        only_second: those of the second.
    """
    total, smaller = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(total, count) for count in range(smaller + 1))
    return float(min(1.0, 2 * tail / 2**total))


def difference(first: Answers, second: Answers, labels: Answers, seed: int = 0) -> dict[str, Any]:
    """Return what the first's accuracy (n,) has over the second's on the same labels.

    ``interval`` is 95 % of a bootstrap over pictures. The mean of a draw depends only on how many of the pictures with
    -1, 0 and 1 it has, so the counts are drawn instead of the pictures; the distribution is the same.
    """
    gains = (first == labels).astype(np.int64) - (second == labels)
    counts = np.array([(gains == value).sum() for value in (-1, 0, 1)])
    drawn = np.random.default_rng(seed).multinomial(len(gains), counts / len(gains), DRAWS)
    means = (drawn[:, 2] - drawn[:, 0]) / len(gains)
    return {
        "accuracy": float(gains.mean()),
        "interval": [float(bound) for bound in np.quantile(means, SIDES)],
        "only_this_is_right": int(counts[2]),
        "only_the_other_is_right": int(counts[0]),
        "mcnemar_p": mcnemar(int(counts[2]), int(counts[0])),
    }


def recalls(answers: Answers, labels: Answers, classes: int) -> list[float | None]:
    """Return the share of each class's pictures that were told as it; None for a class without any."""
    hits = np.bincount(labels[answers == labels], minlength=classes)
    totals = np.bincount(labels, minlength=classes)
    return [hit / total if total else None for hit, total in zip(hits.tolist(), totals.tolist(), strict=True)]


def macro_f1(answers: Answers, labels: Answers, classes: int) -> float:
    """Return the mean over classes of 2 hits / (answers + labels); a class that neither has counts nothing."""
    hits = np.bincount(labels[answers == labels], minlength=classes)
    told = np.bincount(answers, minlength=classes) + np.bincount(labels, minlength=classes)
    return float((2 * hits[told > 0] / told[told > 0]).mean())
