"""Photos of persons: each is judged, embedded and kept; the person is recognised from the answer on."""

import hashlib
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, File, Response, UploadFile
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.api.auth import Acting, needs_here
from app.api.notices import EXAMPLE, Notices, noticed
from app.api.problems import documented
from app.api.receipts import INCOMPLETE, ReceiptRead, answer
from app.api.schemas import BuildingId, Id, Page
from app.api.services import Serving
from app.photos import LONGEST, MAX_BYTES, MAX_PIXELS, MIN_SIDE, Enrolment, Photo, enrol, read_photo
from app.store import audit, erasure, people
from app.store.records import NewPhoto, PhotoRecord, Scope

router = APIRouter(prefix="/buildings/{building}/persons/{person}/photos", tags=["photos"])
READ = [Depends(needs_here(Scope.VIEWER))]
WRITE = [Depends(needs_here(Scope.OPERATOR))]

UNREADABLE = (  # what a file can be refused for that is no picture for us
    "upload-too-large",
    "unsupported-media-type",
    "empty-upload",
    "truncated-image",
    "damaged-image",
    "too-many-pixels",
    "image-too-small",
    "animated-image",
    "unsupported-colour-mode",
    "unsupported-bit-depth",
    "too-busy",
)
NO_USABLE_FACE = ("no-face", "several-faces", "face-not-upright", "face-unusable")
_PRIVATE = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"}


Upload = Annotated[UploadFile, File(description="the picture", examples=["the bytes of eileen.jpg"])]


_PHOTO: dict[str, JsonValue] = {
    "id": "pho_5d0f6c1b9a3e4d2b8c7a",
    "person": "per_1f0c6f4b5a0d4e2b9c7a",
    "media_type": "image/jpeg",
    "width": 960,
    "height": 1200,
    "quality": 0.87,
    "origin": "upload",
    "created_at": "2026-01-01T08:00:00Z",
}


class PhotoRead(BaseModel):
    """A photo without its picture."""

    model_config = ConfigDict(json_schema_extra={"examples": [_PHOTO]})

    id: str
    person: str
    media_type: str
    width: int
    height: int
    quality: float = Field(description="0 to 1, higher is better")
    origin: str = Field(description="upload, event or import")
    created_at: datetime

    @staticmethod
    def of(record: PhotoRecord) -> "PhotoRead":
        """Return the answer for a record."""
        return PhotoRead(
            id=record.id,
            person=record.person,
            media_type=record.media_type,
            width=record.width,
            height=record.height,
            quality=record.quality,
            origin=record.origin,
            created_at=record.created_at,
        )


class PhotoEnrolled(PhotoRead):
    """A photo that was enrolled now, and what is remarkable about it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_PHOTO, "notices": [EXAMPLE]}]})

    notices: Notices


@router.get("", dependencies=READ, responses=documented("not-found"))
def list_photos(services: Serving, building: BuildingId, person: Id) -> Page[PhotoRead]:
    """List a person's photos, oldest first; there are few, so this is always the last page."""
    with services.store.reading() as session:
        found = people.photos(session, building, person)
    return Page(items=[PhotoRead.of(record) for record in found], next_page_token="")


@router.post(
    "",
    status_code=201,
    dependencies=WRITE,
    responses=documented("not-found", "duplicate-photo", "other-embedder", *UNREADABLE, *NO_USABLE_FACE),
    description=f"""Add a photo that shows the person's face, and nobody else's, upright and from the front.

JPEG, PNG or WebP, at most {MAX_BYTES // 1_000_000} MB, {MAX_PIXELS // 1_000_000} megapixels, {MIN_SIDE} pixels on the
short side. EXIF orientation is applied. What is kept is an upright JPEG of at most {LONGEST} pixels without metadata;
the template is made from exactly that. A file that somebody of the building has already is refused.

The face is compared with everybody enrolled, and `notices` tells what is remarkable: `duplicate_face` (somebody else is
enrolled with it), `looks_like` (doors see two people in it), `not_the_same_person` and `unlike_own_photos` (the
person's other photos show somebody else, or doors would not know it by them), `near_duplicate` (nearly one of them) and
`low_quality`. The photo is enrolled all the same: erase it if it is wrong.""",
)
def add_photo(
    services: Serving,
    building: BuildingId,
    person: Id,
    photo: Upload,
    actor: Acting,
    response: Response,
) -> PhotoEnrolled:
    """Add a photo."""
    with services.store.reading() as session:
        people.get(session, building, person)
    with services.turnstile.turn():
        data = photo.file.read(MAX_BYTES + 1)
        accepted = read_photo(data)
        embedder = services.embedder()
        enrolment = enrol(accepted, services.finder, embedder)
        notices = noticed(services, building, person, enrolment, embedder)
    new = new_photo(data, accepted, enrolment, "upload")
    with services.store.session() as session:
        record = people.add_photo(session, building, person, new, embedder=enrolment.embedder, vector=enrolment.vector)
        detail = {"photo": record.id, "origin": record.origin}
        audit.add(session, actor, "photo.added", building=building, target=person, detail=detail)
    response.headers["Location"] = f"/v1/buildings/{building}/persons/{person}/photos/{record.id}"
    return PhotoEnrolled(**dict(PhotoRead.of(record)), notices=notices)


@router.get("/{photo}", dependencies=READ, responses=documented("not-found"))
def get_photo(services: Serving, building: BuildingId, person: Id, photo: Id) -> PhotoRead:
    """Read what is known about a photo."""
    with services.store.reading() as session:
        return PhotoRead.of(people.photo(session, building, person, photo))


@router.get(
    "/{photo}/image",
    dependencies=READ,
    response_class=Response,
    responses=documented("not-found") | {200: {"content": {"image/jpeg": {}}, "description": "The picture"}},
)
def get_photo_image(services: Serving, building: BuildingId, person: Id, photo: Id) -> Response:
    """Read the picture itself."""
    with services.store.reading() as session:
        record = people.photo(session, building, person, photo)
        image = people.photo_image(session, building, person, photo)
    return Response(image, headers=_PRIVATE, media_type=record.media_type)


@router.delete("/{photo}", dependencies=WRITE, responses=documented("not-found") | INCOMPLETE)
def erase_photo(
    services: Serving, building: BuildingId, person: Id, photo: Id, actor: Acting, response: Response
) -> ReceiptRead:
    """Erase one photo with its templates, as thoroughly as a person."""
    return answer(erasure.erase_photo(services.store, building, person, photo, actor=actor), response)


def new_photo(data: bytes, accepted: Photo, enrolment: Enrolment, origin: str) -> NewPhoto:
    """Return what the store keeps of an accepted photo; `data` is the file as it came."""
    return NewPhoto(
        image=accepted.encoded,
        media_type=accepted.media_type,
        width=accepted.width,
        height=accepted.height,
        quality=enrolment.quality.score,
        digest=hashlib.sha256(data).hexdigest(),
        origin=origin,
    )
