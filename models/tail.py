"""The tail of the impostor distribution, past what the table counts.

Excesses over a high cosine are fitted by a generalised Pareto distribution (peaks over threshold). Its shape comes out
below 0 on faces, that is similarities with an end, and two decades past the table such an end let 6 to 17 times the
promised share of other people in. So the fit gives the slope where the table ends, and from there on the tail is
exponential: 2 to 4 times. `tail_checks` says what its promises are worth.
"""

import numpy as np

from app.vision.impostors import Impostors
from app.vision.tail import Tail
from models.impostors import BIN, RATES, PairCounts

DECADES = 2  # past the table, no further
# Of the pairs, that are fitted. On other people a decade past the table there were 2.4, 1.9, 1.8 and 1.2 times as many
# false matches as promised with 1e-2, 3e-3, 1e-3 and 3e-4 (CelebA, halves of 285 people).
SHARE = 3e-4
LEAST_FITTED = 30  # pairs, however small the set is
LEAST_PAIRS = 10  # that a rate of a table must be made of
RANGE = (-0.98, 1.0)  # of shape / scale that is searched, in inverse largest and inverse mean excesses
STEPS = 100


def fitted(counts: np.ndarray, share: float = SHARE) -> Tail:
    """Fit the excesses over the cosine that about `share` of the pairs reaches, by maximum likelihood.

    With tau = shape / scale the best shape is the mean of log(1 + tau y), so that tau alone is searched
    (Grimshaw 1993).

    Args:
        counts: (bins,) pairs in bins of BIN from 0 to 1.
        share: of the pairs, 0..1; of few pairs it is more.
    """
    reaching = _reaching(counts)
    first = int(np.abs(reaching - max(share, LEAST_FITTED / counts.sum())).argmin())
    weights = counts[first:] / counts[first:].sum()
    excesses = (np.arange(len(weights)) + 0.5) * BIN
    low, high = RANGE[0] / (np.flatnonzero(weights)[-1] + 1) / BIN, RANGE[1] / float(weights @ excesses)
    for _ in range(2):  # the second time between the neighbours of the best
        tau = np.linspace(low, high, STEPS)
        tau = tau[np.abs(tau) > 1e-9]
        shapes = np.log1p(np.outer(tau, excesses).clip(-1 + 1e-9)) @ weights
        best = int((np.log(shapes / tau) + shapes).argmin())
        low, high = tau[max(best - 1, 0)], tau[min(best + 1, len(tau) - 1)]
    return Tail(first * BIN, float(reaching[first]), float(shapes[best] / tau[best]), float(shapes[best]), 0.0)


def beyond(fit: Tail, rate: float, similarity: float) -> Tail:
    """Return what follows where the table ends, at this rate and cosine.

    Excesses over a higher cosine have the same shape, and a scale that is larger by shape times the step (Coles 2001,
    4.2). A shape below 0 is not carried on.
    """
    scale = max(fit.scale + fit.shape * (similarity - fit.start), BIN)
    return Tail(similarity, rate, scale, max(fit.shape, 0.0), float(f"{rate / 10**DECADES:g}"))


def impostors_of(counts: np.ndarray) -> Impostors:
    """Return table and tail of some pairs (bins,), as a card would have them."""
    reaching = _reaching(counts)
    rates = [rate for rate in RATES if rate * counts.sum() >= LEAST_PAIRS]
    similarities = [float((reaching > rate).sum()) * BIN for rate in rates]
    tail = beyond(fitted(counts), rates[-1], similarities[-1])
    return Impostors(np.array(rates), np.array(similarities), tail)


def interval(pairs: PairCounts, rates: list[float]) -> tuple[list[float], list[float]]:
    """Return the 95 % interval of the cosine at rates past the table, by bootstrap draws over the people.

    Each draw has a table and a fit of its own.
    """
    found = [
        [impostors.similarity_at(rate) for rate in rates]
        for drawn in pairs.draws()
        for impostors in map(impostors_of, drawn)
    ]
    low, high = np.percentile(found, (2.5, 97.5), axis=0).round(3)
    return low.tolist(), high.tolist()


def _reaching(counts: np.ndarray) -> np.ndarray:
    """Return the share of the pairs (bins,) that reaches the lower edge of each bin."""
    return np.asarray(counts[::-1].cumsum(dtype=np.float64)[::-1] / counts.sum(dtype=np.float64))
