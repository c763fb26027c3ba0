"""`cardea models evaluate identification`: who of many is it, and who is none of them? Open-set search, 1:N.

Every search has one picture, and its first candidate counts: the person with the most similar template. False-positive
identification (FPIR): a stranger's candidate reaches the threshold. False-negative identification (FNIR): somebody
enrolled is not the candidate, or below it; misidentified are those who then get another one's name. Somebody whose
search shows no face, or whose every picture at enrolment had none, is missed. Strangers without a face are left out.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import SetupError
from models.detection.labelled import Pictures, entries_of
from models.evaluate import seen_faces
from models.evaluate.embedders import EmbedderSubject
from models.evaluate.recognition_metrics import (
    DRAWS,
    Flags,
    Scores,
    accepted,
    best_candidate,
    drawn,
    fnir,
    interval,
    misidentified,
    rejected_by_share,
    rounded,
    threshold_at,
)
from models.evaluate.recognition_plots import Curves, check_folder, write_plots
from models.evaluate.recognition_tables import ENROL, GENUINE, IMPOSTOR, ROLES, Roles, read_roles
from models.evaluate.seen_faces import PADDING, SeenFaces, see, subjects, told

FPIRS = {"0.1": 0.1, "0.01": 0.01, "0.003": 0.003}
TARGETS = {"0.1": 0.1, "0.01": 0.01, "0.001": 0.001}  # of false-positive identification, as an operator sets it
DISCARD_AT = "0.01"  # the FPIR at whose threshold a search is an error or none


@dataclass(frozen=True, slots=True)
class Searches:
    """The searches of one embedder: g by enrolled people, i by strangers whose face was found."""

    best: Scores  # (g,) similarity of the first candidate, -inf without one
    right: Flags  # (g,) whether it is the person who searches
    searchers: NDArray[np.int64]  # (g,) people
    qualities: Scores  # (g,) of the faces, -1 without one
    strangers: Scores  # (i,) similarity of the first candidate
    stranger_people: NDArray[np.int64]  # (i,)
    templates: int
    enrolled: int  # people with a template


@dataclass(frozen=True, slots=True)
class Judged:
    """What an embedder makes of the searches."""

    searches: Searches
    targets: list[float]  # (t,) the product's own thresholds, NaN where it has none
    rates: Scores  # (r,) see `rates`
    drawn: Scores  # (DRAWS, r) of every draw of people


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    known = f"columns {','.join(ROLES)}; roles {ENROL}, {GENUINE}, {IMPOSTOR}"
    parser.add_argument("--roles", required=True, type=Path, metavar="CSV", help=known)
    seen_faces.add_arguments(parser)


def evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure.

    Raises:
        ArtefactError: an embedder's files are damaged.
        SetupError: pictures, roles, an embedder or the plots' folder are not there or cannot be read, or nobody can be
            enrolled.
    """
    check_folder(arguments.plot)
    measured, roles, pictures = subjects(arguments), read_roles(arguments.roles), Pictures(arguments.images)
    seen = see(
        pictures, entries_of(roles.files, pictures.names, str(arguments.roles)), [subject for _, subject in measured]
    )
    judged = [judge(searches(roles, seen, number), one) for number, (_, one) in enumerate(measured)]
    rows = [
        told(name, subject, seen, number) | figures(judged[number]) for number, (name, subject) in enumerate(measured)
    ]
    if arguments.plot:
        curves = [_curves(one.searches, row) for one, row in zip(judged, rows, strict=True)]
        write_plots(curves, arguments.plot, "identification", ("FPIR", "FNIR"))
    first = judged[0].searches
    return {
        "gallery": first.enrolled,
        "templates": first.templates,
        "genuine": len(first.best),
        "impostor": len(first.strangers),
        "failures_to_enrol": {
            role: int((~seen.found & (roles.roles == role)).sum()) for role in (ENROL, GENUINE, IMPOSTOR)
        },
        "padding": PADDING,
        "face_finder": seen.finder,
        "ms_of_finding": seen.ms_of_finding,
        "interval": f"95 %, bootstrap over people who search, {DRAWS} draws",
        **(rows[0] if len(rows) == 1 else {"a": rows[0], "b": rows[1], "b_minus_a": differences(*judged)}),
    }


def searches(roles: Roles, seen: SeenFaces, subject: int) -> Searches:
    """Search the gallery for everybody.

    Raises:
        SetupError: no picture to enrol shows a face.
    """
    enrolled, strange = ((roles.roles == role) & seen.found for role in (ENROL, IMPOSTOR))
    genuine = roles.roles == GENUINE
    if not enrolled.any():
        raise SetupError(f"no picture of role {ENROL} shows a face")
    vectors, owners = seen.vectors[subject].astype(np.float64), roles.people[enrolled]
    who, best = best_candidate(vectors[genuine] @ vectors[enrolled].T, owners)
    return Searches(
        best=np.where(seen.found[genuine], best, -np.inf),
        right=(who == roles.people[genuine]) & seen.found[genuine],
        searchers=roles.people[genuine],
        qualities=seen.qualities[genuine],
        strangers=best_candidate(vectors[strange] @ vectors[enrolled].T, owners)[1],
        stranger_people=roles.people[strange],
        templates=len(owners),
        enrolled=len(np.unique(owners)),
    )


def judge(done: Searches, subject: EmbedderSubject) -> Judged:
    """Judge the searches at the thresholds of `FPIRS` and at the product's own."""
    thresholds = [subject.threshold(done.templates, target) for target in TARGETS.values()]
    targets = [np.nan if threshold is None else threshold for threshold in thresholds]
    people = int(max(done.searchers.max(), done.stranger_people.max(initial=0))) + 1

    def statistic(times: Scores) -> Scores:
        return rates(done, targets, times)

    return Judged(done, targets, statistic(np.ones(people)), drawn(people, statistic))


def rates(done: Searches, targets: Sequence[float], people: Scores) -> Scores:
    """Return rank-1 rate, FNIR at each of `FPIRS`, and FPIR and FNIR at each threshold of `targets` (t,), in pairs.

    `people` are how often each one counts.
    """
    genuine, strange = people[done.searchers], people[done.stranger_people]
    thresholds = [threshold_at(done.strangers, rate, strange) for rate in FPIRS.values()]
    return np.array(
        [
            1 - fnir(done.best, done.right, -1.0, genuine),
            *(fnir(done.best, done.right, threshold, genuine) for threshold in thresholds),
            *(
                rate
                for threshold in targets
                for rate in (
                    accepted(done.strangers, threshold, strange),
                    fnir(done.best, done.right, threshold, genuine),
                )
            ),
        ]
    )


def figures(judged: Judged) -> dict[str, Any]:
    """Return what is told of one embedder."""
    done = judged.searches
    thresholds = {name: threshold_at(done.strangers, rate) for name, rate in FPIRS.items()}
    values = _named([rounded(rate) for rate in judged.rates])
    for name, threshold in zip(TARGETS, judged.targets, strict=True):
        wrong = misidentified(done.best, done.right, threshold)
        values["at_target"][name] |= {"threshold": rounded(threshold), "misidentified": wrong}
    return {
        **values,
        "thresholds": {name: rounded(threshold) for name, threshold in thresholds.items()},
        "misidentified": {
            name: misidentified(done.best, done.right, threshold) for name, threshold in thresholds.items()
        },
        "intervals": _named([interval(column) for column in judged.drawn.T]),
        "error_versus_discard": rejected_by_share(done.qualities, mates(done), thresholds[DISCARD_AT]),
    }


def differences(first: Judged, second: Judged) -> dict[str, Any]:
    """Return what the second embedder has more than the first, on the same searches and the same draws of people."""
    apart, drawn_apart = second.rates - first.rates, second.drawn - first.drawn
    return _named(
        [
            {"difference": rounded(value), "interval": interval(column)}
            for value, column in zip(apart, drawn_apart.T, strict=True)
        ]
    )


def mates(done: Searches) -> Scores:
    """Return the similarity (g,) of the person who searches where that is the first candidate, else -inf."""
    return np.where(done.right, done.best, -np.inf)


def _curves(done: Searches, row: dict[str, Any]) -> Curves:
    return Curves(row["embedder"], mates(done), done.strangers, row["error_versus_discard"])


def _named(values: Sequence[Any]) -> dict[str, Any]:
    """Return values in the order of `rates` by their names."""
    at_fpir, at_target = values[1 : 1 + len(FPIRS)], values[1 + len(FPIRS) :]
    return {
        "rank1": values[0],
        "fnir_at_fpir": dict(zip(FPIRS, at_fpir, strict=True)),
        "at_target": {
            name: {"fpir": fpir, "fnir": missed}
            for name, fpir, missed in zip(TARGETS, at_target[::2], at_target[1::2], strict=True)
        },
    }
