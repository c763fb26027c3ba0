"""The people of `cardea bench visits`: who is enrolled with one photograph, and who comes with the other.

An archive holds pictures named ``ANY_FOLDER/Person_Name_0001.jpg``; who has two or more can be drawn. The photograph to
enrol is judged as every enrolment is. The one that walks up is never judged beforehand: that would choose easy ones.
"""

import re
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from app.errors import PhotoError, SetupError
from app.photos import Enrolment, enrol, read_photo
from app.store import people
from app.store.engine import Store
from app.store.records import NewPhoto, PersonFields
from app.types import Array, Image
from app.vision.faces import FaceFinder
from workers.pipeline import Nets

NAMED = re.compile(r"(?P<person>.+)_\d+\.(jpe?g|png|webp)", re.IGNORECASE)
MIDDLE = (0.2, 0.1, 0.8, 0.9)  # of a photograph in which no face is found: where portraits have it


@dataclass(frozen=True, slots=True)
class Candidate:
    """Somebody with two photographs, each a name in the archive."""

    name: str
    enrolled: str
    walking: str


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who comes to the door. `person` is the id of a resident, None for a stranger."""

    candidate: Candidate
    person: str | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Somebody whose photograph could not be enrolled; another one took the place."""

    photo: str
    code: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cast:
    """Everybody who comes, residents first."""

    visitors: list[Visitor]
    refused: list[Refusal]


def read_names(archive: zipfile.ZipFile) -> dict[str, list[str]]:
    """Return the pictures of everybody who has two or more, in order."""
    pictures: dict[str, list[str]] = defaultdict(list)
    for entry in sorted(archive.namelist()):
        if named := NAMED.fullmatch(PurePosixPath(entry).name):
            pictures[named["person"]].append(entry)
    return {person: entries for person, entries in sorted(pictures.items()) if len(entries) > 1}


def draw(names: dict[str, list[str]], seed: int) -> Iterator[Candidate]:
    """Yield everybody in an order, and with two photographs, that the seed alone decides."""
    generator = np.random.default_rng(seed)
    everybody = list(names)
    for index in generator.permutation(len(everybody)):
        entries = names[everybody[index]]
        enrolled, walking = generator.choice(len(entries), 2, replace=False)
        yield Candidate(everybody[index], entries[enrolled], entries[walking])


def choose(archive: zipfile.ZipFile, store: Store, nets: Nets, residents: int, strangers: int, seed: int) -> Cast:
    """Enrol residents, and draw strangers from those who are left.

    Raises:
        SetupError: the archive does not hold enough people.
    """
    candidates = draw(read_names(archive), seed)
    visitors: list[Visitor] = []
    refused: list[Refusal] = []
    for candidate in candidates:
        if len(visitors) == residents + strangers:
            break
        if len(visitors) >= residents:
            visitors.append(Visitor(candidate, None))
            continue
        try:
            photograph = archive.read(candidate.enrolled)
            visitors.append(Visitor(candidate, enrol_person(store, nets, candidate.name, photograph)))
        except PhotoError as error:
            refused.append(Refusal(candidate.enrolled, error.code, error.reasons))
    if len(visitors) < residents + strangers:
        raise SetupError(f"only {len(visitors)} people of the archive can come, {len(refused)} photographs are refused")
    return Cast(visitors, refused)


def enrol_person(store: Store, nets: Nets, name: str, data: bytes) -> str:
    """Add a person with one photograph as the API does and return the id.

    Raises:
        PhotoError: the photograph is refused.
    """
    photo = read_photo(data)
    enrolment = enrol(photo, nets.finder, nets.embedder)
    new = NewPhoto(photo.encoded, photo.media_type, photo.width, photo.height, enrolment.quality.score)
    with store.session() as session:
        person = people.create(session, "main", PersonFields(name))
        people.add_photo(session, "main", person.id, new, embedder=nets.embedder.card.id, vector=enrolment.vector)
    return person.id


def open_archive(path: Path) -> zipfile.ZipFile:
    """Open the archive.

    Raises:
        SetupError: it is no ZIP file.
    """
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise SetupError(f"{path} cannot be read as a ZIP file: {error}") from error


def face_in(image: Image, finder: FaceFinder) -> tuple[Array, bool]:
    """Return the box of the face to cut out, the nearest to the middle, and whether it was really found."""
    height, width = image.shape[:2]
    boxes = finder.find(image).boxes
    if not len(boxes):
        return np.array(MIDDLE, np.float32) * np.array([width, height] * 2, np.float32), False
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return boxes[np.linalg.norm(centres - np.array([width / 2, height / 2]), axis=1).argmin()], True


def compare(archive: zipfile.ZipFile, nets: Nets, candidate: Candidate) -> float | None:
    """Return how alike the two photographs are when both are enrolled, None when one of them cannot be."""
    try:
        one, two = (_judge(nets, archive.read(entry)) for entry in (candidate.enrolled, candidate.walking))
    except PhotoError:
        return None
    return float(one.vector @ two.vector)


def _judge(nets: Nets, data: bytes) -> Enrolment:
    return enrol(read_photo(data), nets.finder, nets.embedder)
