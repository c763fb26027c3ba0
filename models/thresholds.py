"""Measures the embedder's impostors on a set of labelled photographs and writes the table into its card."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from app.packages import take
from app.vision.artefact import SHIPPED, Artefact
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder
from models.faces import FaceSet, load_faces
from models.impostors import ImpostorTable, impostor_table
from models.labels import SFACE, CheckedLabels, check_labels, sface_vectors
from models.measured import Measurement, record
from models.starter.build import write_card
from models.starter.recipes import EMBEDDER, FINDER

COMMAND = "python -m models thresholds --pictures FOLDER --identities FILE --source TEXT"
FLOOR_RATE = 1e-4  # no gallery is so small that a stranger may look more alike than this
BATCH = 32
SHOWN_PAIRS = 20


def measure_thresholds(
    pictures: Path, identities: Path, source: str, cache: Path, say: Callable[[str], None]
) -> ImpostorTable:
    """Measure, write the card and return the table.

    Raises:
        SetupError: there are no photographs, or the net that judges the labels cannot be fetched.
    """
    faces = load_faces(pictures, identities, FaceFinder(Artefact(SHIPPED / FINDER.name)), say)
    say(f"{len(faces)} usable faces; left out: {dict(faces.refused)}")
    embedder = Embedder(Artefact(SHIPPED / EMBEDDER.name))
    vectors = np.concatenate(
        [embedder.embed(list(part)) for part in np.split(faces.crops, range(BATCH, len(faces), BATCH))]
    )
    say("another net looks at the labels")
    labels = check_labels(faces.people, faces.photographs, sface_vectors(take(SFACE, cache), faces.crops))
    kept = labels.kept
    as_labelled = impostor_table(vectors, faces.people, faces.people, faces.photographs)
    table = impostor_table(vectors[kept], faces.people[kept], labels.groups[kept], faces.photographs[kept])
    _show_closest(faces, vectors, labels, say)
    figures = _figures(table, "checked labels") + _figures(as_labelled, "labels as they come")
    parameters = {"impostors": _impostors(table, source, faces, labels), "floor": _floor(table)}
    folder = SHIPPED / EMBEDDER.name
    record(EMBEDDER.name, embedder.card.files, "thresholds", Measurement(COMMAND, figures, parameters))
    write_card(EMBEDDER, folder)
    return table


def _impostors(table: ImpostorTable, source: str, faces: FaceSet, labels: CheckedLabels) -> dict[str, Any]:
    return {
        "fmr": table.rates,
        "similarity": table.similarities,
        "similarity_low": table.low,
        "similarity_high": table.high,
        "interval": "95 %, bootstrap over people",
        "source": source,
        "faces": int(labels.kept.sum()),
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


def _show_closest(faces: FaceSet, vectors: np.ndarray, labels: CheckedLabels, say: Callable[[str], None]) -> None:
    """Name the pairs of different people that look most alike, for somebody to look at."""
    rows = np.flatnonzero(labels.kept)
    similarities = np.triu(vectors[rows] @ vectors[rows].T, 1)
    similarities[labels.groups[rows][:, None] == labels.groups[rows]] = 0
    for place in np.argsort(-similarities, axis=None)[:SHOWN_PAIRS]:
        first, second = np.unravel_index(place, similarities.shape)
        names = [f"{faces.names[rows[row]]} ({faces.people[rows[row]]})" for row in (first, second)]
        say(f"{similarities[first, second]:.3f} {' and '.join(names)}")
