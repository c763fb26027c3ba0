"""`cardea models evaluate junk`: which finds that are no recognisable face pass the quality gate, and whom they match.

Clips and pictures that show nobody who could be recognised: hands, foliage, backs of heads, heads from above, animals.
Every frame is searched as the product does, as a whole and where the detector sees persons. Without the gate every find
counts, as in a starter's pipeline; with it those that `assess` calls usable. A false match is a pair of finds of two
clips, or of two tracks of one, whose cosine reaches the laxest threshold that the product ever has, or a find that
reaches the threshold of the gallery with anybody in it.
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from app.errors import SetupError
from app.intervals import rate
from app.options import at_least_one
from app.types import Array, Faces, Image, Reason
from app.vision.artefact import shipped
from app.vision.boxes import iou, nms
from app.vision.detector import Detector
from app.vision.embedder import Embedder
from app.vision.faces import OVERLAP, FaceFinder, align, assess
from app.vision.picture import ArrayPicture
from app.vision.regions import head_regions
from models.commands import say
from models.detection.labelled import Pictures
from models.evaluate.recognition_metrics import rounded
from models.evaluate.recognition_tables import person_of
from models.evaluate.visits import video_frames
from models.recognition.crops import nearest_large

PEOPLE, TARGET_FPIR = 300, 1e-3  # of the gallery
SAME_TRACK = 0.3  # IoU of two finds that follow each other
PAUSE = 25  # frames for which a track may be lost


@dataclass(frozen=True, slots=True)
class Nets:
    """The product's nets."""

    detector: Detector
    finder: FaceFinder
    embedder: Embedder


@dataclass(frozen=True, slots=True)
class Find:
    """Something that the finder took for a face."""

    box: Array  # (4,) pixels
    reasons: tuple[Reason, ...]  # why the gate refuses it; empty: it passes
    vector: Array  # (d,) unit length
    track: int  # within its clip


@dataclass(frozen=True, slots=True)
class Film:
    """What was found in one clip or set of pictures."""

    name: str
    frames: int
    finds: list[Find]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--clip", type=Path, nargs="+", default=[], metavar="MP4", help="clips without a usable face")
    parser.add_argument("--images", type=Path, nargs="+", default=[], metavar="ZIP", help="the same as pictures")
    parser.add_argument(
        "--gallery",
        required=True,
        type=Path,
        metavar="ZIP",
        help="people to enrol: pictures named Person_Name_0001.jpg",
    )
    parser.add_argument("--people", type=at_least_one, default=PEOPLE, help=f"how many of them at most ({PEOPLE})")


def evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure.

    Raises:
        ArtefactError: a shipped net is damaged.
        SetupError: a clip or picture cannot be read, neither is given, or nobody can be enrolled.
    """
    if not arguments.clip and not arguments.images:
        raise SetupError("give clips or pictures to look for junk in: --clip or --images")
    cv2.setNumThreads(1)
    nets = Nets(Detector(shipped("detector")), FaceFinder(shipped("face_finder")), Embedder(shipped("embedder")))
    gallery = gallery_of(Pictures(arguments.gallery), arguments.people, nets)
    films = []
    for path in [*arguments.clip, *arguments.images]:
        shown = _still(Pictures(path)) if path in arguments.images else video_frames(path, 1, 1)
        films.append(watched(path.stem, shown, nets, still=path in arguments.images))
        say(f"{path.name}: {films[-1].frames} frames, {len(films[-1].finds)} finds")
    passing = [Film(film.name, film.frames, [find for find in film.finds if not find.reasons]) for film in films]
    between = nets.embedder.threshold(1, TARGET_FPIR)
    against = nets.embedder.threshold(len(gallery), TARGET_FPIR)
    return {
        "gallery": len(gallery),
        "thresholds": {"between_finds": rounded(between), "gallery": rounded(against)},
        "nets": {
            "detector": nets.detector.id,
            "face_finder": nets.finder.card.id,
            "embedder": nets.embedder.card.id,
        },
        "passed": rate([len(film.finds) for film in passing], [len(film.finds) for film in films]),
        "without_gate": matches(films, gallery, between, against),
        "with_gate": matches(passing, gallery, between, against),
        "clips": {film.name: _told(film) for film in films},
    }


def gallery_of(pictures: Pictures, people: int, nets: Nets) -> Array:
    """Return the templates (n, d) of the first people by name, each of the first picture that could be enrolled.

    Raises:
        SetupError: nobody can be enrolled.
    """
    vectors: dict[str, Array] = {}
    for name in sorted(pictures.names):
        person = person_of(Path(name).name)
        if person in vectors:
            continue
        image = np.pad(pictures.image(name), ((20, 20), (20, 20), (0, 0)))
        faces = nets.finder.find(image)
        if len(faces):
            find = _judged(image, faces, nearest_large(faces, image.shape[1], image.shape[0]), 0, nets)
            if not find.reasons:
                vectors[person] = find.vector
        if len(vectors) == people:
            break
    if not vectors:
        raise SetupError(f"nobody in {pictures.path} has a picture that can be enrolled")
    return np.stack(list(vectors.values()))


def watched(name: str, frames: Iterator[tuple[int, Image]], nets: Nets, *, still: bool) -> Film:
    """Look for faces in every frame of a clip.

    Args:
        name: of the clip.
        frames: number and picture (H, W, 3) BGR of each.
        nets: the product's.
        still: they are pictures of different things: each find is a track of its own.
    """
    finds: list[Find] = []
    last: dict[int, tuple[int, Array]] = {}  # track -> frame and box of its last find
    count = 0
    for number, image in frames:
        count += 1
        faces = found(image, nets)
        for row in range(len(faces)):
            track = None if still else _track(faces.boxes[row], number, last)
            track = len(last) if track is None else track
            last[track] = (number, faces.boxes[row])
            finds.append(_judged(image, faces, row, track, nets))
    return Film(name, count, finds)


def found(image: Image, nets: Nets) -> Faces:
    """Return what the finder takes for faces in a picture (H, W, 3), each once: in all of it, and where persons are."""
    whole, picture = nets.finder.find(image), ArrayPicture(image)
    persons = nets.detector.finish(nets.detector.look(picture))
    heads = nets.finder.find_in(picture, head_regions(persons.boxes, picture.width, picture.height))
    both = (np.concatenate([getattr(one, name) for one in (whole, heads)]) for name in ("boxes", "scores", "landmarks"))
    faces = Faces(*both)
    kept = nms(faces.boxes, faces.scores, OVERLAP)
    return Faces(faces.boxes[kept], faces.scores[kept], faces.landmarks[kept])


def matches(films: Sequence[Film], gallery: Array, between: float, against: float) -> dict[str, Any]:
    """Count false matches.

    Args:
        films: with the finds that count.
        gallery: (n, d) unit rows.
        between: cosine from which two finds match.
        against: cosine from which a find matches somebody of the gallery.
    """
    finds = [find for film in films for find in film.finds]
    clips = np.repeat(np.arange(len(films)), [len(film.finds) for film in films])
    tracks = np.array([find.track for find in finds], np.int64)
    vectors = np.array([find.vector for find in finds], np.float32).reshape(-1, gallery.shape[1])
    match = vectors @ vectors.T >= between
    of_clips = np.triu(clips[:, None] != clips)
    of_tracks = np.triu(tracks[:, None] != tracks) & (clips[:, None] == clips)
    hits = (vectors @ gallery.T).max(axis=1, initial=-1) >= against
    by_clip = [int(hits[clips == clip].sum()) for clip in range(len(films))]
    return {
        "finds": len(finds),
        "between_clips": _pairs(match, of_clips),
        "between_tracks": _pairs(match, of_tracks),
        "gallery": rate(by_clip, [len(film.finds) for film in films]) | {"matches": int(hits.sum())},
    }


def _pairs(match: NDArray[np.bool_], counted: NDArray[np.bool_]) -> dict[str, int]:
    return {"matches": int((match & counted).sum()), "pairs": int(counted.sum())}


def _told(film: Film) -> dict[str, Any]:
    reasons = Counter(str(reason) for find in film.finds for reason in find.reasons)
    passed = sum(not find.reasons for find in film.finds)
    return {
        "frames": film.frames,
        "finds": len(film.finds),
        "passed": passed,
        "refused_for": dict(reasons.most_common()),
    }


def _track(box: Array, number: int, last: dict[int, tuple[int, Array]]) -> int | None:
    """Return the track whose last find is near enough in time and place, None when there is none."""
    recent = [track for track, (frame, _) in last.items() if 0 < number - frame <= PAUSE]
    if not recent:
        return None
    overlaps = iou(box[None], np.stack([last[track][1] for track in recent]))[0]
    return recent[int(overlaps.argmax())] if overlaps.max() >= SAME_TRACK else None


def _judged(image: Image, faces: Faces, row: int, track: int, nets: Nets) -> Find:
    box, score, landmarks = faces.boxes[row], float(faces.scores[row]), faces.landmarks[row]
    crop = align(image, landmarks)
    quality = assess(image.shape[1], image.shape[0], box, score, landmarks, crop)
    return Find(box, quality.reasons, nets.embedder.embed([crop])[0], track)


def _still(pictures: Pictures) -> Iterator[tuple[int, Image]]:
    for number, name in enumerate(pictures.names):
        yield number, pictures.image(name)
