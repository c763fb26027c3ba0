"""A face on a wall: looked at, said to be nobody, and then it holds nothing open."""

from datetime import UTC, datetime

import cv2
import numpy as np
import pytest

from app.gallery import Gallery
from app.photos import read_photo
from app.types import Camera, Decision, Frame
from app.vision.picture import ArrayPicture
from workers.pipeline import STILL_SECONDS, CameraPipeline, Nets
from workers.simulator.people import hallway

STEP, SIDE = 0.5, 150  # seconds between frames; pixels


@pytest.fixture(scope="module")
def nets() -> Nets:
    return Nets.open()


def test_a_portrait_on_the_wall_lets_the_gate_shut(nets: Nets, portrait_files: dict[str, bytes]) -> None:
    random = np.random.default_rng(0)
    portrait = read_photo(portrait_files["Eileen Collins"]).image[20:300, 120:400]
    wall = hallway(640, 480).copy()
    wall[100 : 100 + SIDE, 250 : 250 + SIDE] = cv2.resize(portrait, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    pipeline = CameraPipeline(Camera("c", "main", "Door", ""), nets, lambda: Gallery(nets.embedder.dimension), "cardea")
    verdicts, opened = [], []
    for number in range(round((STILL_SECONDS + 30) / STEP)):
        noise = random.normal(0, 1.5, wall.shape)
        image = np.clip(wall + noise, 0, 255).astype(np.uint8)
        frame = Frame("c", number, datetime.now(UTC), 100 + number * STEP, ArrayPicture(image))
        verdicts += pipeline.process(frame, may_grant=True)
        assert pipeline.sight is not None
        opened.append(pipeline.sight.motion.open)
    assert [verdict.decision for verdict in verdicts] == [Decision.UNKNOWN]
    assert opened[round(20 / STEP)], "a face that has just come is followed"
    assert not any(opened[-round(10 / STEP) :]), "and is furniture a minute later"
