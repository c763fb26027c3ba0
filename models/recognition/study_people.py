"""Who is trained on in a study, and who is held out.

The split goes by person: the SHA-256 of the name says who is held out, so it stays when sets grow or are joined. A
person whom the teacher takes for somebody held out is not trained on either: sets overlap, and some people have two
names. Labels of the people trained on stay as they come; methods differ in what wrong ones do to them.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.errors import SetupError
from app.types import Array
from app.vision.faces import CROP
from models.detection.batches import set_path
from models.recognition.crops import CropSet
from models.recognition.held_out import HeldOut, held_out
from models.recognition.study_plan import StudyPlan
from models.recognition.teachers import Teacher, teacher_vectors

APART = 0.5  # cosine of two people's centres, as the teacher sees them, from which they may be one
SHORTEST = 1e-6  # no vector is divided by less


@dataclass(frozen=True, slots=True)
class Learners:
    """Photographs that are trained on; row i of each field is photograph i of n."""

    faces: NDArray[np.uint8]  # (n, 3, 112, 112) BGR
    teacher: Array  # (n, d) unit rows
    labels: NDArray[np.int64]  # (n,) 0 to k - 1

    @property
    def classes(self) -> int:
        """The number k of people."""
        return int(self.labels.max()) + 1


@dataclass(frozen=True, slots=True)
class People:
    """All people of a study."""

    learners: Learners
    held: Mapping[str, HeldOut]  # by set
    alike: int  # people left out because they may be somebody held out


def gather(plan: StudyPlan, teacher: Teacher, folders: Sequence[Path], say: Callable[[str], None]) -> People:
    """Open the sets, let the teacher look at them, and divide the people.

    Raises:
        SetupError: a set is missing or damaged, or too few people are left on one side.
    """
    sets = {name: CropSet(set_path(name, folders)) for name in plan.sets}
    vectors = {name: _unit(teacher_vectors(crops, teacher, say).astype(np.float32)) for name, crops in sets.items()}
    names = {name: np.array([entry.identity for entry in crops.entries]) for name, crops in sets.items()}
    strange = {
        person for name, share in plan.sets.items() for person in np.unique(names[name]) if place(person) < share
    }
    held = {name: held_out(sets[name], vectors[name], sorted(strange)) for name, share in plan.sets.items() if share}
    owners, seen = np.concatenate(list(names.values())), np.concatenate(list(vectors.values()))
    people, alike = _trained(owners, seen, strange, plan.least)
    say(f"trained on: {len(people)} people; {alike} others look like somebody held out")
    if len(people) < plan.people:
        raise SetupError(f"{len(people)} people are left to train on, {plan.people} are in a batch")
    rows = np.flatnonzero(np.isin(owners, people))
    faces = np.concatenate([_faces(crops, np.isin(names[name], people)) for name, crops in sets.items()])
    return People(Learners(faces, seen[rows], np.searchsorted(people, owners[rows])), held, alike)


def place(person: str) -> float:
    """Return where a person lies, 0 to 1: held out below a set's share."""
    return int(hashlib.sha256(person.encode()).hexdigest()[:8], 16) / 2**32


def _trained(owners: NDArray[np.str_], vectors: Array, strange: Set[str], least: int) -> tuple[NDArray[np.str_], int]:
    """Return the people, sorted, who are trained on, and how many are not because they look like somebody strange.

    Args:
        owners: (n,) names, empty where nobody knows.
        vectors: (n, d) unit rows of the teacher.
        strange: who is held out.
        least: photographs that a person needs.
    """
    people, numbers, counts = np.unique(owners, return_inverse=True, return_counts=True)
    sums = np.zeros((len(people), vectors.shape[1]), np.float32)
    np.add.at(sums, numbers, vectors)
    held = np.isin(people, sorted(strange))
    fitting = ~held & (counts >= least) & (people != "")
    alike = (_unit(sums) @ _unit(sums[held]).T).max(axis=1, initial=-1) >= APART
    return people[fitting & ~alike], int((fitting & alike).sum())


def _faces(crops: CropSet, wanted: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the wanted faces (n, 3, 112, 112) of a set."""
    faces = [crops.face(int(row)).transpose(2, 0, 1) for row in np.flatnonzero(wanted)]
    return np.stack(faces) if faces else np.zeros((0, 3, CROP, CROP), np.uint8)


def _unit(rows: Array) -> Array:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), SHORTEST))
