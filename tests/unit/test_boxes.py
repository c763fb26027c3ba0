"""Overlap, suppression, anchors and decoding against values worked out by hand."""

import math
from itertools import pairwise

import numpy as np
import pytest

from app.vision.boxes import anchors, areas, decode, iou, nms, shares_inside, to_pixels

BOXES = np.array([(0, 0, 10, 10), (1, 1, 11, 11), (0, 0, 10, 5), (20, 20, 30, 30)], np.float32)
SCORES = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
NONE = np.zeros((0, 4), np.float32)


def test_iou_of_known_boxes() -> None:
    np.testing.assert_allclose(iou(BOXES[:1], BOXES), [[1, 81 / 119, 0.5, 0]], atol=1e-6)
    priors = np.array([(0, 0, 2, 2), (0, 0, 1, 1), (4, 4, 6, 6), (8, 8, 9, 9)], np.float32)
    truths = np.array([(0, 0, 2, 2.2), (4, 4, 5, 5)], np.float32)
    overlap = iou(priors, truths)
    np.testing.assert_allclose(overlap.max(axis=1), [0.909091, 0.227273, 0.25, 0], atol=1e-5)
    np.testing.assert_allclose(overlap, iou(truths, priors).T)


def test_shares_of_known_boxes_in_others() -> None:
    np.testing.assert_allclose(
        shares_inside(BOXES[:3], BOXES), [[1, 0.81, 0.5, 0], [0.81, 1, 0.36, 0], [1, 0.72, 1, 0]]
    )
    assert shares_inside(BOXES[:1], BOXES[:1] * 3).tolist() == [[1]]


def test_no_boxes_are_an_ordinary_input() -> None:
    assert iou(NONE, BOXES).shape == (0, 4)
    assert iou(BOXES, NONE).shape == (4, 0)
    assert shares_inside(NONE, BOXES).shape == (0, 4)
    assert shares_inside(BOXES, NONE).shape == (4, 0)
    assert nms(NONE, np.zeros(0, np.float32), 0.5).shape == (0,)
    assert decode(NONE, NONE, [10, 10, 5, 5]).shape == (0, 4)


def test_boxes_without_area_overlap_with_nothing() -> None:
    flat = np.array([(3, 3, 3, 9), (8, 8, 2, 2)], np.float32)
    assert areas(flat).tolist() == [0, 0]
    assert not iou(flat, np.concatenate([flat, BOXES])).any()
    assert not shares_inside(flat, np.concatenate([flat, BOXES])).any()


@pytest.mark.parametrize(("threshold", "kept"), [(0.45, [0, 3]), (0.6, [0, 2, 3]), (0.7, [0, 1, 2, 3])])
def test_nms_of_known_boxes(threshold: float, kept: list[int]) -> None:
    assert nms(BOXES, SCORES, threshold).tolist() == kept


def test_nms_gives_the_best_first_and_keeps_the_order_of_equals() -> None:
    shuffled = [2, 3, 0, 1]
    assert nms(BOXES[shuffled], SCORES[shuffled], 0.6).tolist() == [2, 0, 1]
    apart = np.array([(i * 20, 0, i * 20 + 10, 10) for i in range(5)], np.float32)
    assert nms(apart, np.full(5, 0.5, np.float32), 0.5).tolist() == [0, 1, 2, 3, 4]
    assert nms(np.repeat(BOXES[:1], 3, axis=0), np.full(3, 0.5, np.float32), 0.5).tolist() == [0]


def test_anchors_of_an_ssd_with_six_levels() -> None:
    scales = [0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0]
    upper = [[scale] * 5 + [math.sqrt(scale * after)] for scale, after in pairwise(scales[1:])]
    boxes = anchors([19, 10, 5, 3, 2, 1], [[0.1, 0.2, 0.2], *upper], [[1, 2, 0.5], *([[1, 2, 0.5, 3, 0.3333, 1]] * 5)])
    assert boxes.shape == (1917, 4)
    expected = [(1 / 38, 1 / 38, w, h) for w, h in ((0.1, 0.1), (0.282843, 0.141421), (0.141421, 0.282843))]
    np.testing.assert_allclose(boxes[:3], expected, atol=1e-6)
    np.testing.assert_allclose(boxes[-1], [0.5, 0.5, 0.974679, 0.974679], atol=1e-6)
    np.testing.assert_allclose(boxes[3, :2], [3 / 38, 1 / 38], atol=1e-6)  # columns run before rows
    np.testing.assert_allclose(boxes[19 * 3, :2], [1 / 38, 3 / 38], atol=1e-6)


def test_decode_of_known_codes() -> None:
    prior = np.array([(0.5, 0.5, 0.2, 0.4)], np.float32)
    codes = np.array([(-1, 1.5, -3.465736, 2.027326)], np.float32)  # ty tx th tw
    box = decode(codes, prior, [10, 10, 5, 5])[0]
    centre, size = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    np.testing.assert_allclose(np.concatenate([centre, size]), [0.53, 0.46, 0.3, 0.2], atol=1e-6)
    still = decode(np.zeros((1, 4), np.float32), prior, [10, 10, 5, 5])
    np.testing.assert_allclose(still, [(0.4, 0.3, 0.6, 0.7)], atol=1e-6)


def test_pixels_are_clipped_to_the_picture() -> None:
    boxes = to_pixels(np.array([(-0.1, 0.25, 0.5, 1.2)], np.float32), 640, 360)
    np.testing.assert_allclose(boxes, [(0, 90, 320, 360)])
