"""The two pictures of an event: the scene, small, and the face that decided, close.

Both are made only when there is an event, from the frame that the visit keeps as its best, so a frame without one
costs nothing and no picture waits in memory.
"""

import cv2
import numpy as np

from app.types import Array, Image, Picture

SNAPSHOT_WIDTH = 640  # pixels: enough to know a face by, small enough to keep
SNAPSHOT_QUALITY = 82
PORTRAIT_REACH = 2.2  # of the face's longer side: the whole head, and what an enrolment's second look needs
PORTRAIT_LEAST = 112  # pixels of either side: less is refused as an enrolment photo
PORTRAIT_LONGEST = 320  # pixels: eyes are then some 50 apart, three times what recognition needs
PORTRAIT_QUALITY = 92  # as enrolment photos are kept


def snapshot(picture: Picture) -> bytes:
    """Return the whole picture as a JPEG of at most `SNAPSHOT_WIDTH` pixels."""
    width = min(picture.width, SNAPSHOT_WIDTH)
    return encoded(picture.scaled(width, round(picture.height * width / picture.width)), SNAPSHOT_QUALITY)


def portrait(picture: Picture, box: Array) -> bytes:
    """Return the head around a face box (4,) in pixels of the picture as a JPEG, cut from the full size."""
    image = _around(picture.image(), box)
    shrink = PORTRAIT_LONGEST / max(image.shape[:2])
    if shrink < 1:
        size = round(image.shape[1] * shrink), round(image.shape[0] * shrink)
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return encoded(image, PORTRAIT_QUALITY)


def encoded(image: Image, quality: int) -> bytes:
    """Return a BGR picture (H, W, 3) as a JPEG."""
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _around(image: Image, box: Array) -> Image:
    """Return the square around a face; at the picture's edge it is moved, not cut, as far as there is room."""
    room = np.array([image.shape[1], image.shape[0]])
    side = max(PORTRAIT_REACH * float((box[2:] - box[:2]).max()), PORTRAIT_LEAST)
    size = np.minimum(np.ceil(side), room).astype(int)
    left, top = np.clip((box[:2] + box[2:] - size) / 2, 0, room - size).astype(int).tolist()
    return image[top : top + size[1], left : left + size[0]]
