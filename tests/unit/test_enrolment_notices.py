"""What is said about a photo that could be enrolled."""

import numpy as np
import pytest

from app.enrolment.notices import NEAR_DUPLICATE, Likeness, Limits, Notice, compared, notices
from app.gallery_health import WEAK_QUALITY
from app.types import Enrolled
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder

LIMITS = Limits(same=0.66, match=0.6, alike=0.37)
FINE = 0.9


@pytest.mark.parametrize(
    ("own", "other", "said"),
    [
        (None, -1.0, []),  # the first photo of a building
        (0.75, 0.3, []),
        (NEAR_DUPLICATE, 0.3, [Notice.NEAR_DUPLICATE]),
        (NEAR_DUPLICATE - 0.001, 0.3, []),
        (0.599, 0.3, [Notice.UNLIKE_OWN_PHOTOS]),
        (0.37, 0.3, [Notice.UNLIKE_OWN_PHOTOS]),
        (0.369, 0.3, [Notice.NOT_THE_SAME_PERSON]),
        (None, 0.6, [Notice.LOOKS_LIKE]),
        (None, 0.66, [Notice.DUPLICATE_FACE]),  # a new person who is enrolled already
        (0.2, 0.8, [Notice.DUPLICATE_FACE, Notice.NOT_THE_SAME_PERSON]),  # put under the wrong person
        (0.97, 0.62, [Notice.LOOKS_LIKE, Notice.NEAR_DUPLICATE]),
    ],
)
def test_what_similarities_say(own: float | None, other: float, said: list[Notice]) -> None:
    assert list(notices(FINE, Likeness(own, other), LIMITS)) == said


def test_a_poor_photo_is_told() -> None:
    assert notices(WEAK_QUALITY, Likeness(None, -1), LIMITS) == ()
    assert notices(WEAK_QUALITY - 0.01, Likeness(None, -1), LIMITS) == (Notice.LOW_QUALITY,)


def test_the_limits_are_those_of_bulk_enrolment_and_of_the_doors(face_nets: tuple[FaceFinder, Embedder]) -> None:
    embedder = face_nets[1]
    limits = Limits.of(embedder, map(str, range(99)), 1e-3)
    assert limits.match == embedder.threshold(100, 1e-3)
    assert limits.alike < limits.match < limits.same < NEAR_DUPLICATE


def test_a_face_is_compared_with_the_persons_own_photos_and_with_everybody_elses() -> None:
    vectors = np.eye(4, dtype=np.float32)
    enrolled = Enrolled(("ann", "ann", "ben", "cid"), ("p1", "p2", "p3", "p4"), (0.9,) * 4, vectors)
    face = np.array([0.5, 0.7, 0.1, 0.5], np.float32)
    assert compared(face, "ann", enrolled) == Likeness(pytest.approx(0.7), pytest.approx(0.5), "p2", "cid")
    assert compared(face, None, enrolled) == Likeness(None, pytest.approx(0.7), None, "ann")
    nobody = Enrolled((), (), (), np.zeros((0, 0), np.float32))
    assert compared(face, "ann", nobody) == Likeness(None, -1.0)
