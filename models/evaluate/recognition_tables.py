"""Truth for recognition, as CSV files with a heading: pairs of pictures, or who is enrolled and who searches."""

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from app.errors import SetupError
from models.evaluate.recognition_metrics import Flags, Scores

PAIRS = ("fold", "same", "left", "right")
ROLES = ("role", "identity", "file")
ENROL, GENUINE, IMPOSTOR = "enrol", "genuine", "impostor"
PERSON = re.compile(r"(?P<person>.+)_\d+")  # of a file name without its ending, as in LFW


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of pictures; row i of each array is pair i of n."""

    files: list[str]  # (p,) pictures, each once
    folds: NDArray[np.int64]  # (n,)
    same: Flags  # (n,) whether both show one person
    left: NDArray[np.int64]  # (n,) rows of `files`
    right: NDArray[np.int64]  # (n,)
    people: NDArray[np.int64]  # (p,) who is on each picture, 0, 1, ...

    def times(self, people: Scores) -> Scores:
        """Return how often each pair (n,) is drawn when each person is drawn so many times."""
        left, right = self.people[self.left], self.people[self.right]
        return np.where(left == right, people[left], people[left] * people[right])


@dataclass(frozen=True, slots=True)
class Roles:
    """Pictures with what they are for; row i of each array is picture i of p."""

    files: list[str]  # (p,)
    roles: NDArray[np.str_]  # (p,) ENROL, GENUINE or IMPOSTOR
    people: NDArray[np.int64]  # (p,) who is on each picture, 0, 1, ...


def read_pairs(path: Path) -> Pairs:
    """Read pairs; who is on a picture is told by its name, see `person_of`.

    Raises:
        SetupError: the file cannot be read, a column is missing or holds something else, or there are fewer than two
            folds, no pair of one person or none of two people.
    """
    lines = _lines(path, PAIRS)
    for number, line in enumerate(lines, 2):
        if line["same"] not in ("0", "1") or not line["fold"].isdecimal():
            raise SetupError(f"{path}, line {number}: fold must be a whole number and same 0 or 1")
    files = list(dict.fromkeys(line[side] for line in lines for side in ("left", "right")))
    rows = {file: row for row, file in enumerate(files)}
    pairs = Pairs(
        files=files,
        folds=np.array([int(line["fold"]) for line in lines], np.int64),
        same=np.array([line["same"] == "1" for line in lines], bool),
        left=np.array([rows[line["left"]] for line in lines], np.int64),
        right=np.array([rows[line["right"]] for line in lines], np.int64),
        people=_numbered(map(person_of, files)),
    )
    if len(np.unique(pairs.folds)) < 2 or pairs.same.all() or not pairs.same.any():
        raise SetupError(f"{path}: needs two folds or more, pairs of one person and pairs of two people")
    return pairs


def read_roles(path: Path) -> Roles:
    """Read roles.

    Raises:
        SetupError: the file cannot be read, a column is missing or holds something else, a role has no picture, or
            somebody searches in the wrong role.
    """
    lines = _lines(path, ROLES)
    for number, line in enumerate(lines, 2):
        if line["role"] not in (ENROL, GENUINE, IMPOSTOR):
            raise SetupError(f"{path}, line {number}: role must be {ENROL}, {GENUINE} or {IMPOSTOR}")
    members = {
        role: {line["identity"] for line in lines if line["role"] == role} for role in (ENROL, GENUINE, IMPOSTOR)
    }
    for role, who in members.items():
        if not who:
            raise SetupError(f"{path}: needs pictures of role {role}")
    if unknown := members[GENUINE] - members[ENROL]:
        raise SetupError(f"{path}: {min(unknown)} searches as {GENUINE} and is not enrolled")
    if known := members[IMPOSTOR] & members[ENROL]:
        raise SetupError(f"{path}: {min(known)} searches as {IMPOSTOR} and is enrolled")
    return Roles(
        files=[line["file"] for line in lines],
        roles=np.array([line["role"] for line in lines]),
        people=_numbered(line["identity"] for line in lines),
    )


def read_identities(path: Path) -> dict[str, str]:
    """Return the person of each photograph; other lines, such as a heading of three words, are passed over.

    Raises:
        SetupError: the file cannot be read.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"--identities: {path} cannot be read ({error})") from error
    return dict(line.split() for line in lines if len(line.split()) == 2)


def person_of(file: str) -> str:
    """Return who is on a picture ``Person_Name_0001.jpg``; one with another name is a person of its own."""
    numbered = PERSON.fullmatch(PurePosixPath(file).stem)
    return numbered["person"] if numbered else file


def _numbered(people: Iterable[str]) -> NDArray[np.int64]:
    return np.asarray(np.unique(list(people), return_inverse=True)[1], np.int64)


def _lines(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Return the lines of a CSV file; further columns are passed over."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SetupError(f"{path} cannot be read ({error})") from error
    for number, line in enumerate(lines, 2):
        for column in columns:
            if not line.get(column):
                raise SetupError(f"{path}, line {number}: no {column}; the columns are {','.join(columns)}")
    return lines
