"""Packet sizes alone: what is still, what moves, and which streams say nothing about it."""

from itertools import pairwise
from math import log

import numpy as np
import pytest

from workers.packets import PADDING, SILENCED, SILENCED_AT_MOST, TOLD, PacketWatch, Trust, stands_alone

KEY, USUAL, LENGTH = 30_000, 600.0, 49


class Camera:
    """Sends groups of one key frame and `LENGTH` others around a size, and has each still one learnt."""

    def __init__(self, spread: float = 0.1, key: int = KEY, usual: float = USUAL) -> None:
        self.watch = PacketWatch()
        self.key, self.usual, self.spread = key, usual, spread
        self.random = np.random.default_rng(1)
        self.pattern = np.ones(LENGTH)

    def group(self, growth: float = 1.0, since: int = 0) -> list[bool]:
        """Send a group whose packets are `growth` times as large from one of them on; return which of them told."""
        self.watch.learn(self.watch.key(self.key))
        sizes = self.usual * self.pattern * np.exp(self.random.normal(0, self.spread, LENGTH))
        sizes[since:] *= growth
        return [self.watch.other(round(size)) for size in sizes]

    def rest(self, groups: int) -> int:
        """Send still groups; return how many told of motion."""
        return sum(any(self.group()) for _ in range(groups))


def told_after(told: list[bool], since: int) -> int:
    """Packets from the first larger one to the one that told."""
    assert not any(told[:since])
    return told.index(True) - since


def test_what_is_not_known_yet_tells_nothing() -> None:
    camera = Camera()
    camera.rest(9)  # the ninth key frame ends the eighth group: from now on sizes are compared
    assert not camera.watch.usable
    camera.rest(8)
    assert camera.watch.usable and camera.watch.lively


@pytest.mark.parametrize("spread", [0.0, 0.02, 0.1, 0.2])
def test_a_still_scene_hardly_ever_tells(spread: float) -> None:
    camera = Camera(spread)
    camera.rest(17)
    assert camera.rest(300) <= 15
    assert camera.watch.usable


@pytest.mark.parametrize(("spread", "growth", "within"), [(0.02, 1.3, 5), (0.1, 1.5, 8), (0.1, 3.0, 3), (0.2, 3.0, 5)])
def test_growing_packets_tell_within_moments(spread: float, growth: float, within: int) -> None:
    camera = Camera(spread)
    camera.rest(40)
    assert told_after(camera.group(growth, since=20), 20) <= within


def test_who_comes_between_two_key_frames_is_told_before_the_second() -> None:
    camera = Camera()
    camera.rest(40)
    assert any(camera.group(2.0, since=LENGTH - 6))


def test_packets_are_compared_with_those_at_their_place() -> None:
    """Temporal layers: every fourth packet is five times as large, which is no motion."""
    camera = Camera()
    camera.pattern[3::4] = 5.0
    camera.rest(17)
    assert camera.watch.usable
    assert camera.rest(100) <= 5
    assert told_after(camera.group(1.6, since=8), 8) <= 8


def test_the_smallest_packets_may_differ() -> None:
    camera = Camera(spread=0.3, usual=25.0)
    camera.rest(17)
    assert camera.rest(100) <= 5
    assert told_after(camera.group(20.0, since=10), 10) <= 2


def test_noise_that_grows_at_dusk_is_followed() -> None:
    camera = Camera()
    camera.rest(40)
    told = 0
    for _ in range(400):
        camera.usual *= 1.003
        told += any(camera.group())
    assert camera.usual > 3 * USUAL and told <= 20
    assert told_after(camera.group(1.5, since=20), 20) <= 8


def test_what_stays_larger_becomes_usual_when_it_is_still() -> None:
    camera = Camera()
    camera.rest(40)
    camera.usual *= 2
    assert all(any(camera.group()) for _ in range(8))
    camera.rest(32)
    assert camera.rest(50) <= 3
    assert told_after(camera.group(1.5, since=20), 20) <= 8


def test_groups_that_were_not_learnt_change_nothing() -> None:
    camera = Camera()
    camera.rest(40)
    camera.watch.key(KEY)
    for _ in range(100):
        camera.watch.key(KEY)
        for _ in range(LENGTH):
            camera.watch.other(5000)
    camera.watch.key(KEY)
    assert told_after(camera.group(1.5, since=20), 20) <= 8


def test_a_constant_bit_rate_is_not_presumed_to_tell() -> None:
    camera = Camera(spread=0.03, key=12_000, usual=4000.0)
    camera.rest(40)
    assert not camera.watch.lively
    assert not any(camera.group(1.0))  # somebody is there, and the encoder spends what it always spends


def test_sizes_that_swing_in_stillness_are_not_usable() -> None:
    camera = Camera(spread=0.5)
    camera.rest(60)
    assert not camera.watch.usable


def test_a_group_without_its_key_frame_is_not_learnt() -> None:
    watch = PacketWatch()
    watch.other(500)
    group = watch.key(KEY)
    assert group.key == 0 and group.sizes == pytest.approx((log(500 + PADDING),))
    for _ in range(100):
        watch.learn(group)
    assert not watch.usable


@pytest.mark.parametrize(
    ("codec", "head", "alone"),
    [
        ("h264", "0000000109f0 0000000167640028 0000000168ee 00000165b8", True),  # parameter sets, then an IDR slice
        ("h264", "0000000109f0 0000000141e0", False),
        ("h264", "0000000106050401 0000000141e0", False),  # recovery point: an ordinary slice, whole later on
        ("hevc", "000000014001 000000014201 000000014401 0000012601af", True),  # IDR_W_RADL
        ("hevc", "0000012a01af", True),  # CRA
        ("hevc", "0000010201d0", False),
        ("av1", "00000165b8", False),
        ("h264", "", False),
        ("h264", "000001", False),
    ],
)
def test_decoding_begins_where_nothing_before_is_needed(codec: str, head: str, alone: bool) -> None:
    assert stands_alone(codec, bytes.fromhex(head)) is alone


def test_trust_is_presumed_of_a_lively_stream_alone() -> None:
    trust = Trust()
    assert trust.given(0.0, presumed=True) and not trust.given(0.0, presumed=False)


def test_trust_is_earned_by_visits_in_a_row() -> None:
    trust = Trust()
    for _ in range(TOLD):
        assert not trust.given(0.0, presumed=False)
        trust.confirm()
    assert trust.given(0.0, presumed=False)


def test_one_silence_costs_trust_until_time_and_visits_bring_it_back() -> None:
    trust = Trust()
    trust.lose(0.0)
    for _ in range(TOLD):
        assert not trust.given(2 * SILENCED, presumed=True)
        trust.confirm()
    assert not trust.given(SILENCED - 1, presumed=True)
    assert trust.given(SILENCED, presumed=True)


def test_each_silence_lasts_longer_up_to_a_day() -> None:
    trust, clock, penalties = Trust(), 0.0, []
    for _ in range(10):
        trust.lose(clock)
        for _ in range(TOLD):
            trust.confirm()
        step = next(step for step in range(0, 100_000, 300) if trust.given(clock + step, presumed=False))
        penalties.append(step)
        clock += step
    assert penalties[0] == SILENCED and penalties[-1] == SILENCED_AT_MOST
    assert all(later == min(2 * earlier, SILENCED_AT_MOST) for earlier, later in pairwise(penalties))
