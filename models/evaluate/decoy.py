"""A still person pasted into every frame: what a motion filter should drop and a plain net cannot.

The published evaluation pastes one picture of a humanoid robot at places chosen by hand. Here the figure is a person
cut out of the clips themselves, figure and place are chosen by rule, so nothing has to be brought along. Both rules
ask the plain net, under the noise of the evaluation: a figure that the net does not take for a person tests nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from app.errors import SetupError
from app.types import Array, Image
from app.vision.boxes import iou
from app.vision.detector import Detector
from app.vision.picture import ArrayPicture
from models.evaluate.visits import PEOPLE, VisitClip, components, masks

LOOKED_AT = 20  # frames of a clip, evenly chosen among those with a candidate
LEAST_HEIGHT = 0.25  # of the picture: a smaller figure is coarse when it is pasted
SLENDER = (0.2, 0.7)  # width by height of somebody upright
LEAST_OVERLAP = 0.5  # IoU of a find with a figure for the find to be this figure
HEIGHT = 0.5  # of the picture in which it is pasted
STEPS = 8  # places are a grid in steps of this part of the picture
FIGURES = 3  # the best ones of other clips, which are tried
PLACES = 12  # the ones that people cover least, at which the net is asked
DRAWS = 3  # of the noise at each place

Disturb = Callable[[Image, str, int], Image]  # (picture, clip's name, frame) -> the picture as the net is shown it


@dataclass(frozen=True, slots=True)
class Figure:
    """Somebody cut out of a frame."""

    image: Image  # (h, w, 3) BGR
    alpha: NDArray[np.bool_]  # (h, w) where it covers what is behind
    clip: str
    frame: int
    score: float  # of the plain net on the frame that it was cut from


@dataclass(frozen=True, slots=True)
class Decoy:
    """A figure in its size and place for one clip."""

    figure: Figure
    x: int
    y: int
    score: float = 0.0  # of the plain net in this place, in the first frame

    @property
    def box(self) -> Array:
        """The box (4,) in pixels that the figure fills."""
        height, width = self.figure.alpha.shape
        return np.array([self.x, self.y, self.x + width, self.y + height], np.float32)

    def pasted(self, image: Image) -> Image:
        """Return a BGR picture (H, W, 3) with the figure in it: a hard edge, nothing is blended."""
        height, width = self.figure.alpha.shape
        pasted = image.copy()
        target = pasted[self.y : self.y + height, self.x : self.x + width]
        target[self.figure.alpha] = self.figure.image[self.figure.alpha]
        return pasted


def make_decoys(clips: Sequence[VisitClip], net: Detector, disturb: Disturb) -> dict[str, Decoy]:
    """Return the decoy of each clip by its name, see `choose_figures` and `make_decoy`.

    Raises:
        SetupError: no clip has a figure that the net finds.
    """
    figures = choose_figures(clips, net, disturb)
    return {clip.name: make_decoy(clip, figures, net, disturb) for clip in clips}


def choose_figures(clips: Sequence[VisitClip], net: Detector, disturb: Disturb) -> list[Figure]:
    """Return the best figure of each clip that has one, the one that the net is surest of first.

    Candidates are components of a mask that touch no edge of the picture (whole), are .2 to .7 as wide as high
    (upright) and at least a quarter of the picture high (large; if the net finds no such, any height will do).

    Raises:
        SetupError: no clip has a candidate that the net finds.
    """
    for least_height in (LEAST_HEIGHT, 0.0):
        found = [figure for clip in clips if (figure := _best(clip, net, disturb, least_height)) is not None]
        if found:
            return sorted(found, key=lambda figure: -figure.score)
    raise SetupError("no clip shows a whole, upright person that the net finds: --decoy needs one to cut out")


def make_decoy(clip: VisitClip, figures: Sequence[Figure], net: Detector, disturb: Disturb) -> Decoy:
    """Return the decoy of a clip: a figure of another clip, its own if there is no other, half as high as the picture.

    Each of the three best figures is tried in the first frame at the twelve places of a grid that masks of moving
    people cover least. The figure and place of which the net is surest are taken; among equals the first.
    """
    _, first = next(clip.frames())
    height, width = first.shape[:2]
    coverage = _coverage(clip, width, height)
    others = [figure for figure in figures if figure.clip != clip.name][:FIGURES] or figures[:1]
    decoys = [
        Decoy(figure, x, y)
        for figure in (_fitted(other, width, height) for other in others)
        for x, y in _free_places(coverage, figure.alpha.shape)
    ]
    scores = [
        float(np.mean([_score(net, disturb(one.pasted(first), clip.name, draw), one.box) for draw in range(DRAWS)]))
        for one in decoys
    ]
    best = int(np.argmax(scores))
    return replace(decoys[best], score=scores[best])


def _best(clip: VisitClip, net: Detector, disturb: Disturb, least_height: float) -> Figure | None:
    candidates = {index: rows for index, mask in masks(clip.masks) if len(rows := _candidates(mask, least_height))}
    wanted = set(list(candidates)[:: max(1, -(-len(candidates) // LOOKED_AT))])
    shown = {index: image for index, image in clip.frames() if index in wanted} if wanted else {}
    figures = [
        _cut_out(clip.name, index, shown[index], mask, int(label), net, disturb)
        for index, mask in masks(clip.masks)
        if index in shown
        for label in candidates[index]
    ]
    best = max(figures, key=lambda figure: figure.score, default=None)
    return best if best and best.score > 0 else None


def _candidates(mask: Image, least_height: float) -> NDArray[np.int64]:
    """Return the labels of the components of a mask (H, W) that show somebody whole, upright and large."""
    height, width = mask.shape
    x, y, w, h, _ = components(mask)[1].T
    whole = (x > 0) & (y > 0) & (x + w < width) & (y + h < height)
    upright = (w >= SLENDER[0] * h) & (w <= SLENDER[1] * h)
    return np.flatnonzero(whole & upright & (h >= least_height * height)) + 1


def _cut_out(clip: str, index: int, image: Image, mask: Image, label: int, net: Detector, disturb: Disturb) -> Figure:
    """Return a component as a figure, with the net's score of it as it stands there."""
    height, width = image.shape[:2]
    alpha = ((components(mask)[0] == label) & (mask == PEOPLE)).astype(np.uint8)
    alpha = np.asarray(cv2.resize(alpha, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
    x, y, w, h = cv2.boundingRect(alpha)
    score = _score(net, disturb(image, clip, index), np.array([x, y, x + w, y + h], np.float32))
    return Figure(image[y : y + h, x : x + w].copy(), alpha[y : y + h, x : x + w] > 0, clip, index, score)


def _score(net: Detector, image: Image, box: Array) -> float:
    """Return the highest score of a find that lies on a box (4,); 0 if there is none."""
    found = net.finish(net.look(ArrayPicture(image)))
    scores = found.scores[iou(found.boxes, box[None])[:, 0] >= LEAST_OVERLAP]
    return float(scores.max()) if len(scores) else 0.0


def _fitted(figure: Figure, width: int, height: int) -> Figure:
    """Return a figure in the size that it has in a picture of this size."""
    rows, columns = figure.alpha.shape
    scale = min(HEIGHT * height / rows, width / columns)
    size = (max(1, int(columns * scale)), max(1, int(rows * scale)))
    image = np.asarray(cv2.resize(figure.image, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    alpha = cv2.resize(figure.alpha.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    return replace(figure, image=image, alpha=alpha)


def _coverage(clip: VisitClip, width: int, height: int) -> Array:
    """Return (height, width) in how many frames people cover each pixel."""
    total = np.zeros((height, width), np.float32)
    for _, mask in masks(clip.masks):
        people = (mask == PEOPLE).astype(np.uint8)
        total += cv2.resize(people, (width, height), interpolation=cv2.INTER_NEAREST)
    return total


def _free_places(coverage: Array, shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return the places x, y at which a figure of this shape (h, w) is covered least, the least covered first."""
    sums, (height, width) = cv2.integral(coverage), shape  # sums of everything above and left of each corner
    rows, columns = coverage.shape
    places = [
        (x, y)
        for y in range(0, rows - height + 1, max(1, rows // STEPS))
        for x in range(0, columns - width + 1, max(1, columns // STEPS))
    ]

    def covered(place: tuple[int, int]) -> float:
        x, y = place
        return float(sums[y + height, x + width] - sums[y, x + width] - sums[y + height, x] + sums[y, x])

    return sorted(places, key=covered)[:PLACES]
