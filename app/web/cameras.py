"""Cameras: what each does and what to do about it; added, tried before they are saved, changed, removed."""

from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from app.advice import advice
from app.api import camera_checks, cameras
from app.api.camera_checks import CameraCheck, CameraCheckRead
from app.api.cameras import CameraCreate, CameraUpdate
from app.api.schemas import Id, PageToken
from app.api.services import Serving
from app.sources import mask_source
from app.store import cameras as store
from app.store.records import CameraFields, CameraRecord
from app.web.forms import REFUSALS, Errors, explain, groups_of, number_of, zones_of, zones_text
from app.web.rendering import render_in
from app.web.routing import PageRoute
from app.web.visitor import Form, Here, Place, Submitted, operator

router = APIRouter(prefix="/buildings/{building}/cameras", route_class=PageRoute)

PAGE = 60
CHANGES = [Depends(operator)]


@router.get("")
def cameras_page(request: Request, services: Serving, place: Here, page_token: PageToken = None) -> Response:
    """List cameras by name, with what they do."""
    with services.store.reading() as session:
        found = store.listing(session, place.building.id, PAGE, page_token)
    rows = [(camera, _advice(camera)) for camera in found.items]
    return render_in(
        request,
        place,
        "cameras.html",
        section="cameras",
        rows=rows,
        next_token=found.next_token,
        first=page_token is None,
    )


@router.get("/new", dependencies=CHANGES)
def new_camera_page(request: Request, place: Here) -> Response:
    """Ask for a new camera."""
    return _form(request, place, None, _values(CameraFields("", "")))


@router.post("", dependencies=CHANGES)
def add_camera(request: Request, services: Serving, place: Here, form: Submitted) -> Response:
    """Add a camera."""
    try:
        made = cameras.create_camera(
            services=services,
            building=place.building.id,
            body=CameraCreate.model_validate(_body(form)),
            actor=place.visitor.actor,
            response=Response(),
        )
    except REFUSALS as error:
        return _form(request, place, None, _sent(form), explain(error))
    return RedirectResponse(f"{place.path}/cameras/{made.id}?saved=1", 303)


@router.post("/check", dependencies=CHANGES)
def check_new_camera(request: Request, services: Serving, place: Here, form: Submitted) -> Response:
    """Try the source of a camera that is not saved yet."""
    return _checked(request, services, place, None, form)


@router.get("/{camera}")
def camera_page(request: Request, services: Serving, place: Here, camera: Id) -> Response:
    """Show a camera."""
    with services.store.reading() as session:
        record = store.get(session, place.building.id, camera)
    return _form(request, place, record, _values(record.fields))


@router.post("/{camera}", dependencies=CHANGES)
def change_camera(request: Request, services: Serving, place: Here, camera: Id, form: Submitted) -> Response:
    """Change a camera; its worker opens it anew."""
    with services.store.reading() as session:
        present = store.get(session, place.building.id, camera)
    try:
        cameras.update_camera(
            services=services,
            building=place.building.id,
            camera=camera,
            body=CameraUpdate.model_validate(_body(form)),
            actor=place.visitor.actor,
            response=Response(),
            if_match=form.revision(),
        )
    except REFUSALS as error:
        return _form(request, place, present, _sent(form), explain(error))
    return RedirectResponse(f"{place.path}/cameras/{camera}?saved=1", 303)


@router.post("/{camera}/check", dependencies=CHANGES)
def check_camera(request: Request, services: Serving, place: Here, camera: Id, form: Submitted) -> Response:
    """Try a changed source before it is saved."""
    with services.store.reading() as session:
        present = store.get(session, place.building.id, camera)
    return _checked(request, services, place, present, form)


@router.post("/{camera}/remove", dependencies=CHANGES)
def remove_camera(services: Serving, place: Here, camera: Id, form: Submitted) -> Response:
    """Remove a camera; its events stay."""
    cameras.delete_camera(services=services, building=place.building.id, camera=camera, actor=place.visitor.actor)
    return RedirectResponse(f"{place.path}/cameras", 303)


def _checked(request: Request, services: Serving, place: Place, present: CameraRecord | None, form: Form) -> Response:
    try:
        body = _body(form)
        if present is not None and body["source"] == mask_source(present.fields.source):
            body["source"] = present.fields.source  # shown without its password, tried with it
        wanted = {name: body[name] for name in ("source", "transport", "ca_certificate")}
        told = camera_checks.check_camera(
            services=services,
            building=place.building.id,
            body=CameraCheck.model_validate(wanted),
            actor=place.visitor.actor,
        )
    except REFUSALS as error:
        return _form(request, place, present, _sent(form), explain(error))
    return _form(request, place, present, _sent(form), {}, told)


def _form(
    request: Request,
    place: Place,
    camera: CameraRecord | None,
    values: dict[str, Any],
    errors: Errors | None = None,
    told: CameraCheckRead | None = None,
) -> Response:
    return render_in(
        request,
        place,
        "camera.html",
        422 if errors else 200,
        section="cameras",
        camera=camera,
        advice="" if camera is None else _advice(camera),
        values=values,
        errors=errors or {},
        told=told,
        saved="saved" in request.query_params,
    )


def _advice(camera: CameraRecord) -> str:
    return advice(camera.live_state, enabled=camera.fields.enabled, tampering=camera.kept_from_seeing)


def _values(fields: CameraFields) -> dict[str, Any]:
    """Return a camera as the form shows it: its source without the password."""
    return {
        "name": fields.name,
        "source": mask_source(fields.source),
        "door": fields.door,
        "groups": ", ".join(sorted(fields.groups)),
        "fps": f"{fields.fps:g}",
        "transport": fields.transport,
        "ca_certificate": fields.ca_certificate or "",
        "zones": zones_text(fields.zones),
        "loop": fields.loop,
        "enabled": fields.enabled,
    }


def _sent(form: Form) -> dict[str, Any]:
    """Return the form as it was sent, but for the password: no answer holds one, not even to whoever typed it."""
    kept = {name: form.text(name) for name in _values(CameraFields("", ""))} | {
        "source": mask_source(form.text("source"))
    }
    return kept | {name: form.ticked(name) for name in ("loop", "enabled")} | {"revision": form.text("revision")}


def _body(form: Form) -> dict[str, Any]:
    """Return the form as the API takes it."""
    return {
        "name": form.text("name"),
        "source": form.text("source"),
        "door": form.text("door"),
        "groups": groups_of(form.text("groups")),
        "fps": number_of(form.text("fps")),
        "transport": form.text("transport"),
        "ca_certificate": form.text("ca_certificate") or None,
        "zones": zones_of(form.text("zones")),
        "loop": form.ticked("loop"),
        "enabled": form.ticked("enabled"),
    }
