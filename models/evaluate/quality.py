"""`cardea models evaluate quality`: does the quality score know which faces will not be recognised?

Photographs of known people, not those of LFW, as they are and as a door's camera may see them. A comparison of two
photographs of one person is an error when its cosine stays below the product's threshold for a gallery of `GALLERY`
templates. The worst faces are set aside by each score in turn, and what errors are left is the error-versus-discard
curve: over all faces that the finder finds, and over those that pass the quality gate. At a door one side is damaged.

A refit of the product's score, its four parts with other weights and the length of the vector beside them, is fitted
on one half of the people and judged on the other, and the other way round.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import SetupError
from app.vision.artefact import shipped
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder
from models.commands import add_cache, say
from models.detection.labelled import Pictures
from models.evaluate.chart import Chart, png
from models.evaluate.discard import curve_in_order, gain
from models.evaluate.plot import Line
from models.evaluate.quality_faces import MEASURES, KnownFaces, Look, Observer, known_faces, photographs
from models.evaluate.quality_fit import factors, judged_by_others, mean_cosines
from models.evaluate.recognition_metrics import DRAWS, Flags, Scores, drawn, interval, rounded
from models.evaluate.recognition_plots import check_folder
from models.evaluate.recognition_tables import person_of, read_identities
from models.recognition.teachers import sface

GALLERY, TARGET_FPIR = 100, 1e-3  # whose threshold makes an error
SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
PER_PERSON = 10  # photographs at most
Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Comparisons:
    """n comparisons of photographs of one person."""

    people: Index  # (n,)
    errors: Flags  # (n,) below the threshold
    qualities: Mapping[str, Scores]  # score -> (n,) the lower one of both faces


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_photographs(parser)
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="folder for the curves as PNG")


def add_photographs(parser: argparse.ArgumentParser) -> None:
    """Declare which photographs are looked at."""
    parser.add_argument(
        "--faces", required=True, type=Path, nargs="+", metavar="ZIP", help="zip files or folders of photographs"
    )
    parser.add_argument(
        "--identities",
        type=Path,
        metavar="FILE",
        help="text: a photograph's name and its person on each line (left out: pictures named Person_Name_0001.jpg)",
    )
    parser.add_argument(
        "--per-person", type=int, default=PER_PERSON, help=f"photographs of each person at most ({PER_PERSON})"
    )
    add_cache(parser)


def evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure.

    Raises:
        ArtefactError: a shipped net is damaged.
        SetupError: see `observed`; or the plots' folder is not there.
    """
    check_folder(arguments.plot)
    return figures(observed(arguments), arguments.plot)


def observed(arguments: argparse.Namespace) -> KnownFaces:
    """Look at the photographs of `add_photographs`.

    Raises:
        ArtefactError: a shipped net is damaged.
        SetupError: photographs or identities are not there or cannot be read, nobody has two photographs with a face,
            or the net that judges the labels cannot be fetched.
    """
    sets = [Pictures(path) for path in arguments.faces]
    who = chosen(sets, arguments.identities, arguments.per_person)
    observer = Observer(FaceFinder(shipped("face_finder")), shipped("embedder"))
    return known_faces(list(photographs(sets, who, observer, sface(arguments.cache), say)))


def figures(faces: KnownFaces, plots: Path | None) -> dict[str, Any]:
    """Return what is told, and draw the curves if there is a folder for them."""
    embedder = Embedder(shipped("embedder"))
    threshold = embedder.threshold(GALLERY, TARGET_FPIR)
    told: dict[str, Any] = {}
    for name, look in (("plain", faces.plain), ("door", faces.door)):
        for gate in ("found", "usable"):
            done = comparisons(faces, look, threshold, usable=gate == "usable")
            told.setdefault(name, {})[gate] = of_scores(done)
            if plots:
                write_plot(done, plots / f"quality-{name}-{gate}.png")
    return {
        "photographs": len(faces.people),
        "people": int(faces.people.max()) + 1,
        "labels": {
            "people_joined": faces.labels.joined,
            "people_mixed": len(faces.labels.mixed),
            "photographs_misplaced": faces.labels.misplaced,
        },
        "embedder": embedder.card.id,
        "face_finder": shipped("face_finder").card.id,
        "threshold": rounded(threshold),
        "interval": f"95 %, bootstrap over people, {DRAWS} draws",
        **told,
    }


def chosen(sets: list[Pictures], listed: Path | None, most: int) -> dict[str, str]:
    """Return the person of each photograph that counts: the first `most` of everybody.

    Raises:
        SetupError: no photograph is of a known person.
    """
    known = read_identities(listed) if listed else None
    who: dict[str, str] = {}
    counts: dict[str, int] = {}
    for name in (name for one in sets for name in one.names):
        file = Path(name).name
        person = person_of(file) if known is None else known.get(file)
        if person is not None and counts.get(person, 0) < most:
            who[name], counts[person] = person, counts.get(person, 0) + 1
    if not who:
        raise SetupError("no photograph is of a known person: give the list of --identities that belongs to them")
    return who


def comparisons(faces: KnownFaces, look: Look, threshold: float, *, usable: bool) -> Comparisons:
    """Return every comparison of a photograph in one look with another one of the same person as it is.

    Copies of one file are no comparison.

    Args:
        usable: only of faces that pass the quality gate.
    """
    same = faces.people[:, None] == faces.people
    same &= faces.digests[:, None] != faces.digests
    probes, others = (one.usable if usable else one.found for one in (look, faces.plain))
    same &= probes[:, None] & others
    left, right = np.nonzero(np.triu(same) if look is faces.plain else same)
    cosines = np.einsum("ij,ij->i", look.vectors[left], faces.plain.vectors[right], dtype=np.float64)
    scores = dict(zip(MEASURES, zip(look.measures.T, faces.plain.measures.T, strict=True), strict=True))
    fits = refits(faces, look, left, right, cosines)
    lower = {name: np.minimum(of[left], others[right]) for name, (of, others) in (scores | fits).items()}
    return Comparisons(faces.people[left], cosines < threshold, lower)


def refits(
    faces: KnownFaces, look: Look, left: Index, right: Index, cosines: Scores
) -> dict[str, tuple[Scores, Scores]]:
    """Return what refits say of each face in this look and as it is, (n,) each, by people whom they have not seen."""
    rows = np.concatenate([left, right]) if look is faces.plain else left
    targets = mean_cosines(rows, np.resize(cosines, len(rows)), len(faces.people))
    halves, length = faces.people % 2 == 1, MEASURES.index("length")
    found = {}
    for name, columns in (("refit", slice(0, 4)), ("refit_with_length", slice(0, 5))):
        logs, plain = (factors(one.parts, one.measures[:, length])[:, columns] for one in (look, faces.plain))
        said, fits = judged_by_others(logs, targets, halves)
        others = np.where(halves, *(fit[0] + plain @ fit[1:] for fit in fits[::-1]))
        found[name] = (said, others)
    return found


def of_scores(done: Comparisons) -> dict[str, Any]:
    """Return what is told of each score, with the difference to the product's own."""
    people = int(done.people.max()) + 1
    orders = {name: np.argsort(values, kind="stable") for name, values in done.qualities.items()}
    sorted_errors = {name: done.errors[order] for name, order in orders.items()}
    owners = {name: done.people[order] for name, order in orders.items()}

    def gains(times: Scores) -> Scores:
        return np.array([gain(sorted_errors[name], times[owners[name]]) for name in orders])

    everybody = np.ones(people)
    found, draws = gains(everybody), drawn(people, gains)
    rows = {
        name: {
            "errors_left": _shares(curve_in_order(sorted_errors[name], everybody[owners[name]], SHARES)),
            "gain": rounded(found[place]),
            "interval": interval(draws[:, place]),
            "more_than_quality": rounded(found[place] - found[0]),
            "more_interval": interval(draws[:, place] - draws[:, 0]),
        }
        for place, name in enumerate(orders)
    }
    return {
        "comparisons": len(done.errors),
        "people": len(np.unique(done.people)),
        "error_rate": rounded(done.errors.mean()),
        "scores": rows,
    }


def write_plot(done: Comparisons, path: Path) -> None:
    """Write the curves of all scores as a PNG."""
    shares = tuple(share / 50 for share in range(46))
    lines = []
    for name, values in done.qualities.items():
        order = np.argsort(values, kind="stable")
        left = curve_in_order(done.errors[order], np.ones(len(order)), shares)
        lines.append(Line(name, list(zip(shares, left.tolist(), strict=True))))
    path.write_bytes(png(Chart("errors when the worst faces are set aside", "share set aside", "error rate", lines)))


def _shares(left: Scores) -> dict[str, float | None]:
    return {f"{share:g}": rounded(rate) for share, rate in zip(SHARES, left, strict=True)}
