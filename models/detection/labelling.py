"""Labels a set of pictures by machine; what is done is kept in a journal, so a broken run goes on where it stopped.

The journal is a text file beside the set in the making: a line that says what is labelled by which nets, then a line
for each picture. Its end may be torn, by a power cut; a torn line is done again.
"""

import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from app.errors import SetupError
from app.vision.artefact import SHIPPED, Artefact
from models.detection.agreement import FACE, Labels, labels
from models.detection.centerface import SOURCE
from models.detection.labelled import LabelledPictures, Pictures
from models.detection.samples import CATEGORIES, Sample
from models.detection.teachers import Teachers
from models.starter.recipes import FINDER

NOTICE_EVERY = 100


def label(images: Path, truth: Path | None, out: Path, teachers: Teachers, say: Callable[[str], None]) -> None:
    """Write a set of labelled pictures, ``out``, whose name without ``.zip`` becomes the set's.

    Args:
        images: zip file or folder of pictures; a ``boxes.json`` among them is their truth.
        truth: COCO file, if it lies elsewhere.
        out: the set to write; it must not exist.
        teachers: are asked about each picture.
        say: is told how far the work is.

    Raises:
        SetupError: pictures or truth cannot be read, ``out`` exists, or the journal is of other work.
    """
    if out.exists() or out.suffix != ".zip":
        raise SetupError(f"{out} must be a new file whose name ends in .zip; remove it or name another")
    source = _Source(images, truth)
    journal = out.with_suffix(".journal")
    done = _begun(journal, {"images": str(images.name), "pictures": len(source), "teachers": _named(teachers)})
    say(f"{out.stem}: {len(source)} pictures, {len(done)} of them labelled before")
    with journal.open("a") as lines:
        for row in range(len(done), len(source)):
            sample = source.sample(row)
            lines.write(json.dumps(_entry(sample, _labels(sample, teachers))) + "\n")
            lines.flush()
            if (row + 1) % NOTICE_EVERY == 0:
                say(f"{out.stem}: {row + 1} of {len(source)} pictures")
    _pack(source, _read(journal)[1:], _named(teachers), out)
    journal.unlink()


class _Source:
    """The pictures in a fixed order, with truth or without."""

    def __init__(self, images: Path, truth: Path | None) -> None:
        self.pictures = Pictures(images)
        self._marked = LabelledPictures(images, truth) if truth or self.pictures.truths else None
        rows = range(len(self._marked)) if self._marked else []
        self.entries = [self._marked.entry(row) for row in rows] if self._marked else self.pictures.names
        files = [PurePosixPath(entry).name for entry in self.entries]
        if len(set(files)) < len(files):
            raise SetupError(f"{images} holds several pictures of one name; rename them")
        if not files:
            raise SetupError(f"{images} holds no picture (jpg, jpeg or png)")

    def __len__(self) -> int:
        return len(self.entries)

    def sample(self, row: int) -> Sample:
        """Return one picture and what its source says of it."""
        if self._marked:
            return self._marked.sample(row)
        boxes, points = np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32)
        image = self.pictures.image(self.entries[row])
        return Sample(self.entries[row], image, boxes, np.zeros(0, np.int64), points, boxes, frozenset())


def _labels(sample: Sample, teachers: Teachers) -> Labels:
    """Return what is believed to be in a picture, the points of its faces put right."""
    found = labels(teachers.look(sample.image), sample)
    faces = found.classes == FACE
    points = found.points.copy()
    points[faces] = again = teachers.points(sample.image, found.boxes[faces])
    lost = np.flatnonzero(faces)[np.isnan(again).any(axis=(1, 2))]
    points[lost] = found.points[lost]
    return replace(found, points=points)


def _named(teachers: Teachers) -> dict[str, str]:
    """Return by what the pictures are labelled, rules included."""
    rules = b"".join((Path(__file__).parent / name).read_bytes() for name in ("agreement.py", "teachers.py"))
    return {
        "person": teachers.person_nets,
        "face": Artefact(SHIPPED / FINDER.name).card.id,
        "second_face": SOURCE.member_sha256,
        "rules": hashlib.sha256(rules).hexdigest(),
    }


def _begun(journal: Path, head: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the pictures done before, and leave a journal that can be written on."""
    lines = _read(journal) if journal.exists() else []
    if lines and lines[0] != head:
        raise SetupError(f"{journal} belongs to other pictures or to other nets and rules; remove it to begin anew")
    journal.parent.mkdir(parents=True, exist_ok=True)
    kept = lines or [head]
    journal.write_text("".join(json.dumps(line) + "\n" for line in kept))
    return kept[1:]


def _read(journal: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a journal."""
    text = journal.read_text()
    try:
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    except ValueError as error:
        raise SetupError(f"{journal} is damaged ({error}); remove it to begin anew") from error


def _entry(sample: Sample, found: Labels) -> dict[str, Any]:
    """Return the journal's line of one picture: its entry in the set, and its marks."""
    height, width = sample.image.shape[:2]
    objects = zip(found.boxes, found.classes, found.points, strict=True)
    marks = [_mark(box, int(row), points) for box, row, points in objects]
    marks += [_mark(box, CATEGORIES.index("person")) | {"iscrowd": 1} for box in found.ignored]
    picture = {"width": width, "height": height, "labelled": sorted(found.labelled)}
    return {"picture": picture, "marks": marks}


def _mark(box: np.ndarray, category: int, points: np.ndarray | None = None) -> dict[str, Any]:
    x1, y1, x2, y2 = (round(float(value), 2) for value in box)
    mark: dict[str, Any] = {"category_id": category + 1, "bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)]}
    mark |= {"area": round((x2 - x1) * (y2 - y1), 2), "iscrowd": 0}
    if points is not None and not np.isnan(points).any():
        mark["keypoints"] = [value for x, y in points.round(2).tolist() for value in (x, y, 2)]
    return mark


def _pack(source: _Source, lines: list[dict[str, Any]], teachers: dict[str, str], out: Path) -> None:
    """Write the set beside its place and move it there when it is whole."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    part = out.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as packed:  # pictures are compressed already
        for number, (entry, line) in enumerate(zip(source.entries, lines, strict=True), 1):
            file = f"images/{PurePosixPath(entry).name}"
            packed.writestr(f"{out.stem}/{file}", source.pictures.content(entry))
            images.append({"id": number, "file_name": file, **line["picture"]})
            for mark in line["marks"]:
                annotations.append({"id": len(annotations) + 1, "image_id": number, **mark})
        categories = [{"id": row + 1, "name": name} for row, name in enumerate(CATEGORIES)]
        listed = {"info": teachers, "images": images, "annotations": annotations, "categories": categories}
        packed.writestr(f"{out.stem}/boxes.json", json.dumps(listed))
    part.replace(out)
