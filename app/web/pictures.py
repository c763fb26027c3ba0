"""Pictures for pages: photos, snapshots, portraits and stills, for whoever may see the page."""

import asyncio
import base64
import io
import json
from contextlib import aclosing

from fastapi import APIRouter, Response
from fastapi.concurrency import run_in_threadpool
from PIL import Image

from app.api.schemas import Id
from app.api.services import Serving
from app.errors import NotFoundError
from app.live import subscribe
from app.store import cameras, events, people
from app.web.routing import PageRoute
from app.web.visitor import Here

router = APIRouter(prefix="/buildings/{building}", route_class=PageRoute)

JPEG = "image/jpeg"
THUMBNAIL = 240  # pixels of the long side, for lists
PATIENCE = 3.0  # seconds that a still may take to come


@router.get("/events/{event}/snapshot")
def event_snapshot(services: Serving, place: Here, event: Id) -> Response:
    """Show the whole picture of an event."""
    with services.store.reading() as session:
        return Response(events.snapshot(session, place.building.id, event), media_type=JPEG)


@router.get("/events/{event}/portrait")
def event_portrait(services: Serving, place: Here, event: Id) -> Response:
    """Show the face of an event."""
    with services.store.reading() as session:
        return Response(events.portrait(session, place.building.id, event), media_type=JPEG)


@router.get("/persons/{person}/photos/{photo}/image")
def photo_image(services: Serving, place: Here, person: Id, photo: Id) -> Response:
    """Show a photo of a person."""
    with services.store.reading() as session:
        record = people.photo(session, place.building.id, person, photo)
        image = people.photo_image(session, place.building.id, person, photo)
    return Response(image, media_type=record.media_type)


@router.get("/persons/{person}/face")
def person_face(services: Serving, place: Here, person: Id) -> Response:
    """Show the first photo of a person, small."""
    with services.store.reading() as session:
        found = people.photos(session, place.building.id, person)
        if not found:
            raise NotFoundError(f"person {person!r} has no photo")
        image = people.photo_image(session, place.building.id, person, found[0].id)
    return Response(_small(image), media_type=JPEG)


@router.get("/cameras/{camera}/still")
async def camera_still(services: Serving, place: Here, camera: Id) -> Response:
    """Show the next live picture of a camera; 204 while none comes."""

    def known() -> None:
        with services.store.reading() as session:
            cameras.get(session, place.building.id, camera)

    await run_in_threadpool(known)
    async with aclosing(subscribe(services.redis_url, services.stream, [camera])) as messages:
        try:
            told = json.loads(await asyncio.wait_for(anext(messages), PATIENCE))
        except TimeoutError:
            return Response(status_code=204)
    return Response(base64.b64decode(told["jpeg"]), media_type=JPEG)


def _small(image: bytes) -> bytes:
    """Return a copy for lists."""
    with Image.open(io.BytesIO(image), formats=("JPEG",)) as picture:
        picture.thumbnail((THUMBNAIL, THUMBNAIL))  # decodes a large JPEG at a fraction of its size
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=85)
    return out.getvalue()
