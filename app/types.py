"""The data that flows from a camera to an event.

Every type is frozen but `Track`, whose only writer is the tracker. Pixels are BGR uint8 (H, W, 3), boxes are
float32 ``x1 y1 x2 y2`` in pixels of the camera's picture, times named ``*_at`` are aware UTC datetimes, and
`Frame.clock` is seconds of the monotonic clock: durations are taken from it, so a jump of the wall clock moves
no decision.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Array = NDArray[np.float32]
Zones = tuple[tuple[tuple[float, float], ...], ...]  # polygons of (x, y) in shares 0..1 of the picture


class Picture(Protocol):
    """A decoded picture whose pixels are converted only when somebody asks for them."""

    @property
    def width(self) -> int:
        """Width in pixels."""

    @property
    def height(self) -> int:
        """Height in pixels."""

    def scaled(self, width: int, height: int) -> Image:
        """Return the whole picture resized by area averaging, BGR (height, width, 3)."""

    def luma(self, width: int, height: int) -> Image:
        """Return the whole picture resized by area averaging, grey (height, width)."""

    def image(self) -> Image:
        """Return the whole picture, BGR (self.height, self.width, 3)."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of one camera."""

    camera: str
    index: int  # counts decoded frames since the camera was opened
    captured_at: datetime
    clock: float  # monotonic seconds at capture
    picture: Picture
    decode_ms: float = 0.0  # CPU time of decoding since the frame taken before this one


@dataclass(frozen=True, slots=True)
class Detections:
    """Persons found in one frame; row i of each array is one person."""

    boxes: Array  # (n, 4)
    scores: Array  # (n,) in 0..1

    @staticmethod
    def empty() -> "Detections":
        """Return no detections."""
        return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, slots=True)
class Faces:
    """Faces found in one frame; row i of each array is one face."""

    boxes: Array  # (n, 4)
    scores: Array  # (n,) in 0..1
    landmarks: Array  # (n, 5, 2) pixels: eye on the picture's left, on its right, nose, mouth left, mouth right

    @staticmethod
    def empty() -> "Faces":
        """Return no faces."""
        return Faces(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(slots=True)
class Track:
    """One body followed through the picture. Written by the tracker alone."""

    id: int  # counts up per camera since its pipeline was made
    box: Array  # (4,) last or predicted box of the body
    born: float  # monotonic seconds
    seen: float  # monotonic seconds of the last frame in which body or face was found
    hits: int = 1
    confirmed: bool = False
    face: int | None = None  # row of this frame's `Faces`, None when no face was found on it now
    face_box: Array | None = None  # (4,) last face box, None before the first


class Reason(StrEnum):
    """Why a face was not used or a decision is what it is. Stable: consumers match on these codes."""

    FACE_TOO_SMALL = "face_too_small"
    LOW_DETECTION_SCORE = "low_detection_score"
    BLURRED = "blurred"
    EXTREME_POSE = "extreme_pose"
    FRAME_EDGE = "frame_edge"
    TOO_DARK = "too_dark"
    TOO_BRIGHT = "too_bright"
    LOW_QUALITY = "low_quality"  # of a photo to enrol: every measure is within its limits, all together are not
    NO_FACE = "no_face"
    SEVERAL_FACES = "several_faces"
    MATCHED = "matched"
    BELOW_THRESHOLD = "below_threshold"
    AMBIGUOUS = "ambiguous"  # the second person is too close to the first
    VOTES_DISAGREE = "votes_disagree"
    TOO_FEW_SHOTS = "too_few_shots"
    GROUP_NOT_ALLOWED = "group_not_allowed"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    ELSEWHERE_IN_PICTURE = "elsewhere_in_picture"  # the person is already another track of the same picture
    GALLERY_STALE = "gallery_stale"  # the worker could not confirm its gallery in time


@dataclass(frozen=True, slots=True)
class Quality:
    """How fit a face is for recognition."""

    score: float  # 0..1, for ranking the shots of one track
    reasons: tuple[Reason, ...]  # empty: usable
    eye_distance: float  # pixels of the source picture
    sharpness: float  # Laplacian variance of the aligned crop, blurred a little and brought to mean grey
    brightness: float  # mean grey level of the aligned crop, 0..255
    yaw: float  # -1..1, 0 is frontal: where the nose lies between the eyes

    @property
    def usable(self) -> bool:
        """Whether the face may be embedded."""
        return not self.reasons


@dataclass(frozen=True, slots=True)
class FaceShot:
    """One aligned face of one track."""

    track: int
    clock: float
    captured_at: datetime
    crop: Image  # (112, 112, 3) aligned
    box: Array  # (4,) face box in the frame
    quality: Quality


@dataclass(frozen=True, slots=True)
class Person:
    """What a worker must know about an enrolled person to decide."""

    id: str
    name: str  # empty in a worker: names stay in the database
    groups: frozenset[str] = frozenset()
    valid_from: datetime | None = None
    valid_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """The nearest person of a gallery and the distance to the second one."""

    person: Person | None  # None: the gallery is empty
    similarity: float  # cosine to the middle of the templates of `person`, -1..1
    margin: float  # similarity minus that of the nearest other person; 2 when there is no other


@dataclass(frozen=True, slots=True)
class GalleryChanges:
    """What a gallery must do to follow its building; row i of `vectors` is a template of ``owners[i]``."""

    sequence: int  # of the last change in here
    changed: frozenset[str]  # persons whose earlier templates are void
    persons: dict[str, Person]  # those of `changed` that have templates now
    owners: tuple[str, ...]  # (n,) person ids
    vectors: Array  # (n, d) unit rows


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The templates of a building; row i of each field is one of them, and those of a person stand together."""

    persons: tuple[str, ...]  # (n,) ids
    photos: tuple[str, ...]  # (n,) ids
    qualities: tuple[float, ...]  # (n,) of the photos, 0..1
    vectors: Array  # (n, d) unit rows


class Decision(StrEnum):
    """What the door is told."""

    GRANTED = "granted"  # a known person with the right to enter
    DENIED = "denied"  # a known person without it
    UNKNOWN = "unknown"  # a stranger
    UNDECIDED = "undecided"  # no face was good enough, or the votes did not agree


class CameraState(StrEnum):
    """What a camera is doing, as operators see it."""

    ONLINE = "online"
    OFFLINE = "offline"  # cannot be reached
    AUTH_FAILED = "auth_failed"
    STALLED = "stalled"  # connected, but no frames come
    NO_VIDEO = "no_video"  # answers, but has no stream we can decode


class TamperKind(StrEnum):
    """How somebody keeps a camera from seeing what it should, while its pictures come."""

    COVERED = "covered"  # dark, white or flat: a hand, tape, paint
    TURNED = "turned"  # sharp, but most of it shows something else than before
    DEFOCUSED = "defocused"  # the same view without fine detail: grease, spray, a turned lens


class Ending(StrEnum):
    """How tampering ended."""

    RECOVERED = "recovered"  # the camera sees what it saw before
    ACCEPTED = "accepted"  # it does not, or nobody can know: what it sees now counts as its view


@dataclass(frozen=True, slots=True)
class Tampering:
    """What is wrong with what a camera sees. A condition beside its state: it stays online."""

    kind: TamperKind
    detail: str  # for people; holds no secret
    since: datetime


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera as a worker sees it. `source` holds the password: never log this object's source."""

    id: str
    building: str
    name: str
    source: str = field(repr=False)  # rtsp://, rtsps:// or a file path
    door: str = ""
    groups: frozenset[str] = frozenset()  # groups that may enter; empty: every enrolled person
    fps: float = 5.0  # frames analysed per second
    transport: str = "tcp"  # tcp | udp
    ca_certificate: str | None = field(default=None, repr=False)  # PEM that rtsps:// is verified against
    loop: bool = False  # files only: start again at the end
    zones: Zones = ()  # where people count; empty: everywhere
    revision: int = 1  # raised by every change of the row
    owner_epoch: int = 0
    tampering: Tampering | None = field(default=None, compare=False)  # said before this watch and not ended


@dataclass(frozen=True, slots=True)
class AccessEvent:
    """One visit, decided."""

    id: str  # "{camera}.{owner_epoch}.{sequence}": unique by construction, so sending twice does no harm
    sequence: int  # counts events of this camera within one owner epoch, from 1
    owner_epoch: int
    building: str
    camera: str
    door: str
    visit: str
    decision: Decision
    reasons: tuple[Reason, ...]
    person: str | None  # id, for granted and denied only
    person_name: str | None
    similarity: float | None
    threshold: float | None  # None when there was no usable face to compare
    margin: float | None
    quality: float | None
    box: tuple[float, float, float, float] | None  # x1 y1 x2 y2, share of the picture, 0..1
    nets: dict[str, str]  # role -> name@hash
    captured_at: datetime  # of the frame that decided
    decided_at: datetime
    expires_at: datetime  # a grant is worth nothing after this
    latency_ms: dict[str, float]  # by stage, from the capture of the deciding frame
    snapshot: bytes | None = field(default=None, repr=False)  # JPEG of the whole picture
    portrait: bytes | None = field(default=None, repr=False)  # JPEG of the best face, from the full-size frame

    @property
    def type(self) -> str:
        """What consumers choose by, such as ``access.granted``."""
        return f"access.{self.decision}"


@dataclass(frozen=True, slots=True)
class CameraEvent:
    """A camera changed its state."""

    type: ClassVar[str] = "camera.state"  # what consumers choose by
    id: str
    sequence: int
    owner_epoch: int
    building: str
    camera: str
    state: CameraState
    previous: CameraState | None
    detail: str  # for people; holds no secret
    at: datetime


@dataclass(frozen=True, slots=True)
class TamperEvent:
    """Tampering with a camera began, or ended."""

    type: ClassVar[str] = "camera.tampered"  # what consumers choose by
    id: str
    sequence: int
    owner_epoch: int
    building: str
    camera: str
    kind: TamperKind
    since: datetime  # when it began
    ended_at: datetime | None  # None: it begins with this event
    ended_by: Ending | None  # None: it begins with this event
    detail: str  # for people: what is seen, or why it ended
    at: datetime


Event = AccessEvent | CameraEvent | TamperEvent
