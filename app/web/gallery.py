"""How well doors can tell people apart: who looks like whom, whom to photograph again, and how strict doors are."""

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from app.api import buildings, gallery_health
from app.api.buildings import BuildingUpdate
from app.api.services import Serving
from app.web.forms import REFUSALS, Errors, explain, number_of
from app.web.rendering import render_in
from app.web.routing import PageRoute
from app.web.visitor import Here, Place, Submitted, operator

router = APIRouter(prefix="/buildings/{building}", route_class=PageRoute, dependencies=[Depends(operator)])


@router.get("/gallery-health")
def gallery_page(request: Request, services: Serving, place: Here) -> Response:
    """Show how the gallery is."""
    return _page(request, services, place, f"{place.building.fields.target_fpir:g}", {})


@router.post("")
def change_building(request: Request, services: Serving, place: Here, form: Submitted) -> Response:
    """Change how strict the building's doors are."""
    asked = form.text("target_fpir")
    try:
        buildings.update_building(
            services=services,
            building=place.building.id,
            body=BuildingUpdate.model_validate({"target_fpir": number_of(asked)}),
            actor=place.visitor.actor,
            response=Response(),
            if_match=form.revision(),
        )
    except REFUSALS as error:
        return _page(request, services, place, asked, explain(error))
    return RedirectResponse(f"{place.path}/gallery-health?saved=1", 303)


def _page(request: Request, services: Serving, place: Place, target: str, errors: Errors) -> Response:
    return render_in(
        request,
        place,
        "gallery.html",
        422 if errors else 200,
        section="gallery",
        health=gallery_health.get_gallery_health(services=services, building=place.building.id),
        target=target,
        errors=errors,
        saved="saved" in request.query_params,
    )
