"""Measures the embedder's impostors on a set of labelled photographs and writes table and tail into its card."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.vision.artefact import Artefact, shipped
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder
from app.vision.tail import Tail
from models.faces import FaceSet, load_faces
from models.impostors import ImpostorTable, PairCounts, impostor_table
from models.labels import CheckedLabels, check_labels
from models.measured import Measurement, compact_json, measurements, record, with_measurements
from models.recognition.teachers import sface
from models.tail import DECADES, beyond, fitted, interval
from models.tail_checks import SPLITS, Kept, enrolled, kept_rates, kept_targets, trusted

COMMAND = "python -m models thresholds --pictures FOLDER --identities FILE --source TEXT"
FLOOR_RATE = 1e-4  # no gallery is so small that a stranger may look more alike than this
BANDS = ("lowest", "middle", "highest")  # thirds of the faces by quality
COMPARED_RATE = 1e-4  # down to here a third has pairs enough to be compared with all
BATCH = 32
SHOWN_PAIRS = 20


@dataclass(frozen=True, slots=True)
class Sample:
    """Faces whose labels are believed; row i of each field is one of them."""

    vectors: np.ndarray  # (n, d) unit rows
    people: np.ndarray  # (n,)
    groups: np.ndarray  # (n,) faces of different groups show different people
    photographs: np.ndarray  # (n,) hashes
    qualities: np.ndarray  # (n,) 0..1

    def of(self, rows: np.ndarray) -> "Sample":
        """Return some of the faces."""
        return Sample(*(getattr(self, name)[rows] for name in self.__slots__))

    def table(self) -> ImpostorTable:
        """Measure all pairs."""
        return impostor_table(self.vectors, self.people, self.groups, self.photographs)

    def bands(self) -> dict[str, "Sample"]:
        """Return the thirds by quality, `BANDS`."""
        edges = np.quantile(self.qualities, (1 / 3, 2 / 3))
        places = np.digitize(self.qualities, edges)
        return {name: self.of(places == place) for place, name in enumerate(BANDS)}


def measure_thresholds(
    pictures: Path, identities: Path, source: str, cache: Path, say: Callable[[str], None]
) -> ImpostorTable:
    """Measure the shipped embedder, write its card and return the table.

    Raises:
        SetupError: there are no photographs, or the net that judges the labels cannot be fetched.
    """
    artefact = shipped("embedder")
    embedder = Embedder(artefact)
    faces = load_faces(pictures, identities, FaceFinder(shipped("face_finder")), say)
    say(f"{len(faces)} usable faces; left out: {dict(faces.refused)}")
    vectors = np.concatenate(
        [embedder.embed(list(part)) for part in np.split(faces.crops, range(BATCH, len(faces), BATCH))]
    )
    say("another net looks at the labels")
    judge = sface(cache)
    labels = check_labels(faces.people, faces.photographs, np.stack([judge.embed(crop) for crop in faces.crops]))
    as_labelled = impostor_table(vectors, faces.people, faces.people, faces.photographs)
    _show_closest(faces, vectors, labels, say)
    sample = Sample(vectors, faces.people, labels.groups, faces.photographs, faces.qualities).of(labels.kept)
    banded = {name: band.table() for name, band in sample.bands().items()}
    table = sample.table()
    strict = strictest(table, banded)
    if strict is not None:
        say(f"the {strict} third by quality is more alike than all: the card is about these faces")
        sample, table = sample.bands()[strict], banded[strict]
    say("table and tail are compared with people whom they have not seen")
    tail, checks = _tail(sample, table, say)
    figures = [*_figures(table, "checked labels"), *_figures(as_labelled, "labels as they come"), *checks]
    figures += _band_figures(sample, banded, strict)
    parameters = {"impostors": _impostors(table, source, faces, labels), "floor": _floor(table), "tail": tail}
    _write(artefact, Measurement(COMMAND, figures, parameters))
    return table


def strictest(table: ImpostorTable, bands: dict[str, ImpostorTable]) -> str | None:
    """Return the band in which strangers are clearly more alike than in all faces, None when there is none.

    Clearly: at some rate down to COMPARED_RATE, the intervals of the two cosines do not touch.
    """
    rates = [place for place, rate in enumerate(table.rates) if rate >= COMPARED_RATE]
    apart = {
        name: max(band.low[place] - table.high[place] for place in rates if place < len(band.rates))
        for name, band in bands.items()
    }
    name = max(apart, key=lambda name: apart[name])
    return name if apart[name] > 0 else None


def _tail(
    sample: Sample, table: ImpostorTable, say: Callable[[str], None]
) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """Return the card's tail, None when it does not keep its promises, and what other people made of them."""
    pairs = PairCounts.of(sample.vectors, sample.groups)
    rates, targets = kept_rates(pairs), kept_targets(sample.vectors, sample.groups, pairs)
    checks = [_check(row, f"share of pairs at a promised rate of {row.promised:g}", pairs) for row in rates]
    checks += [
        _check(row, f"share of strangers let in by {enrolled(pairs)} templates at a target of {row.promised:g}", pairs)
        for row in targets
    ]
    if not trusted(rates):
        say("the tail does not keep its promises on other people: the card knows nothing past its table")
        return None, checks
    fit = fitted(pairs.counts.sum(axis=0, dtype=np.float64))
    tail = beyond(fit, table.rates[-1], table.similarities[-1])
    past = [float(f"{table.rates[-1] / 10**decade:g}") for decade in range(1, DECADES + 1)]
    low, high = interval(pairs, past)
    told = {
        "rate": past,
        "similarity": [round(tail.similarity(rate), 4) for rate in past],
        "similarity_low": low,
        "similarity_high": high,
        "same_person_pairs_accepted": [_accepted(sample, tail.similarity(rate)) for rate in past],
    }
    fit_to = {name: value for name, value in _numbers(fit).items() if name != "least_rate"}
    return _numbers(tail) | told | {"fitted": fit_to}, checks


def _accepted(sample: Sample, similarity: float) -> float:
    """Return the share of the pairs of one person that reaches a cosine; copies of a photograph are no pair."""
    first, second = np.triu_indices(len(sample.vectors), 1)
    own = sample.people[first] == sample.people[second]
    first, second = first[own], second[own]
    apart = sample.photographs[first] != sample.photographs[second]
    cosines = np.einsum("ij,ij->i", sample.vectors[first[apart]], sample.vectors[second[apart]])
    return round(float((cosines >= similarity).mean()), 4)


def _check(row: Kept, what: str, pairs: PairCounts) -> dict[str, Any]:
    past = f", {row.past_table:g} decades past that table" if row.past_table > 0 else ""
    return {
        "what": f"{what}, fitted on {row.fitted_on}{past}",
        "value": {"times_the_promise": row.times, "tenth_percentile": row.low, "ninetieth_percentile": row.high},
        "n": {"people": pairs.people, "splits": SPLITS},
    }


def _numbers(tail: Tail) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in asdict(tail).items()}


def _impostors(table: ImpostorTable, source: str, faces: FaceSet, labels: CheckedLabels) -> dict[str, Any]:
    return {
        "fmr": table.rates,
        "similarity": table.similarities,
        "similarity_low": table.low,
        "similarity_high": table.high,
        "interval": "95 %, bootstrap over people",
        "source": source,
        "faces": table.faces,
        "identities": table.groups,
        "pairs": table.impostor_pairs,
        "refused": dict(sorted(faces.refused.items())),
        "labels": {
            "people_joined": labels.joined,
            "people_mixed": labels.mixed,
            "photographs_misplaced": labels.misplaced,
        },
    }


def _floor(table: ImpostorTable) -> float:
    measured = zip(table.rates, table.similarities, strict=True)
    return [similarity for rate, similarity in measured if rate >= FLOOR_RATE][-1]


def _figures(table: ImpostorTable, labels: str) -> list[dict[str, Any]]:
    rows = zip(table.rates, table.similarities, table.accepted, strict=True)
    return [
        {
            "what": f"at false-match rate {rate:g}, {labels}",
            "value": {"similarity": similarity, "same_person_pairs_accepted": accepted},
            "n": {"impostor_pairs": table.impostor_pairs, "genuine_pairs": table.genuine_pairs, "people": table.groups},
        }
        for rate, similarity, accepted in rows
    ]


def _band_figures(sample: Sample, bands: dict[str, ImpostorTable], strict: str | None) -> list[dict[str, Any]]:
    return [
        {
            "what": f"similarity at false-match rate {rate:g}, faces of the {name} third by quality among themselves",
            "value": {
                "similarity": band.similarities[place],
                "similarity_low": band.low[place],
                "similarity_high": band.high[place],
            },
            "n": {"impostor_pairs": band.impostor_pairs, "people": band.groups},
        }
        for name, band in bands.items()
        for place, rate in enumerate(band.rates)
        if COMPARED_RATE <= rate <= 1e-3
    ]


def _write(artefact: Artefact, measurement: Measurement) -> None:
    """Keep what was measured and put it into the artefact's card, whoever built that."""
    card = artefact.card
    record(card.name, card.files, "thresholds", measurement)
    path = artefact.folder / "card.json"
    written = with_measurements(json.loads(path.read_text()), measurements(card.name, card.files))
    path.write_text(compact_json(written))


def _show_closest(faces: FaceSet, vectors: np.ndarray, labels: CheckedLabels, say: Callable[[str], None]) -> None:
    """Name the pairs of different people that look most alike, for somebody to look at."""
    rows = np.flatnonzero(labels.kept)
    similarities = np.triu(vectors[rows] @ vectors[rows].T, 1)
    similarities[labels.groups[rows][:, None] == labels.groups[rows]] = 0
    for place in np.argsort(-similarities, axis=None)[:SHOWN_PAIRS]:
        first, second = np.unravel_index(place, similarities.shape)
        names = [f"{faces.names[rows[row]]} ({faces.people[rows[row]]})" for row in (first, second)]
        say(f"{similarities[first, second]:.3f} {' and '.join(names)}")
