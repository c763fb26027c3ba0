"""Labelled pictures: the form in which detection data passes between labelling, training and evaluation.

A set is a zip file ``NAME.zip`` with ``NAME/images/*.jpg`` and ``NAME/boxes.json`` in the COCO form (Lin et al. 2014):
boxes are ``x y width height`` in pixels, ``iscrowd`` 1 marks a region where nothing is known, and ``keypoints`` are the
five points of a face as ``x y v`` (v 0: unknown). Each image names in ``labelled`` the categories whose objects are all
marked in it; in the others a find that is not marked is no mistake.
"""

from dataclasses import dataclass

from numpy.typing import NDArray

from app.types import Array, Image

CATEGORIES = ("face", "person")  # in the order of `Sample.classes` and of a net's outputs
POINTS = ("eye_left", "eye_right", "nose", "mouth_left", "mouth_right")  # left and right as in the picture


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture and what is known to be in it; n objects, m regions."""

    name: str  # file name inside the set
    image: Image  # (H, W, 3) BGR
    boxes: Array  # (n, 4) x1 y1 x2 y2 in pixels
    classes: NDArray  # (n,) int64, rows of `CATEGORIES`
    points: Array  # (n, 5, 2) pixels, NaN where unknown
    ignored: Array  # (m, 4) regions where nothing is known
    labelled: frozenset[str]  # of `CATEGORIES`
