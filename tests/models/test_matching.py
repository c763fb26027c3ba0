"""Priors, which of them answers for which truth, and the codes; values of the SSD and RetinaFace papers' formulas."""

import numpy as np

from app.vision.boxes import decode
from models.detection.matching import (
    NEGATIVE,
    POSITIVE,
    UNKNOWN,
    decode_points,
    encode,
    encode_points,
    match,
    targets,
)
from models.detection.priors import VARIANCES, face_priors, person_priors

NO_BOXES, NO_POINTS = np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32)
PRIOR = np.array([[0.5, 0.5, 0.2, 0.4]], np.float32)
PRIORS = np.array([[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5], [0.75, 0.25, 0.1, 0.1]], np.float32)


def test_the_starters_priors() -> None:
    boxes = person_priors(300, 300).boxes()
    assert boxes.shape == (1917, 4)
    expected = [[0.026316, 0.026316, 0.1, 0.1], [0.026316, 0.026316, 0.282843, 0.141421]]
    np.testing.assert_allclose(boxes[:2], expected, atol=1e-6)
    np.testing.assert_allclose(boxes[2], [0.026316, 0.026316, 0.141421, 0.282843], atol=1e-6)
    np.testing.assert_allclose(boxes[-1, 2:], 0.974679, atol=1e-6)


def test_other_sizes_keep_the_priors_in_pixels() -> None:
    boxes = person_priors(320, 240).boxes()
    assert len(boxes) == 1554
    np.testing.assert_allclose(boxes[0] * [320, 240, 320, 240], [8, 8, 30, 30], atol=1e-4)
    np.testing.assert_allclose(boxes[1, 2:] * [320, 240], [300 * 0.282843, 300 * 0.141421], atol=1e-3)


def test_faces_have_squares_of_pixels() -> None:
    boxes = face_priors(320, 240).boxes() * [320, 240, 320, 240]
    assert len(boxes) == 2 * (30 * 40 + 15 * 20 + 8 * 10)
    np.testing.assert_allclose(boxes[:2], [[4, 4, 12, 12], [4, 4, 20, 20]], atol=1e-3)
    np.testing.assert_allclose(boxes[-1, 2:], 157, atol=1e-3)


def test_matching() -> None:
    priors = np.array([[0, 0, 2, 2], [0, 0, 1, 1], [4, 4, 6, 6], [8, 8, 9, 9]], np.float32)
    truths = np.array([[0, 0, 2, 2.2], [4, 4, 5, 5]], np.float32)
    assert match(truths, priors, 0.5).tolist() == [0, -1, 1, -1]


def test_of_two_truths_that_claim_one_prior_the_later_wins() -> None:
    priors = np.array([[0, 0, 2, 2]], np.float32)
    truths = np.array([[0, 0, 2, 2], [0, 0, 2, 1]], np.float32)
    assert match(truths, priors, 0.5).tolist() == [1]


def test_nothing_matches_nothing() -> None:
    assert match(NO_BOXES, PRIOR, 0.5).tolist() == [-1]


def test_codes() -> None:
    box = np.array([[0.53 - 0.15, 0.46 - 0.1, 0.53 + 0.15, 0.46 + 0.1]], np.float32)
    np.testing.assert_allclose(encode(box, PRIOR), [[-1, 1.5, -3.465736, 2.027326]], atol=1e-5)  # ty tx th tw
    np.testing.assert_allclose(decode(encode(box, PRIOR), PRIOR, VARIANCES), box, atol=1e-6)


def test_codes_of_points() -> None:
    points = np.full((1, 5, 2), (0.48, 0.52), np.float32)
    np.testing.assert_allclose(encode_points(points, PRIOR), [[-1, 0.5] * 5], atol=1e-5)
    np.testing.assert_allclose(decode_points(encode_points(points, PRIOR), PRIOR), points, atol=1e-6)


def test_targets_of_a_picture_without_truths() -> None:
    assert targets(NO_BOXES, NO_POINTS, NO_BOXES, PRIORS, 0.5, labelled=True).labels.tolist() == [NEGATIVE] * 3
    assert targets(NO_BOXES, NO_POINTS, NO_BOXES, PRIORS, 0.5, labelled=False).labels.tolist() == [UNKNOWN] * 3


def test_nothing_is_known_in_an_ignored_region() -> None:
    box, points = np.array([[0, 0, 0.5, 0.5]], np.float32), np.full((1, 5, 2), np.nan, np.float32)
    ignored = np.array([[0.5, 0, 1, 0.6], [0, 0, 0.4, 0.5]], np.float32)
    made = targets(box, points, ignored, PRIORS, 0.5, labelled=True)
    assert made.labels.tolist() == [POSITIVE, NEGATIVE, UNKNOWN]
    assert made.codes[0].tolist() == [0, 0, 0, 0] and np.isnan(made.points).all()
