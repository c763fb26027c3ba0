"""The published rule of feature-level background modelling, with its own numbers."""

import numpy as np
import pytest

from app.types import Array
from app.vision.gate import Motion, PublishedGate


def cells(*vectors: tuple[float, float]) -> Array:
    """Vectors of two channels as a map (2, 1, n)."""
    return np.array(vectors, np.float32).T[:, None].copy()


def see(gate: PublishedGate, *vectors: tuple[float, float]) -> Motion:
    return gate.update(cells(*vectors), 0.0, hold=False)


def test_the_first_frame_is_the_background_and_still_frames_move_it() -> None:
    gate = PublishedGate(threshold=0.5)
    assert not see(gate, (1, 1)).open
    first = see(gate, (1, 0))  # .9 (1, 1) + .1 (1, 0) = (1, .9)
    assert (first.open, float(first.distance[0, 0])) == (False, pytest.approx(1 - 1 / np.sqrt(2)))
    assert float(see(gate, (1, 0)).distance[0, 0]) == pytest.approx(1 - 1 / np.sqrt(1.81), abs=1e-6)


def test_an_open_frame_teaches_nothing_so_a_lasting_change_stays() -> None:
    gate = PublishedGate()
    see(gate, (1, 0), (1, 0))
    for _ in range(200):
        motion = see(gate, (0, 1), (1, 0))
        assert motion.open and motion.distance.tolist() == [[1, 0]]
    assert not see(gate, (1, 0), (1, 0)).open


def test_held_frames_teach_nothing_either() -> None:
    gate = PublishedGate(threshold=0.5)
    see(gate, (1, 1))
    for _ in range(3):
        held = gate.update(cells((1, 0)), 0.0, hold=True)
        assert held.open and float(held.distance[0, 0]) == pytest.approx(1 - 1 / np.sqrt(2))


def test_no_vector_makes_the_rule_blind() -> None:
    gate = PublishedGate()
    assert not see(gate, (0, 0), (1, 0)).open
    motion = see(gate, (1, 0), (0, 0))
    assert motion.open and motion.distance.tolist() == [[1, 1]]


def test_one_threshold_serves_frames_and_boxes() -> None:
    gate = PublishedGate(threshold=0.4)
    see(gate, (1, 0), (1, 0))
    motion = see(gate, (0, 1), (1, 0))
    boxes = np.array([(0, 0, 10, 10), (0, 0, 20, 10), (10, 0, 20, 10)], np.float32)
    assert motion.least_share == 0
    assert (motion.mean(boxes, 20, 10) >= motion.least_mean).tolist() == [True, True, False]
