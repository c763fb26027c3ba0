"""What a soak does to its cameras, and what its samples say."""

from itertools import pairwise

import pytest

from app.cli.soak_plan import ROUND, Change, Sample, at_rest, changes, faults, growth, rounds
from workers.simulator.faults import Fault


def sample(at: float, megabytes: float = 300.0) -> Sample:
    return Sample(at, megabytes, threads=20, descriptors=60, online=8)


def test_every_camera_has_its_turn() -> None:
    seconds = 8 * ROUND + 5
    steps = changes(8, seconds)
    assert rounds(seconds) == 8 and len(steps) == 32
    for change in Change:
        assert sorted(step.camera for step in steps if step.change is change) == list(range(8))
    assert all(one.at < other.at for one, other in pairwise(steps))
    for camera in range(8):
        told = [injection.fault for injection in faults(camera, 8, seconds)]
        assert sorted(told) == [Fault.DIE, Fault.NONE, Fault.NONE, Fault.STALL]


def test_nobody_has_two_troubles_in_one_round_and_all_have_time_to_settle() -> None:
    for number in range(8):
        busy = [step.camera for step in changes(8, 8 * ROUND) if number * ROUND <= step.at < (number + 1) * ROUND]
        injections = [
            (camera, one.after - number * ROUND)
            for camera in range(8)
            for one in faults(camera, 8, 8 * ROUND)
            if number * ROUND <= one.after < (number + 1) * ROUND
        ]
        assert len({*busy, *(camera for camera, _ in injections)}) == 4
        assert max(after for _, after in injections) < ROUND / 2


def test_a_removed_camera_comes_back() -> None:
    removed: set[int] = set()
    for step in changes(5, 12 * ROUND):
        if step.change is Change.REMOVE:
            removed.add(step.camera)
        elif step.change is Change.ADD:
            removed.remove(step.camera)
        else:
            assert step.change is Change.ENROL or step.camera not in removed
    assert not removed


def test_growth_is_that_of_the_second_half() -> None:
    steady = [sample(10.0 * index, 100.0 + 2 * min(index, 50)) for index in range(100)]
    assert growth(steady)["percent"] == 0.0
    rising = [sample(10.0 * index, 100.0 + index) for index in range(100)]
    figures = growth(rising)
    assert (figures["first_fifth_mb"], figures["last_fifth_mb"]) == (154.5, 194.5)
    assert figures["percent"] == pytest.approx(25.89)
    spike = [sample(10.0 * index, 900.0 if index in (52, 97) else 100.0) for index in range(100)]
    assert growth(spike)["percent"] == 0.0


def test_rest_is_the_end_of_each_round() -> None:
    samples = [sample(10.0 * index + 0.2) for index in range(30)]
    assert [one.at for one in at_rest(samples, 3 * ROUND + 20)] == [80.2, 170.2, 260.2]
