"""Generated clips with truth: a wall, before which a photograph of a person slides along; then a lamp may stay on."""

import json
import zipfile
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from app.types import Image
from models.evaluate.counts import Replay
from models.evaluate.visits import VisitClip, read_clips
from models.pictures import decoded, shrunk

FPS, STILL, WALK, AFTER = 10, 40, 20, 30
FRAMES = STILL + WALK + AFTER
WIDTH, HEIGHT = 320, 240


def write_clip(folder: Path, name: str, person: Image, *, lamp: bool) -> tuple[Path, Path]:
    """Write ``NAME.mp4``, its masks and, if there is a lamp, its JSON; return the first two.

    `person` is a BGR picture (h, w, 3).
    """
    random = np.random.default_rng(len(name))
    wall = cv2.resize(random.integers(60, 190, (12, 16, 3), dtype=np.uint8), (WIDTH, HEIGHT))
    height, width = person.shape[:2]
    video, archive = folder / f"{name}.mp4", folder / f"{name}_masks.zip"
    with av.open(str(video), "w") as container, zipfile.ZipFile(archive, "w") as masks:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "20", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(FRAMES):
            picture, mask = wall.copy(), np.zeros((HEIGHT, WIDTH), np.uint8)
            if STILL <= index < STILL + WALK:
                x = 20 + 9 * (index - STILL)
                mask[50 : 50 + height, x : x + width] = 255
                picture[50 : 50 + height, x : x + width] = person
                masks.writestr(f"{index:06d}.png", cv2.imencode(".png", mask)[1].tobytes())
            if lamp and index >= STILL + WALK:
                picture[:60, 250:] = 250
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    if lamp:
        (folder / f"{name}.json").write_text(json.dumps(truth()))
    return video, archive


def truth() -> dict[str, object]:
    walk_end = STILL + WALK - 1
    return {
        "fps": FPS,
        "frames": FRAMES,
        "still": [[0, STILL - 1], [walk_end + 1, FRAMES - 1]],
        "events": [
            {"type": "people", "start": STILL, "end": walk_end},
            {"type": "stands_still", "start": STILL + 10, "end": walk_end},
            {"type": "lamp", "start": walk_end + 1, "end": walk_end + 1, "permanent": True},
        ],
    }


@pytest.fixture(scope="session")
def person(portrait_files: dict[str, bytes]) -> Image:
    """A photograph of somebody whom the person net finds, half as wide as high."""
    return shrunk(decoded(portrait_files)[1], 85, 170)


@pytest.fixture(scope="session")
def visits(tmp_path_factory: pytest.TempPathFactory, person: Image) -> list[tuple[Path, Path]]:
    """Two clips with their masks; the second has no lamp and no JSON."""
    folder = tmp_path_factory.mktemp("visits")
    return [write_clip(folder, "lamp", person, lamp=True), write_clip(folder, "plain", person[:, ::-1], lamp=False)]


@pytest.fixture
def clips_with_truth(visits: list[tuple[Path, Path]]) -> list[VisitClip]:
    return read_clips([video for video, _ in visits], [archive for _, archive in visits])


def masks_at(path: Path, *names: str) -> Path:
    """Write a zip file of masks with a small person in each."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[100:180, 200:220] = 255
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, cv2.imencode(".png", mask)[1].tobytes())
    return path


def replay_of(opened: list[bool], scores: list[float | None] | None = None) -> Replay:
    return Replay(list(range(len(opened))), opened, scores or [None] * len(opened))
