"""The floor of a person net: the rule on finds made by hand, and the command on a set."""

import json
from pathlib import Path

import numpy as np
import pytest
from fixtures_starter import take_or_skip

from models.__main__ import main
from models.evaluate.floor import FLOORS, Told, shown
from models.starter.recipes import PERSON


def test_finds_are_counted_from_the_floor_on() -> None:
    told = Told(np.array([0.9, 0.45, 0.3, 0.3, 0.2]), np.array([True, False, True, False, True]))
    assert [told.right(floor) for floor in (0.2, 0.3, 0.45, 0.9, 0.95)] == [3, 2, 1, 1, 0]
    assert [told.nobody(floor) for floor in (0.2, 0.3, 0.45, 0.9)] == [2, 2, 1, 0]


def test_a_picture_is_shown_in_four_lights_and_the_same_each_time() -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    first, again = list(shown(image, 3)), list(shown(image, 3))
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    clean, noisy, infrared, dark = first
    assert np.array_equal(clean, image) and not np.array_equal(noisy, image)
    assert np.array_equal(infrared[..., 0], infrared[..., 2]) and dark.mean() < image.mean()


def test_the_command_tells_each_floor_and_the_rules(drawn_sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    take_or_skip(PERSON.source)
    assert main(["evaluate", "floor", "--images", str(drawn_sets / "drawn.zip"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["views"] % 4 == 0 and told["persons"] > 0 and told["starter"]["floor"] == 0.3
    assert [row["floor"] for row in told["floors"]] == list(FLOORS)
    recalls = [row["recall"] for row in told["floors"]]
    assert recalls == sorted(recalls, reverse=True)
    nobody = {row["floor"]: row["finds_of_nobody_per_view"] for row in told["floors"]}
    kept = [floor for floor, found in nobody.items() if found <= told["starter"]["finds_of_nobody_per_view"]]
    assert told["floor"] == min(kept, default=None)
