"""The demo's own clip: an empty hallway, a resident who walks up, emptiness again, a stranger, emptiness."""

from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

from app.photos import read_photo
from app.portraits import portraits
from app.types import Image
from app.vision.faces import FaceFinder
from workers.simulator.encode import encode
from workers.simulator.people import Cutout, cut_out, hallway, noisy, visit

RESIDENT, STRANGER = "Eileen Collins", "Grace Hopper"
SIZE = (640, 480)
FPS = 10.0
STILL = (4.0, 6.0, 4.0)  # seconds before, between and after the two visits
VISIT = 6.0  # seconds


def make_hallway(cache: Path, finder: FaceFinder, folder: Path) -> Path:
    """Film the resident and the stranger of the demo and return the clip's path in `folder`.

    Raises:
        SetupError: the portraits cannot be fetched.
    """
    faces = portraits(cache)
    clip = folder / "hallway.mp4"
    make_clip(faces[RESIDENT], faces[STRANGER], finder, clip)
    return clip


def make_empty(folder: Path) -> Path:
    """Film ten seconds of the hallway with nobody in it and return the clip's path in `folder`."""
    clip = folder / "empty.mp4"
    encode(noisy(_empty(hallway(*SIZE), 10.0), seed=1), clip, FPS)
    return clip


def make_clip(resident: bytes, stranger: bytes, finder: FaceFinder, path: Path) -> None:
    """Write the clip, H.264.

    Args:
        resident: an encoded portrait; so is `stranger`.
        finder: finds the face to cut around.
    """
    scene = hallway(*SIZE)
    people = [cut(portrait, finder) for portrait in (resident, stranger)]
    frames = chain(
        _empty(scene, STILL[0]),
        visit(people[0], scene, VISIT, FPS),
        _empty(scene, STILL[1]),
        visit(people[1], scene, VISIT, FPS),
        _empty(scene, STILL[2]),
    )
    encode(noisy(frames, seed=1), path, FPS)


def _empty(scene: Image, seconds: float) -> Iterator[Image]:
    return repeat(scene, round(seconds * FPS))


def cut(portrait: bytes, finder: FaceFinder) -> Cutout:
    """Cut the most certain face of an encoded portrait out."""
    image = read_photo(portrait).image
    faces = finder.find(image)
    return cut_out(image, faces.boxes[int(faces.scores.argmax())])
