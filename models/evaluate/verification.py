"""`cardea models evaluate verification`: do two pictures show one person? Ten folds and error rates, as on LFW.

The whole chain is measured: our face finder, our alignment, the embedder, no second look at the mirrored face. A pair
with a picture in which no face is found is wrong in the folds, whatever the truth. In the rates it is a person refused;
a pair of two people then says nothing about false accepts and is left out. ``of_found`` has none of these pairs.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.detection.labelled import Pictures, entries_of
from models.evaluate import seen_faces
from models.evaluate.recognition_metrics import (
    DRAWS,
    Flags,
    Scores,
    drawn,
    equal_error_rate,
    fold_accuracy,
    interval,
    mcnemar,
    rejected_by_share,
    rounded,
    tar_at_far,
    threshold_at,
)
from models.evaluate.recognition_plots import Curves, check_folder, write_plots
from models.evaluate.recognition_tables import PAIRS, Pairs, read_pairs
from models.evaluate.seen_faces import PADDING, see, subjects, told
from models.recognition.degrade import DEGRADATIONS

RATES = {"1e-2": 1e-2, "1e-3": 1e-3}  # false-accept rates
DISCARD_AT = "1e-2"  # the rate at whose threshold a pair of one person is an error or none


@dataclass(frozen=True, slots=True)
class Judged:
    """What an embedder makes of n pairs."""

    scores: Scores  # (n,) cosines, -inf without a face
    right: Flags  # (n,) in the folds
    accuracies: Scores  # (f,) of the folds
    rates: Scores  # (r,) see `rates`
    drawn: Scores  # (DRAWS, r) of every draw of people


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--pairs", required=True, type=Path, metavar="CSV", help=f"columns {','.join(PAIRS)}")
    parser.add_argument("--degrade", choices=DEGRADATIONS, default="none", help="what is done to the pictures (none)")
    seen_faces.add_arguments(parser)


def evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure.

    Raises:
        ArtefactError: an embedder's files are damaged.
        SetupError: pictures, pairs, an embedder or the plots' folder are not there or cannot be read.
    """
    check_folder(arguments.plot)
    measured, pairs, pictures = subjects(arguments), read_pairs(arguments.pairs), Pictures(arguments.images)
    entries = entries_of(pairs.files, pictures.names, str(arguments.pairs))
    seen = see(pictures, entries, [subject for _, subject in measured], arguments.degrade)
    judged = [judge(pairs, seen.similarities(number, pairs.left, pairs.right)) for number in range(len(measured))]
    qualities = np.minimum(seen.qualities[pairs.left], seen.qualities[pairs.right])
    rows = [
        told(name, subject, seen, number) | figures(pairs, judged[number], qualities)
        for number, (name, subject) in enumerate(measured)
    ]
    if arguments.plot:
        curves = [_curves(pairs, one, row) for one, row in zip(judged, rows, strict=True)]
        write_plots(curves, arguments.plot, "verification", ("false-accept rate", "false-reject rate"))
    return {
        "pairs": len(pairs.same),
        "pictures": len(pairs.files),
        "people": int(pairs.people.max()) + 1,
        "failures_to_enrol": int((~seen.found).sum()),
        "degrade": arguments.degrade,
        "mirror": False,
        "padding": PADDING,
        "face_finder": seen.finder,
        "ms_of_finding": seen.ms_of_finding,
        "interval": f"95 %, bootstrap over people, {DRAWS} draws",
        **(rows[0] if len(rows) == 1 else {"a": rows[0], "b": rows[1], "b_minus_a": differences(*judged)}),
    }


def judge(pairs: Pairs, scores: Scores) -> Judged:
    """Judge the pairs by their scores (n,)."""
    accuracies, right = fold_accuracy(scores, pairs.same, pairs.folds)

    def statistic(people: Scores) -> Scores:
        return rates(pairs, scores, right, pairs.times(people))

    everybody = np.ones(int(pairs.people.max()) + 1)
    return Judged(scores, right, accuracies, statistic(everybody), drawn(len(everybody), statistic))


def rates(pairs: Pairs, scores: Scores, right: Flags, times: Scores) -> Scores:
    """Return accuracy, equal error rate and the share of genuine pairs accepted at each of `RATES`, (r,).

    Args:
        pairs: n of them.
        scores: (n,) cosines, -inf without a face.
        right: (n,) in the folds.
        times: (n,) how often each pair counts.
    """
    impostors = ~pairs.same & np.isfinite(scores)
    both, weights = (scores[pairs.same], scores[impostors]), (times[pairs.same], times[impostors])
    accuracy = float(right @ times / times.sum()) if times.sum() else np.nan
    tars = [tar_at_far(*both, rate, weights) for rate in RATES.values()]
    return np.array([accuracy, equal_error_rate(*both, weights), *tars])


def figures(pairs: Pairs, judged: Judged, qualities: Scores) -> dict[str, Any]:
    """Return what is told of one embedder; `qualities` (n,) are the lower one of each pair."""
    found = np.isfinite(judged.scores)
    impostors = judged.scores[~pairs.same & found]
    thresholds = {name: threshold_at(impostors, rate) for name, rate in RATES.items()}
    return {
        "accuracy_mean": rounded(judged.accuracies.mean()),
        "accuracy_std": rounded(judged.accuracies.std()),
        **_named([rounded(rate) for rate in judged.rates[1:]]),
        "thresholds": {name: rounded(threshold) for name, threshold in thresholds.items()},
        "intervals": {
            "accuracy_mean": interval(judged.drawn[:, 0]),
            **_named([interval(column) for column in judged.drawn[:, 1:].T]),
        },
        "of_found": _of_found(pairs, judged, found),
        "error_versus_discard": rejected_by_share(
            qualities[pairs.same], judged.scores[pairs.same], thresholds[DISCARD_AT]
        ),
    }


def differences(first: Judged, second: Judged) -> dict[str, Any]:
    """Return what the second embedder has more than the first, on the same pairs and the same draws of people."""
    only_first, only_second = int((first.right & ~second.right).sum()), int((second.right & ~first.right).sum())
    apart, drawn_apart = second.rates - first.rates, second.drawn - first.drawn
    told_apart = [
        {"difference": rounded(value), "interval": interval(column)}
        for value, column in zip(apart, drawn_apart.T, strict=True)
    ]
    pairs = {
        "right_in_a_alone": only_first,
        "right_in_b_alone": only_second,
        "mcnemar_p": mcnemar(only_first, only_second),
    }
    return {"accuracy": told_apart[0] | pairs, **_named(told_apart[1:])}


def _of_found(pairs: Pairs, judged: Judged, found: Flags) -> dict[str, Any]:
    """Return the figures of the pairs in which both faces were found (n,), at the folds' thresholds."""
    values = [rounded(rate) for rate in rates(pairs, judged.scores, judged.right, found.astype(np.float64))]
    return {"pairs": int(found.sum()), "accuracy": values[0], **_named(values[1:])}


def _curves(pairs: Pairs, judged: Judged, row: dict[str, Any]) -> Curves:
    impostors = judged.scores[~pairs.same & np.isfinite(judged.scores)]
    return Curves(row["embedder"], judged.scores[pairs.same], impostors, row["error_versus_discard"])


def _named(values: Sequence[Any]) -> dict[str, Any]:
    """Return an equal error rate and accepted shares, in the order of `rates`, by their names."""
    return {"eer": values[0], "tar_at_far": dict(zip(RATES, values[1:], strict=True))}
