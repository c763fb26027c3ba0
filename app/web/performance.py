"""Where a frame's time goes, camera by camera, and what it saves that still frames leave early."""

from fastapi import APIRouter, Request, Response

from app.api.services import Serving
from app.store import cameras, workers
from app.timings import timings
from app.web.rendering import render_in
from app.web.routing import PageRoute
from app.web.visitor import Here

router = APIRouter(route_class=PageRoute)

SHOWN = 200


@router.get("/buildings/{building}/performance")
def performance_page(request: Request, services: Serving, place: Here) -> Response:
    """Show what each camera costs."""
    with services.store.reading() as session:
        listed = cameras.listing(session, place.building.id, SHOWN).items
        stats = workers.stats(session, place.building.id)
    rows = [(camera, timings(stats[camera.id]) if camera.id in stats else None) for camera in listed]
    known = [row for _, row in rows if row is not None]
    return render_in(
        request,
        place,
        "performance.html",
        section="performance",
        rows=rows,
        cores=sum(row.cpu_share or 0.0 for row in known),
        saved=sum((row.saved_ms_per_second or 0.0) / 1e3 for row in known),
        longest=max((row.frame_ms or 0.0 for row in known), default=0.0),
    )
