"""The prior boxes of our detector, as parameters that also go into its card.

Persons keep the shapes of the starter net in pixels: its heads were trained on a square of 300 pixels, so the shares of
another picture's width and height differ. Faces have two squares a cell, growing by 1.67 from prior to prior.
"""

from dataclasses import asdict, dataclass
from typing import Any

from app.types import Array
from app.vision.boxes import anchors
from models.starter.person import SIDE, anchor_shapes

VARIANCES = (10.0, 10.0, 5.0, 5.0)  # of ty tx th tw; a point's are the first two
FACE_STRIDES = (8, 16, 32)
FACE_SIDES = ((12, 20), (34, 56), (94, 157))  # pixels, by stride


@dataclass(frozen=True, slots=True)
class Priors:
    """The arguments of `app.vision.boxes.anchors`, level by level."""

    grids: list[list[int]]  # rows and columns
    scales: list[list[float]]  # of each box of a cell
    ratios: list[list[float]]

    def boxes(self) -> Array:
        """Return the priors (n, 4) as ``cx cy w h`` in shares of the picture: rows, columns, boxes of a cell."""
        return anchors(**asdict(self))

    def parameters(self) -> dict[str, Any]:
        """Return what the card says of them."""
        return asdict(self)


def person_priors(width: int, height: int) -> Priors:
    """Return the priors of the six person maps for a picture of this size in pixels.

    A box of w by h pixels has the scale sqrt(w h / (W H)) and the ratio (w / W) / (h / H) in shares of the picture.
    """
    shapes = anchor_shapes()
    scale, ratio = SIDE / (width * height) ** 0.5, height / width
    grid, grids = [-(-height // 16), -(-width // 16)], []
    for _ in shapes["scales"]:
        grids.append(grid)
        grid = [-(-side // 2) for side in grid]
    return Priors(
        grids,
        [[value * scale for value in level] for level in shapes["scales"]],
        [[value * ratio for value in level] for level in shapes["ratios"]],
    )


def face_priors(width: int, height: int) -> Priors:
    """Return the square priors of the three face maps for a picture of this size in pixels."""
    return Priors(
        [[-(-height // stride), -(-width // stride)] for stride in FACE_STRIDES],
        [[side / (width * height) ** 0.5 for side in sides] for sides in FACE_SIDES],
        [[height / width] * len(sides) for sides in FACE_SIDES],
    )
