"""Pictures with truth as others publish them: a zip file or folder, and a COCO file inside or beside it.

Sets of our own form (`samples`) are read by the same class: their ``boxes.json`` lies in the zip file. Pictures are
unpacked when they are asked for.
"""

import json
import zipfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from app.errors import SetupError
from app.types import Array, Image
from models.detection.samples import CATEGORIES, POINTS, Sample

MEANING = {  # category of a published set -> ours; a head may be seen from behind, so it is no face
    "face": "face",
    "face_mask": "face",
    "face_mask_wrong": "face",
    "person": "person",
}
SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
TRUTH = "boxes.json"


class Pictures:
    """The pictures of a zip file or a folder, by their path inside it. Any number of threads may read at once."""

    def __init__(self, path: Path) -> None:
        """List them.

        Raises:
            SetupError: it is neither a zip file nor a folder.
        """
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        if path.is_dir():
            entries = sorted(str(file.relative_to(path).as_posix()) for file in path.rglob("*") if file.is_file())
        else:
            try:
                self._zip = zipfile.ZipFile(path)
            except (OSError, zipfile.BadZipFile) as error:
                raise SetupError(f"{path} is neither a folder nor a zip file of pictures ({error})") from error
            entries = self._zip.namelist()
        self.names = [name for name in entries if PurePosixPath(name).suffix.lower() in SUFFIXES]
        self.truths = [name for name in entries if PurePosixPath(name).name == TRUTH]

    def content(self, name: str) -> bytes:
        """Return the bytes of one entry."""
        return self._zip.read(name) if self._zip else (self.path / name).read_bytes()

    def image(self, name: str) -> Image:
        """Return one picture, BGR (H, W, 3).

        Raises:
            SetupError: it cannot be decoded.
        """
        try:
            image = cv2.imdecode(np.frombuffer(self.content(name), np.uint8), cv2.IMREAD_COLOR)
        except (OSError, zipfile.BadZipFile, cv2.error) as error:
            raise SetupError(f"{self.path}: {name} cannot be read ({error}); replace it") from error
        if image is None:
            raise SetupError(f"{self.path}: {name} cannot be decoded; replace it or take it out of the truth")
        return np.asarray(image, np.uint8)


class LabelledPictures:
    """Pictures and what is known to be in them, in the order of the truth."""

    def __init__(self, images: Path, truth: Path | None = None) -> None:
        """Read the list of pictures.

        Args:
            images: zip file or folder.
            truth: COCO file; left out, the ``boxes.json`` among the pictures is read.

        Raises:
            SetupError: truth is missing or unreadable, or names a picture that is not there.
        """
        self.pictures = Pictures(images)
        self.name = images.stem
        listed, where = self._listed(truth)
        try:
            meanings = {int(entry["id"]): MEANING.get(str(entry["name"])) for entry in listed["categories"]}
            self._images: list[dict[str, Any]] = list(listed["images"])
            self._marks: dict[int, list[dict[str, Any]]] = defaultdict(list)
            for mark in listed["annotations"]:
                if category := meanings[int(mark["category_id"])]:
                    self._marks[int(mark["image_id"])].append(mark | {"category": category})
            files = [str(entry["file_name"]) for entry in self._images]
            self._ids = [int(entry["id"]) for entry in self._images]
        except (KeyError, TypeError, ValueError) as error:
            raise SetupError(f"{where} is not in the COCO form ({error!r})") from error
        self.categories = frozenset(meaning for meaning in meanings.values() if meaning)
        self._entries = entries_of(files, self.pictures.names, where)

    def _listed(self, truth: Path | None) -> tuple[Mapping[str, Any], str]:
        """Return the COCO object and where it comes from."""
        if truth is None and len(self.pictures.truths) != 1:
            raise SetupError(f"{self.pictures.path} holds {len(self.pictures.truths)} files {TRUTH}: name the truth")
        where = str(truth) if truth else f"{self.pictures.path}: {self.pictures.truths[0]}"
        try:
            content = truth.read_bytes() if truth else self.pictures.content(self.pictures.truths[0])
            listed = json.loads(content)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise SetupError(f"{where} cannot be read ({error})") from error
        if not isinstance(listed, dict):
            raise SetupError(f"{where} is not in the COCO form (no object)")
        return listed, where

    def __len__(self) -> int:
        return len(self._images)

    def entry(self, row: int) -> str:
        """Return the path of a picture inside the zip file or folder."""
        return self._entries[row]

    def named(self, row: int) -> str:
        """Return the name of a picture, ``SET/FILE``."""
        return f"{self.name}/{self._images[row]['file_name']}"

    def sample(self, row: int) -> Sample:
        """Return one picture with what is known of it.

        Where the truth does not say which categories are all marked in a picture, those it knows are.

        Raises:
            SetupError: the picture or a mark cannot be read.
        """
        image, marks = self._images[row], self._marks[self._ids[row]]
        objects = [mark for mark in marks if not mark.get("iscrowd")]
        try:
            return Sample(
                name=self.named(row),
                image=self.pictures.image(self._entries[row]),
                boxes=_boxes(objects),
                classes=np.array([CATEGORIES.index(mark["category"]) for mark in objects], np.int64),
                points=np.array([_points(mark) for mark in objects], np.float32).reshape(-1, len(POINTS), 2),
                ignored=_boxes([mark for mark in marks if mark.get("iscrowd")]),
                labelled=frozenset(image.get("labelled", self.categories)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise SetupError(f"{self.pictures.path}: {image['file_name']} has damaged marks ({error})") from error


def entries_of(files: Sequence[str], names: Sequence[str], where: str) -> list[str]:
    """Return for each file name of a truth the entry that it means: one path is the other's end.

    Raises:
        SetupError: none fits, or several do; `where` says in which truth.
    """
    by_file: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_file[PurePosixPath(name).name].append(name)
    entries = []
    for file in files:
        fitting = [name for name in by_file[PurePosixPath(file).name] if _is_end(file, name) or _is_end(name, file)]
        if len(fitting) != 1:
            raise SetupError(f"{where} names {file}; of the pictures there {len(fitting)} fit, not one")
        entries.append(fitting[0])
    return entries


def _is_end(end: str, path: str) -> bool:
    parts = PurePosixPath(end).parts
    return PurePosixPath(path).parts[-len(parts) :] == parts


def _boxes(marks: Sequence[Mapping[str, Any]]) -> Array:
    boxes = np.array([mark["bbox"] for mark in marks], np.float32).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def _points(mark: Mapping[str, Any]) -> Array:
    """Return the points (5, 2) of a face, NaN where unknown; a person's joints, if there are any, are not ours."""
    known = mark.get("keypoints") if mark["category"] == "face" else None
    values = np.array(known or [0.0] * 3 * len(POINTS), np.float32).reshape(len(POINTS), 3)
    return np.where(values[:, 2:] > 0, values[:, :2], np.nan).astype(np.float32)
