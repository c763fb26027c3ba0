"""Pictures to calibrate a detector on: anyone can fetch what they are made from, and they belong to no test set.

Still lifes and textures of a pinned package are the scenes, two portraits the visitors, in many sizes and as many
kinds of light.
"""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from app.packages import PackageFile, take
from app.portraits import PORTRAITS, portraits
from app.types import Image
from models.pictures import decoded, shrunk

PICTURES = 96
WIDTH, HEIGHT = 640, 480

# Free of copyright or CC0 by their authors, as scikit-image's credits say.
SCENES = {
    "camera.png": "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
    "chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    "rocket.jpg": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
    "motorcycle_left.png": "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
    "brick.png": "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
    "grass.png": "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
    "coins.png": "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba",
}


def calibration_pictures(cache: Path, count: int = PICTURES) -> Iterator[Image]:
    """Yield pictures, BGR (480, 640, 3): scenes, two of three with visitors, all differently lit and taken.

    Raises:
        SetupError: a package cannot be fetched or is not the pinned one.
    """
    scenes = decoded({name: take(scene(name), cache) for name in SCENES})
    people = decoded(portraits(cache))
    random = np.random.default_rng(0)
    for index in range(count):
        picture = _framed(scenes[index % len(scenes)], random)
        for _ in range(index % 3):
            _place(people[random.integers(len(people))], picture, random)
        yield _taken(picture, random)


def scene(name: str) -> PackageFile:
    """Return one of SCENES, which lie in the package that the first portrait is taken from."""
    package = PORTRAITS["Eileen Collins"]
    return PackageFile(
        package.registry,
        package.package,
        package.version,
        package.archive_sha256,
        f"skimage/data/{name}",
        SCENES[name],
        package.platforms,
    )


def _framed(source: Image, random: np.random.Generator) -> Image:
    """Return a part of a picture, at least half of each side, often mirrored."""
    height, width = (int(side * random.uniform(0.5, 1)) for side in source.shape[:2])
    top = int(random.integers(source.shape[0] - height + 1))
    left = int(random.integers(source.shape[1] - width + 1))
    return _mirrored(shrunk(source[top : top + height, left : left + width], WIDTH, HEIGHT), random)


def _mirrored(picture: Image, random: np.random.Generator) -> Image:
    return np.ascontiguousarray(picture[:, :: int(random.choice((1, -1)))])


def _place(person: Image, picture: Image, random: np.random.Generator) -> None:
    """Put somebody into the picture, a fifth of its height to all of it, maybe cut off by its border."""
    height = int(HEIGHT * random.uniform(0.2, 1))
    width = height * person.shape[1] // person.shape[0]
    top = int(random.integers(HEIGHT - height + 1))
    left = int(random.integers(-width // 3, WIDTH - 2 * width // 3))
    first, last = max(left, 0), min(left + width, WIDTH)
    picture[top : top + height, first:last] = _mirrored(shrunk(person, width, height), random)[
        :, first - left : last - left
    ]


def _taken(picture: Image, random: np.random.Generator) -> Image:
    """Return a picture as a camera might take it: light, contrast, blur, noise; one in six in infrared, so grey."""
    gain, offset = random.uniform(0.3, 1.5), random.uniform(-20, 40)
    values = picture * np.float32(gain) + np.float32(offset)
    if random.random() < 1 / 6:
        values[:] = values.mean(axis=2, keepdims=True)
    if random.random() < 1 / 3:
        values = cv2.GaussianBlur(values, (0, 0), random.uniform(0.5, 3))
    values += random.normal(0, random.uniform(0, 8), values.shape)
    return np.asarray(np.clip(values, 0, 255), np.uint8)
