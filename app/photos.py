"""Enrolment photos: what may come in, and the one usable face that must be on them.

An upload is judged by its content, never by its name, and its size is read from the header before a pixel is decoded.
What is kept is a JPEG of our own: upright, without the upload's metadata (a telephone writes the place and time into
it), and no larger than recognition needs. The face is looked for in exactly those pixels, so that a later embedder
sees what this one saw.
"""

import io
import struct
import zlib
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import ExifTags, Image

from app.errors import PhotoError
from app.types import Array, Faces, Quality, Reason
from app.types import Image as Pixels
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder, align, assess

MAX_BYTES = 10_000_000
MAX_PIXELS = 40_000_000
MIN_SIDE = 96  # pixels; a smaller picture holds no face that is worth keeping
LONGEST = 1600  # pixels of the kept JPEG: a face that fills a tenth of it is still larger than the embedder's input
JPEG_QUALITY = 92
MEDIA_TYPE = "image/jpeg"  # of what is kept

SECOND_SCORE = 0.7  # a second face counts when the finder is this sure of it
SECOND_AREA = 0.15  # and its box has this share of the largest one's: smaller ones are passers-by and posters
CUT_REACH = 2.2  # of the face's longer side: the whole head
CUT_LEAST = 112  # pixels of either side

# Strangers whom a camera sees blurred reach a template of a blurred photo far more often than the card promises. Where
# that says 1e-4, it is 9.2e-3 of them with templates of a quality below .6, and with all from .6, .65, .7 and .75 on
# 1.1e-3, 7.5e-4, 5.0e-4, 2.4e-4 (947 photos of 270 people of CelebA blurred by degrees, 519 strangers blurred strongly;
# chosen on one half of the people, of the other it is 5.2e-4 from .65 on). .010 of press photographs and .21 of damaged
# faces at a door are refused for it. A shot needs no such limit: blurred ones are no more like sharp templates.
MIN_QUALITY = 0.65

SURE = 0.8  # a turned copy shows a face when the finder is this sure of it
CLEARLY = 0.05  # and surer than of the photo as it is by this

_TURNS = {  # EXIF orientation -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA"}
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)  # Pillow on bad bytes


@dataclass(frozen=True, slots=True)
class Photo:
    """An accepted photo: upright and free of metadata."""

    image: Pixels  # (height, width, 3) BGR, decoded from `encoded`
    encoded: bytes = field(repr=False)  # what is kept
    media_type: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class PhotoFace:
    """The one face of a photo, judged."""

    crop: Pixels  # (112, 112, 3) aligned
    quality: Quality
    score: float  # of the finder, 0..1
    box: Array  # (4,) x1 y1 x2 y2 in pixels of the kept photo


@dataclass(frozen=True, slots=True)
class Enrolment:
    """The one face of a photo."""

    vector: Array  # (d,) unit length
    quality: Quality
    box: Array  # (4,) x1 y1 x2 y2 in pixels of the kept photo
    embedder: str  # id of the net that made the vector


def read_photo(data: bytes) -> Photo:
    """Decode an upload, turn it upright and make the JPEG that is kept.

    Raises:
        PhotoError: with the code of what is wrong: ``empty-upload``, ``upload-too-large``,
            ``unsupported-media-type``, ``truncated-image``, ``damaged-image``, ``too-many-pixels``,
            ``image-too-small``, ``animated-image``, ``unsupported-colour-mode`` or ``unsupported-bit-depth``.
    """
    if not data:
        raise PhotoError("empty-upload", "The upload holds no bytes.")
    if len(data) > MAX_BYTES:
        raise PhotoError("upload-too-large", f"The photo has {len(data)} bytes; at most {MAX_BYTES} are read.")
    form = _form(data)
    try:
        with Image.open(io.BytesIO(data), formats=(form,)) as picture:
            _check(picture, form, data)
            encoded = _normalised(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PhotoError("too-many-pixels", f"At most {MAX_PIXELS} pixels are decoded.") from error
    except _DAMAGE as error:
        if _ends_early(form, data):
            raise PhotoError("truncated-image", f"The {form} ends before its picture does.") from error
        raise PhotoError("damaged-image", f"The {form} cannot be decoded.") from error
    return kept_photo(encoded)


def kept_photo(encoded: bytes) -> Photo:
    """Return a photo as it is kept, pixel by pixel what was enrolled.

    Raises:
        PhotoError: ``damaged-image``.
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=("JPEG",)) as kept:
            image = np.ascontiguousarray(np.asarray(kept)[:, :, ::-1])
    except _DAMAGE as error:
        raise PhotoError("damaged-image", "The kept photo cannot be decoded.") from error
    return Photo(image, encoded, MEDIA_TYPE, image.shape[1], image.shape[0])


def find_face(photo: Photo, finder: FaceFinder, least: float = MIN_QUALITY) -> PhotoFace:
    """Find the one face of a photo and judge it, usable or not, more strictly than a shot at a door.

    Args:
        photo: the photo.
        finder: the face net.
        least: quality 0..1 that the face must have.

    Raises:
        PhotoError: ``no-face``, ``face-not-upright`` or ``several-faces``.
    """
    faces = finder.find(photo.image)
    _check_upright(faces, photo, finder)
    faces = _closer(photo.image, faces.boxes[_only(faces)], finder)
    if not len(faces):
        raise PhotoError("no-face", "What looks like a face from afar is none.")
    row = _only(faces)
    box, score, landmarks = faces.boxes[row], float(faces.scores[row]), faces.landmarks[row]
    crop = align(photo.image, landmarks)
    quality = assess(photo.width, photo.height, box, score, landmarks, crop)
    if quality.usable and quality.score < least:
        quality = replace(quality, reasons=(Reason.LOW_QUALITY,))
    return PhotoFace(crop, quality, score, box)


def enrol(photo: Photo, finder: FaceFinder, embedder: Embedder, least: float = MIN_QUALITY) -> Enrolment:
    """Find the one usable face of a photo and embed it.

    Args:
        photo: the photo.
        finder: the face net.
        embedder: the net that makes the vector.
        least: quality 0..1 that the face must have; 0 judges it as a door does.

    Raises:
        PhotoError: ``no-face``, ``face-not-upright``, ``several-faces`` or ``face-unusable`` (with reason codes).
    """
    face = find_face(photo, finder, least)
    if not face.quality.usable:
        raise PhotoError(
            "face-unusable",
            f"The face cannot be recognised well: {', '.join(face.quality.reasons)}.",
            tuple(str(reason) for reason in face.quality.reasons),
        )
    return Enrolment(embedder.embed([face.crop])[0], face.quality, face.box, embedder.card.id)


def cut_face(snapshot: bytes, box: tuple[float, float, float, float], finder: FaceFinder) -> bytes:
    """Return the head around the face of a kept picture that is nearest to a box, as a JPEG to enrol from.

    Args:
        snapshot: a JPEG that this system made.
        box: x1 y1 x2 y2 of the face in shares of the picture, perhaps of a moment before or after.

    Raises:
        PhotoError: ``no-face``.
    """
    with Image.open(io.BytesIO(snapshot), formats=("JPEG",)) as picture:
        image = np.ascontiguousarray(np.asarray(picture.convert("RGB"))[:, :, ::-1])
    wanted = np.array(box) * np.tile([image.shape[1], image.shape[0]], 2)
    faces = finder.find(image)
    if not len(faces):
        raise PhotoError("no-face", "No face was found on the event's picture.")
    centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
    nearest = faces.boxes[np.linalg.norm(centres - (wanted[:2] + wanted[2:]) / 2, axis=1).argmin()]
    out = io.BytesIO()
    Image.fromarray(_head(image, nearest)[:, :, ::-1]).save(out, "JPEG", quality=JPEG_QUALITY)
    return out.getvalue()


def _head(image: Pixels, box: Array) -> Pixels:
    """Return the square around a face box (4,), moved where the picture ends, as far as there is room."""
    room = np.array([image.shape[1], image.shape[0]])
    side = max(CUT_REACH * float((box[2:] - box[:2]).max()), CUT_LEAST)
    size = np.minimum(np.ceil(side), room).astype(int)
    left, top = np.clip((box[:2] + box[2:] - size) / 2, 0, room - size).astype(int).tolist()
    return image[top : top + size[1], left : left + size[0]]


def _form(data: bytes) -> str:
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    raise PhotoError("unsupported-media-type", "The content is not a JPEG, PNG or WebP picture.")


def _check(picture: Image.Image, form: str, data: bytes) -> None:
    """Judge what the header says. The JPEG of several pictures that telephones write is a JPEG to us."""
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise PhotoError("too-many-pixels", f"{width} x {height} is more than {MAX_PIXELS} pixels.")
    if min(width, height) < MIN_SIDE:
        raise PhotoError("image-too-small", f"{width} x {height}: each side needs {MIN_SIDE} pixels.")
    if form != "JPEG" and getattr(picture, "is_animated", False):
        raise PhotoError("animated-image", "The picture moves; a still one is needed.")
    if form == "PNG" and data[24] > 8:  # IHDR: Pillow would cut 16 bit colours down without a word
        raise PhotoError("unsupported-bit-depth", f"The PNG has {data[24]} bits a channel; 8 are supported.")
    if picture.mode not in _MODES:
        raise PhotoError("unsupported-colour-mode", f"Colours are stored as {picture.mode}; save the photo as RGB.")


def _normalised(picture: Image.Image) -> bytes:
    """Return the upright RGB JPEG without metadata."""
    if picture.mode in ("1", "P", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")  # a palette cannot be shrunk smoothly
    picture.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)  # decodes a large JPEG at a fraction of its size
    upright = _upright(picture)
    if upright.mode in ("LA", "RGBA"):
        rgba = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    upright = upright.convert("RGB")
    upright.info.clear()  # else comments and the like would be written again
    out = io.BytesIO()
    upright.save(out, "JPEG", quality=JPEG_QUALITY)
    return out.getvalue()


def _upright(picture: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF says. Pillow's own would write the other fields anew, and many hold nonsense."""
    turn = _TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    return picture if turn is None else picture.transpose(turn)


def _ends_early(form: str, data: bytes) -> bool:
    """Whether the end that every file of this form has is missing."""
    if form == "JPEG":
        return b"\xff\xd9" not in data[-1024:]
    if form == "PNG":
        return b"IEND" not in data
    return len(data) < 8 + int.from_bytes(data[4:8], "little")


def _check_upright(faces: Faces, photo: Photo, finder: FaceFinder) -> None:
    """Compare with turned copies: the finder sees a face that lies too, less surely, and puts its points in the wrong
    places, so that somebody else would be enrolled."""
    seen = _best(faces)
    for quarters in (1, 2, 3):
        turned = _best(finder.find(np.ascontiguousarray(np.rot90(photo.image, quarters))))
        if turned >= max(SURE, seen + CLEARLY):
            raise PhotoError("face-not-upright", "The face lies on its side or upside down: turn the photo.")
    if not seen:
        raise PhotoError("no-face", "No face was found on the photo.")


def _best(faces: Faces) -> float:
    """Return the highest score, 0 without a face."""
    return float(faces.scores.max(initial=0))


def _only(faces: Faces) -> int:
    """Return the row of the largest face."""
    areas = (faces.boxes[:, 2] - faces.boxes[:, 0]) * (faces.boxes[:, 3] - faces.boxes[:, 1])
    row = int(areas.argmax())
    counted = (faces.scores >= SECOND_SCORE) & (areas >= SECOND_AREA * areas[row])
    counted[row] = True
    if counted.sum() > 1:
        raise PhotoError("several-faces", f"{int(counted.sum())} faces were found; the photo must show one person.")
    return row


def _closer(image: Pixels, box: Array, finder: FaceFinder) -> Faces:
    """Return the faces of a second look at one face and little around it.

    The finder shrinks what it searches; a face that fills a sixteenth of the photo has 20 pixels then, and its points
    are off by so much that its template is a tenth to a quarter less similar.
    """
    centre, reach = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).max()
    left, top = np.maximum(centre - reach, 0).astype(int)
    right, bottom = (centre + reach).astype(int)
    faces = finder.find(np.ascontiguousarray(image[top:bottom, left:right]))
    corner = np.array([left, top], np.float32)
    return Faces(faces.boxes + np.tile(corner, 2), faces.scores, faces.landmarks + corner)
