"""The first page of a building: every door with its live picture, what needs attention, and the last events."""

from fastapi import APIRouter, Request, Response

from app.advice import advice
from app.api.services import Serving
from app.store import cameras, events, health
from app.store.records import EventFilter
from app.web import words
from app.web.rendering import render_in
from app.web.routing import PageRoute
from app.web.views import views_of
from app.web.visitor import Here

router = APIRouter(route_class=PageRoute)

SHOWN = 60  # cameras of one page: each picture has to travel
LATEST = 8


@router.get("/buildings/{building}")
def doors_page(request: Request, services: Serving, place: Here) -> Response:
    """Show all doors."""
    building = place.building.id
    with services.store.reading() as session:
        listed = cameras.listing(session, building, SHOWN)
        latest = events.listing(session, building, LATEST, None, EventFilter(kind="access")).items
        views = views_of(session, building, latest)
        recognition = health.recognition(session, services.embedders.ids)
    advised = [
        (camera, advice(camera.live_state, enabled=camera.fields.enabled, tampering=camera.kept_from_seeing))
        for camera in listed.items
    ]
    moods = [words.camera_mood(camera) for camera in listed.items]
    return render_in(
        request,
        place,
        "doors.html",
        section="doors",
        tiles=advised,
        more=listed.next_token is not None,
        troubled=moods.count("bad"),
        waiting=moods.count("wait"),
        latest=views,
        recognition=recognition,
    )
