"""What the runtime's gate is compared with: the net cut anywhere, and rules on pixels."""

from pathlib import Path

import numpy as np
import pytest
from fixtures_starter import take_or_skip

from app.types import Image
from app.vision.artefact import Net
from models.evaluate.published import BLOCKS, cut_person_net
from models.evaluate.rivals import RIVALS, MeanSquaredError
from models.starter.person import PersonNet
from models.starter.recipes import PERSON

each = pytest.mark.parametrize("name", RIVALS)
SHAPES = {"b01": (24, 75), "b02": (24, 75), "b05": (32, 38), "b06": (64, 19), "b09": (64, 19), "b12": (96, 19)}


# --- the cut net


@pytest.mark.parametrize("block", SHAPES)
def test_a_net_cut_anywhere_is_the_whole_net(block: str, packages: Path, tmp_path: Path) -> None:
    source = take_or_skip(PERSON.source)
    artefact = cut_person_net(block, packages, tmp_path)
    whole = tmp_path / "whole.onnx"
    whole.write_bytes(PersonNet(source).whole())
    picture = np.random.default_rng(0).integers(0, 256, (1, 3, 300, 300)).astype(np.float32)
    passed, features = artefact.open("stem.onnx").run(picture)
    channels, side = SHAPES[block]
    assert passed.shape == (1, channels, side, side) and block in BLOCKS
    np.testing.assert_array_equal(features, passed)
    for part, expected in zip(artefact.open("tail.onnx").run(passed), Net(whole).run(picture), strict=True):
        np.testing.assert_allclose(part, expected, atol=1e-4)


# --- rules on pixels


def scene(width: int = 320, height: int = 240) -> Image:
    x, y = np.meshgrid(np.linspace(40, 200, width), np.linspace(40, 200, height))
    return np.dstack([x, y, (x + y) / 2]).astype(np.uint8)


@each
@pytest.mark.parametrize(("width", "height"), [(320, 240), (641, 359)])
def test_a_rival_tells_motion_from_noise(name: str, width: int, height: int) -> None:
    rival, random, room = RIVALS[name](), np.random.default_rng(0), scene(width, height)

    def look(picture: Image) -> bool:
        noisy = picture + random.normal(0, 2, picture.shape)
        return rival.score(np.clip(noisy, 0, 255).astype(np.uint8)) > rival.threshold

    assert not any([look(room) for _ in range(40)][10:])
    for step in range(10):
        walker = room.copy()
        x = round(width * (0.1 + 0.06 * step))
        walker[height // 4 : height * 3 // 4, x : x + width // 8] = (20, 20, 240)
        assert look(walker)


@each
def test_a_rival_takes_any_picture(name: str) -> None:
    rival = RIVALS[name]()
    scores = [rival.score(picture) for picture in (np.zeros((48, 64, 3), np.uint8), scene(64, 48), scene(64, 48))]
    assert np.isfinite(scores).all()


def test_the_squared_error_is_the_mean_over_channels_of_the_worst_pixel() -> None:
    rival = MeanSquaredError(threshold=0)
    picture = np.full((300, 300, 3), (10, 20, 30), np.uint8)
    assert rival.score(picture) == 0
    changed = picture.copy()
    changed[7, 9] = (13, 16, 30)
    assert rival.score(changed) == pytest.approx(25 / 3)
    assert rival.score(changed) == pytest.approx(25 / 3)  # an open frame teaches nothing
