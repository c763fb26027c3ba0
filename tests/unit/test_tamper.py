"""Tampering: what is said of covered, turned and defocused cameras, and of nothing else; pictures are drawn."""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import cycle

import cv2
import numpy as np
import pytest

from app.types import Ending, Image, TamperKind
from app.vision.picture import ArrayPicture
from app.vision.tamper import ACCEPTANCE, HOLD, LONGEST_DARK, Change, TamperWatch
from app.vision.views import HALF, SIDE, Look, View, block_means

WIDTH, HEIGHT = 640, 480
Step = tuple[Image | Callable[[float], Image], float, bool]  # what is seen, for how many seconds, whether tracked


def place(seed: int = 0) -> Image:
    """A yard: things of all sizes and shades with edges in all directions."""
    random = np.random.default_rng(seed)
    picture = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    for _ in range(90):
        shade = tuple(int(value) for value in random.integers(30, 220, 3))
        centre = (float(random.uniform(0, WIDTH)), float(random.uniform(0, HEIGHT)))
        sides = (float(random.uniform(15, 140)), float(random.uniform(15, 140)))
        corners = cv2.boxPoints((centre, sides, float(random.uniform(0, 90))))
        cv2.fillPoly(picture, [corners.astype(np.int32)], shade)
    return picture


def plain(grey: int) -> Image:
    return np.full((HEIGHT, WIDTH, 3), grey, np.uint8)


def shifted(picture: Image, right: float, down: float = 0.0) -> Image:
    move = np.array([[1, 0, right], [0, 1, down]], np.float32)
    size = (picture.shape[1], picture.shape[0])
    return np.asarray(cv2.warpAffine(picture, move, size, borderMode=cv2.BORDER_REFLECT), np.uint8)


def blurred(picture: Image, sigma: float) -> Image:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)


def lit(picture: Image, gain: float) -> Image:
    return np.asarray(np.clip(picture * gain, 0, 255), np.uint8)


def by_lamp(picture: Image) -> Image:
    """The same place by one lamp in a corner."""
    down, right = np.mgrid[:HEIGHT, :WIDTH]
    light = 0.35 + 1.3 * np.exp(-(((right / WIDTH - 0.3) / 0.35) ** 2) - ((down / HEIGHT - 0.2) / 0.5) ** 2)
    return np.asarray(np.clip(picture * light[..., None], 0, 255), np.uint8)


def by_infrared(picture: Image) -> Image:
    """The same place in grey, other shades, a bright middle."""
    shades = np.clip(picture @ np.array([0.15, 0.25, 0.9]), 0, 255)
    down, right = np.mgrid[:HEIGHT, :WIDTH]
    light = 0.35 + 0.9 * np.exp(-(((right / WIDTH - 0.5) / 0.4) ** 2) - ((down / HEIGHT - 0.5) / 0.45) ** 2)
    return np.asarray(np.repeat(np.clip(shades * light, 0, 255)[..., None], 3, axis=2), np.uint8)


@cache
def behind_a_hand(share: float) -> Image:
    """The yard behind a hand that has come in from the left as far as `share` of the picture."""
    down, right = np.mgrid[:HEIGHT, :WIDTH]
    hidden = np.clip((share * 1.25 * WIDTH - right - 60 * np.sin(down / 70)) / 20, 0, 1)[..., None]
    skin = np.array([95, 120, 165]) * (0.5 + 0.3 * np.sin(right / 210 + down / 300))[..., None]
    return np.asarray(place() * (1 - hidden) + skin * hidden, np.uint8)


def _small(picture: Image) -> Image:
    """What the gate's stem is shown of it: grey."""
    return picture if picture.ndim == 2 else ArrayPicture(picture).luma(SIDE, SIDE)


SMALL = _small(place())


class Door:
    """A camera under watch, with its clock and its noise."""

    def __init__(self, told: TamperKind | None = None, period: float = 1.0, noise: float = 1.0) -> None:
        self.watch = TamperWatch(told)
        self.clock = 1000.0
        self.period = period
        fields = np.random.default_rng(7).standard_normal((16, SIDE, SIDE), np.float32) * noise
        self.noise = cycle(np.rint(fields).astype(np.int16))

    def show(self, seen: Image | Callable[[float], Image], seconds: float, somebody: bool = False) -> list[Change]:
        """Let the camera see something, and return what was said."""
        said = []
        for number in range(round(seconds / self.period)):
            self.clock += self.period
            if number == 0 or callable(seen):
                picture = _small(seen(number * self.period) if callable(seen) else seen)
            noisy = np.clip(picture + next(self.noise), 0, 255).astype(np.uint8)
            change = self.watch.look(noisy, self.clock, somebody=somebody)
            if change is not None:
                said.append(change)
        return said


@pytest.fixture
def door() -> Door:
    """A camera that knows its view."""
    made = Door()
    assert made.show(place(), 60) == []
    return made


HIDING: dict[str, tuple[TamperKind, Image | Callable[[float], Image]]] = {
    "tape": (TamperKind.COVERED, plain(0)),
    "paint": (TamperKind.COVERED, plain(245)),
    "a bag": (TamperKind.COVERED, plain(128)),
    "a hand": (TamperKind.COVERED, lambda clock: behind_a_hand(min(clock / 3, 1))),
    "turned aside": (TamperKind.TURNED, shifted(place(), 0.3 * WIDTH)),
    "turned down": (TamperKind.TURNED, shifted(place(), 0, 0.3 * HEIGHT)),
    "another place": (TamperKind.TURNED, place(5)),
    "out of focus": (TamperKind.DEFOCUSED, blurred(place(), 3)),
    "far out of focus": (TamperKind.DEFOCUSED, blurred(place(), 6)),
}


@pytest.mark.parametrize("name", HIDING)
@pytest.mark.parametrize("period", [1.0, 4.0])
def test_it_is_said_once_and_ends_when_the_view_is_back(name: str, period: float) -> None:
    kind, seen = HIDING[name]
    door = Door(period=period)
    assert door.show(place(), 90) == []
    begun = door.clock
    (change,) = door.show(seen, 120)
    assert (change.kind, change.ended_by) == (kind, None)
    assert begun <= change.since <= begun + 5 * period + 3
    over = door.clock
    (change,) = door.show(place(), 60)
    assert (change.kind, change.ended_by) == (kind, Ending.RECOVERED)
    assert over <= change.since <= over + 5 * period


def test_five_frames_a_second_are_looked_at_once_a_second() -> None:
    door = Door(period=0.2)
    assert door.show(place(), 50) == []
    begun = door.clock
    (change,) = door.show(plain(0), 20)
    assert change.kind is TamperKind.COVERED and begun < change.since < begun + 4


def test_nothing_is_said_before_it_has_lasted(door: Door) -> None:
    assert door.show(plain(0), HOLD - 1) == []
    assert door.show(place(), 60) == []


def swaying(seen: Image, pixels: float) -> Callable[[float], Image]:
    """Something that sways by so many pixels to either side."""
    small = _small(seen)  # nothing larger is looked at
    return lambda clock: shifted(small, pixels * np.sin(1.3 * clock) * SIDE / WIDTH)


def coat(picture: Image) -> Image:
    """Somebody close before the camera: a head and a wide dark coat."""
    with_body = picture.copy()
    cv2.rectangle(with_body, (20, 230), (620, HEIGHT), (40, 35, 60), -1)
    cv2.ellipse(with_body, (320, 150), (110, 140), 0, 0, 360, (120, 150, 200), -1)
    return with_body


FOLDS = blurred(cv2.resize(place(9)[100:300, 100:300], (WIDTH, HEIGHT)), 12)


def stepping(clock: float) -> Image:
    """A torso that fills the picture and shifts its weight: folds of a coat, unsharp and close."""
    return lit(shifted(FOLDS, 70 * np.sin(1.3 * clock), 25 * np.cos(clock)), 0.8)


HARMLESS: dict[str, list[Step]] = {
    "nothing": [(place(), 120, False)],
    "a lamp": [(by_lamp(place()), 120, False), (place(), 120, False)] * 2,
    "infrared": [(plain(5), 2, False), (by_infrared(place()), 120, False), (place(), 120, False)],
    "half the light": [(lit(place(), 0.5), 120, False)],
    "a tenth of the light": [(lit(place(), 0.1), 120, False), (place(), 60, False)],
    "glaring light": [(lit(place(), 1.6), 120, False)],
    "dusk": [(lambda clock: lit(SMALL, max(1 - clock / 900, 0.01)), 1100, False)],
    "a camera in the wind": [(swaying(place(), 6.0), 120, False)],
    "a camera that was nudged": [(shifted(place(), 10, 5), 120, False)],
    "somebody close, found": [(coat(place()), 50, True), (place(), 60, False)],
    "somebody who came too close": [(place(), 3, True), (coat(place()), 20, False), (place(), 60, False)],
    "a back before the lens, not found": [(stepping, 20, False), (place(), 60, False)],
    "a back before the lens, found": [(stepping, 50, True), (place(), 60, False)],
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_happens_at_every_door_is_not_said(door: Door, name: str) -> None:
    for seen, seconds, somebody in HARMLESS[name]:
        assert door.show(seen, seconds, somebody) == []


def test_whoever_is_followed_puts_it_off_but_not_for_ever(door: Door) -> None:
    assert door.show(plain(0), 55, somebody=True) == []
    assert [change.kind for change in door.show(plain(0), 15, somebody=True)] == [TamperKind.COVERED]


def test_whoever_walks_up_and_covers_the_lens_is_found_out_in_half_a_minute(door: Door) -> None:
    assert door.show(place(), 5, somebody=True) == []
    assert door.show(plain(0), 25) == []
    assert [change.kind for change in door.show(plain(0), 12)] == [TamperKind.COVERED]


def test_a_new_view_is_accepted_and_the_old_one_still_known(door: Door) -> None:
    assert [change.kind for change in door.show(place(5), 60)] == [TamperKind.TURNED]
    door.period = 4.0
    assert door.show(place(5), ACCEPTANCE - 70) == []
    (ended,) = door.show(place(5), 90)
    assert (ended.kind, ended.ended_by) == (TamperKind.TURNED, Ending.ACCEPTED)
    for seen in (place(), place(5), place()):  # a gate that opens and shuts
        assert door.show(seen, 60) == []
    assert [change.kind for change in door.show(place(8), 60)] == [TamperKind.TURNED]


@pytest.mark.parametrize("seen", [plain(0), plain(128), blurred(place(), 6)], ids=["dark", "bag", "unsharp"])
def test_what_cannot_be_worked_with_is_never_accepted(door: Door, seen: Image) -> None:
    assert len(door.show(seen, 60)) == 1
    door.period = 4.0
    assert door.show(seen, 2 * ACCEPTANCE) == []


def test_a_light_that_is_switched_is_news_twice_but_a_bag_always(door: Door) -> None:
    for _ in range(2):
        said = (*door.show(plain(4), 60), *door.show(place(), 60))
        assert [change.ended_by for change in said] == [None, Ending.RECOVERED]
    assert door.show(plain(4), 600) == [] and door.show(place(), 60) == []
    assert [change.kind for change in door.show(plain(128), 60)] == [TamperKind.COVERED]


def test_a_view_with_nothing_in_it_is_not_judged() -> None:
    door = Door()
    for seen in (plain(120), plain(0), place()):
        assert door.show(seen, 100) == []
    assert [change.kind for change in door.show(plain(0), 60)] == [TamperKind.COVERED]  # it is known by now


def test_a_habit_of_the_light_lasts_no_longer_than_a_night(door: Door) -> None:
    for _ in range(2):
        door.show(plain(4), 60)
        door.show(place(), 60)
    begun, door.period = door.clock, 4.0
    assert door.show(plain(4), LONGEST_DARK - 60) == []
    (change,) = door.show(plain(4), 120)
    assert (change.kind, change.ended_by) == (TamperKind.COVERED, None)
    assert change.since < begun + 30  # since it is dark


@pytest.mark.parametrize("covered", [14, 50])
def test_whoever_covers_the_lens_makes_no_habit(door: Door, covered: float) -> None:
    for _ in range(2):
        door.show(place(), 5, somebody=True)
        door.show(plain(4), covered)
        door.show(place(), 60)
    assert [change.kind for change in door.show(plain(4), 20)] == [TamperKind.COVERED]


def test_short_covers_that_nobody_was_told_of_make_no_habit(door: Door) -> None:
    for _ in range(2):
        assert door.show(plain(4), 10.0) == []
        assert door.show(place(), 60) == []
    assert [change.kind for change in door.show(plain(4), 20)] == [TamperKind.COVERED]


PATTERNED = lit(place(7), 0.5)


@pytest.mark.parametrize(
    ("told", "seen"), [(TamperKind.DEFOCUSED, blurred(place(), 3)), (TamperKind.COVERED, PATTERNED)]
)
def test_a_restart_takes_neither_blur_nor_cover_for_the_view(told: TamperKind, seen: Image) -> None:
    door = Door(told, period=4.0)
    assert door.show(seen, 2 * ACCEPTANCE) == []
    assert door.watch.told is told


def test_a_turned_camera_is_accepted_after_a_restart() -> None:
    door = Door(TamperKind.TURNED, period=4.0)
    (ended,) = door.show(place(5), ACCEPTANCE + 100)
    assert (ended.kind, ended.ended_by) == (TamperKind.TURNED, Ending.ACCEPTED)


def test_what_was_said_before_a_restart_ends_with_a_view_that_stays() -> None:
    door = Door(told=TamperKind.COVERED, period=4.0)
    assert door.show(plain(0), 2 * ACCEPTANCE) == []  # still covered
    assert door.show(place(), ACCEPTANCE - 10) == []
    (ended,) = door.show(place(), 120)
    assert (ended.kind, ended.ended_by) == (TamperKind.COVERED, Ending.ACCEPTED)
    assert [change.kind for change in door.show(plain(0), 60)] == [TamperKind.COVERED]


def test_a_gap_in_the_stream_counts_no_more_than_a_look(door: Door) -> None:
    door.clock += 3600
    assert door.show(plain(0), 4) == []
    door.clock += 3600
    assert door.show(place(), 60) == []


# --- the measure


def look_at(grey: Image) -> Look:
    sharp = grey.astype(np.float32)
    return Look.at(np.asarray(cv2.resize(sharp, (HALF, HALF), interpolation=cv2.INTER_AREA), np.float32), sharp)


def looks() -> Iterator[tuple[Image, Look]]:
    for seed in range(3):
        grey = _small(place(seed))
        yield grey, look_at(grey)


def test_the_edges_do_not_see_the_light() -> None:
    for grey, look in looks():
        view = View()
        view.learn(look, 1.0, 120.0)
        for other in (lit(grey, 0.3), 255 - grey, np.clip(grey, 0, 235) + 20):  # dimmer, negative, brighter
            difference = view.difference(look_at(other.astype(np.uint8)))
            assert difference is not None and difference.lost == 0


def test_a_view_is_the_mean_of_what_it_learned_until_that_is_old() -> None:
    (_, first), (_, second), (_, third) = looks()
    view = View()
    for look in (first, second, third):
        view.learn(look, 1.0, 1e9)
    np.testing.assert_allclose(view._edges, (first.edges + second.edges + third.edges) / 3, atol=1e-6)
    assert view.seconds == 3
    for _ in range(200):
        view.learn(first, 1.0, 10.0)
    np.testing.assert_allclose(view._edges, first.edges, atol=1e-3)


def test_blocks_are_means() -> None:
    values = np.arange(75 * 75, dtype=np.float32).reshape(75, 75)
    expected = values.reshape(5, 15, 5, 15).mean(axis=(1, 3))
    np.testing.assert_allclose(block_means(values), expected, rtol=1e-6)
