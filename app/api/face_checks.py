"""Face checks: how fit a photo is for enrolment, told before anybody is enrolled. Nothing is kept."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.api.auth import needs_here
from app.api.limits import limited
from app.api.photos import UNREADABLE, Upload
from app.api.problem_types import PROBLEM_TYPES
from app.api.problems import documented
from app.api.schemas import BuildingId
from app.api.services import Serving
from app.errors import PhotoError
from app.photos import MAX_BYTES, MIN_QUALITY, Photo, PhotoFace, find_face, read_photo
from app.store import buildings
from app.store.records import Scope
from app.types import Reason
from app.vision.faces import MAX_YAW, MIN_BRIGHTNESS, MIN_EYE_DISTANCE, MIN_FACE_SCORE, MIN_SHARPNESS

router = APIRouter(prefix="/buildings/{building}/face-checks", tags=["faces"])

ADVICE = {
    Reason.FACE_TOO_SMALL: "Come closer, or send the photo in its full size.",
    Reason.LOW_DETECTION_SCORE: "Show the whole face, without a hand, mask or scarf before it.",
    Reason.BLURRED: "Hold the camera still and let it focus on the face.",
    Reason.EXTREME_POSE: "Look straight into the camera.",
    Reason.FRAME_EDGE: "Move the face into the middle: part of it is outside the picture.",
    Reason.TOO_DARK: "Take the photo where there is more light on the face.",
    Reason.TOO_BRIGHT: "Turn the face out of the glaring light, or expose the photo less.",
    Reason.LOW_QUALITY: "Take a sharper and larger photo, looking straight into the camera.",
}
_FINE: dict[str, JsonValue] = {
    "usable": True,
    "reasons": [],
    "advice": [],
    "face": {
        "box": [0.31, 0.18, 0.66, 0.62],
        "quality": 0.87,
        "eye_distance": {"value": 148.2, "at_least": 16.0, "at_most": None, "passes": True},
        "score": {"value": 0.94, "at_least": 0.8, "at_most": None, "passes": True},
        "sharpness": {"value": 21.7, "at_least": 4.0, "at_most": None, "passes": True},
        "brightness": {"value": 118.4, "at_least": 25.0, "at_most": None, "passes": True},
        "yaw": {"value": -0.08, "at_least": -0.65, "at_most": 0.65, "passes": True},
    },
}
_FACELESS: dict[str, JsonValue] = {
    "usable": False,
    "reasons": ["no_face"],
    "advice": ["Take a photo of the face from the front, in even light."],
    "face": None,
}
Share = Annotated[float, Field(ge=0, le=1)]


class Measure(BaseModel):
    """One figure and the limits that it is held against."""

    value: float
    at_least: float | None
    at_most: float | None
    passes: bool

    @staticmethod
    def of(value: float, at_least: float | None = None, at_most: float | None = None) -> "Measure":
        """Return a figure with its limits."""
        passes = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
        return Measure(value=round(value, 4), at_least=at_least, at_most=at_most, passes=passes)


class FaceRead(BaseModel):
    """The one face of a photo."""

    box: tuple[Share, Share, Share, Share] = Field(description="x1, y1, x2, y2 in shares of the upright picture")
    quality: float = Field(
        description=f"0 to 1, higher is better; what `quality` of the enrolled photo would be, at least {MIN_QUALITY}"
    )
    eye_distance: Measure = Field(description="pixels between the eyes, in the photo as it is kept")
    score: Measure = Field(description="how sure it is that this is a face, 0 to 1")
    sharpness: Measure = Field(description="variance of the Laplacian of the aligned face")
    brightness: Measure = Field(description="mean grey level of the face, 0 to 255")
    yaw: Measure = Field(
        description="-1 to 1, 0 looks straight ahead; a head held too high or low is in `reasons` alone"
    )

    @staticmethod
    def of(photo: Photo, face: PhotoFace) -> "FaceRead":
        """Return the answer for a judged face."""
        quality, size = face.quality, (photo.width, photo.height, photo.width, photo.height)
        x1, y1, x2, y2 = (min(max(float(edge) / side, 0), 1) for edge, side in zip(face.box, size, strict=True))
        return FaceRead(
            box=(round(x1, 4), round(y1, 4), round(x2, 4), round(y2, 4)),
            quality=round(quality.score, 4),
            eye_distance=Measure.of(quality.eye_distance, MIN_EYE_DISTANCE),
            score=Measure.of(face.score, MIN_FACE_SCORE),
            sharpness=Measure.of(quality.sharpness, MIN_SHARPNESS),
            brightness=Measure.of(quality.brightness, MIN_BRIGHTNESS),
            yaw=Measure.of(quality.yaw, -MAX_YAW, MAX_YAW),
        )


class FaceCheckRead(BaseModel):
    """Whether a photo can be enrolled, and what is to be done if not."""

    model_config = ConfigDict(json_schema_extra={"examples": [_FINE, _FACELESS]})

    usable: bool
    reasons: list[str] = Field(
        description="what is wrong: no_face, several_faces, face_not_upright, or the codes of face-unusable"
    )
    advice: list[str] = Field(description="for people, one sentence for each of `reasons`")
    face: FaceRead | None = Field(description="null when there is not exactly one upright face")


@router.post(
    "",
    dependencies=[Depends(needs_here(Scope.OPERATOR)), Depends(limited("identify"))],
    responses=documented("not-found", "too-many-requests", *UNREADABLE),
)
def check_face(services: Serving, building: BuildingId, photo: Upload) -> FaceCheckRead:
    """Judge a photo as enrolment would, and keep nothing. An unusable face is an answer too, with status 200."""
    with services.store.reading() as session:
        buildings.get(session, building)
    with services.turnstile.turn():
        accepted = read_photo(photo.file.read(MAX_BYTES + 1))
        try:
            face = find_face(accepted, services.finder)
        except PhotoError as error:
            reason, advice = error.code.replace("-", "_"), PROBLEM_TYPES[error.code].advice
            return FaceCheckRead(usable=False, reasons=[reason], advice=[advice], face=None)
    return FaceCheckRead(
        usable=face.quality.usable,
        reasons=[str(reason) for reason in face.quality.reasons],
        advice=[ADVICE[reason] for reason in face.quality.reasons],
        face=FaceRead.of(accepted, face),
    )
