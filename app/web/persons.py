"""Persons: found, added, changed, enrolled by photo, and erased for good with the receipt shown."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from app.api import face_checks, persons, photos
from app.api.limits import check_limit
from app.api.persons import PersonCreate, PersonUpdate
from app.api.schemas import Id, PageToken
from app.api.services import Serving
from app.errors import PhotoError
from app.store import events, people
from app.store.records import EventFilter, PersonFields, PersonFilter
from app.web.forms import (
    REFUSALS,
    Errors,
    day_of,
    explain,
    groups_of,
    local_day,
    local_minute,
    moment_of,
    photo_trouble,
)
from app.web.notices import query, remarks
from app.web.rendering import render_in, zone_of
from app.web.routing import PageRoute
from app.web.views import views_of
from app.web.visitor import Form, Here, Place, Submitted, operator

router = APIRouter(prefix="/buildings/{building}", route_class=PageRoute)

PAGE = 50
LATEST = 6
CHANGES = [Depends(operator)]


@router.get("/persons")
def persons_page(
    request: Request,
    services: Serving,
    place: Here,
    page_token: PageToken = None,
    search: Annotated[str, Query(max_length=200)] = "",
    without_photos: bool = False,
) -> Response:
    """List persons by name."""
    only = PersonFilter(search=search.strip(), without_photos=without_photos)
    with services.store.reading() as session:
        found = people.listing(session, place.building.id, PAGE, page_token, only)
    return render_in(
        request,
        place,
        "persons.html",
        section="persons",
        persons=found.items,
        next_token=found.next_token,
        first=page_token is None,
        search=search,
        without_photos=without_photos,
        query={"search": search} | ({"without_photos": "true"} if without_photos else {}),
    )


@router.get("/persons/new", dependencies=CHANGES)
def new_person_page(request: Request, place: Here) -> Response:
    """Ask for a new person."""
    values = _values(PersonFields(""), request)
    return render_in(request, place, "person_new.html", section="persons", values=values, errors={})


@router.post("/persons", dependencies=CHANGES)
def add_person(request: Request, services: Serving, place: Here, form: Submitted) -> Response:
    """Add a person, then ask for a photo."""
    try:
        body = PersonCreate.model_validate(_body(form, request))
        made = persons.create_person(
            services=services, building=place.building.id, body=body, actor=place.visitor.actor, response=Response()
        )
    except REFUSALS as error:
        content: dict[str, Any] = {"values": _sent(form, request), "errors": explain(error)}
        return render_in(request, place, "person_new.html", 422, section="persons", **content)
    return RedirectResponse(f"{place.path}/persons/{made.id}", 303)


@router.get("/persons/{person}")
def person_page(request: Request, services: Serving, place: Here, person: Id) -> Response:
    """Show a person."""
    return _page(request, services, place, person, {})


@router.post("/persons/{person}", dependencies=CHANGES)
def change_person(request: Request, services: Serving, place: Here, person: Id, form: Submitted) -> Response:
    """Change what is said about a person."""
    with services.store.reading() as session:
        present = people.get(session, place.building.id, person).fields
    try:
        persons.update_person(
            services=services,
            building=place.building.id,
            person=person,
            body=PersonUpdate.model_validate(_body(form, request, present)),
            actor=place.visitor.actor,
            response=Response(),
            if_match=form.revision(),
        )
    except REFUSALS as error:
        return _page(request, services, place, person, explain(error), _sent(form, request))
    return RedirectResponse(f"{place.path}/persons/{person}?saved=1", 303)


@router.post("/persons/{person}/photos", dependencies=CHANGES)
def add_photo(request: Request, services: Serving, place: Here, person: Id, form: Submitted) -> Response:
    """Enrol a photo."""
    try:
        made = photos.add_photo(
            services=services,
            building=place.building.id,
            person=person,
            photo=form.upload("photo"),
            actor=place.visitor.actor,
            response=Response(),
        )
    except REFUSALS as error:
        return _page(request, services, place, person, explain(error))
    return RedirectResponse(f"{place.path}/persons/{person}?{query(made.notices)}#photos", 303)


@router.post("/face-check", dependencies=CHANGES)
def check_face(request: Request, services: Serving, place: Here, form: Submitted) -> Response:
    """Say at once whether a photo will do; nothing is kept."""
    check_limit(request, "identify", place.visitor.key.id)
    try:
        told = face_checks.check_face(services=services, building=place.building.id, photo=form.upload("photo"))
    except PhotoError as error:
        return JSONResponse({"usable": False, "words": [photo_trouble(error)], "box": None})
    box = None if told.face is None else told.face.box
    return JSONResponse({"usable": told.usable, "words": told.advice, "box": box})


@router.post("/persons/{person}/photos/{photo}/erase", dependencies=CHANGES)
def erase_photo(request: Request, services: Serving, place: Here, person: Id, photo: Id, form: Submitted) -> Response:
    """Erase one photo and show the receipt."""
    receipt = photos.erase_photo(
        services=services,
        building=place.building.id,
        person=person,
        photo=photo,
        actor=place.visitor.actor,
        response=Response(),
    )
    return _receipt(request, place, receipt, f"{place.path}/persons/{person}")


@router.get("/persons/{person}/erase", dependencies=CHANGES)
def erase_page(request: Request, services: Serving, place: Here, person: Id) -> Response:
    """Ask whether a person is to be erased for good."""
    with services.store.reading() as session:
        record = people.get(session, place.building.id, person)
    return render_in(request, place, "person_erase.html", section="persons", person=record, errors={})


@router.post("/persons/{person}/erase", dependencies=CHANGES)
def erase_person(request: Request, services: Serving, place: Here, person: Id, form: Submitted) -> Response:
    """Erase a person for good and show the receipt."""
    if not form.ticked("sure"):
        with services.store.reading() as session:
            record = people.get(session, place.building.id, person)
        errors = {"sure": "Tick this box first: it cannot be undone."}
        return render_in(request, place, "person_erase.html", 422, section="persons", person=record, errors=errors)
    receipt = persons.erase_person(
        services=services,
        building=place.building.id,
        person=person,
        actor=place.visitor.actor,
        response=Response(),
    )
    return _receipt(request, place, receipt, f"{place.path}/persons")


def _page(
    request: Request, services: Serving, place: Place, person: str, errors: Errors, sent: dict[str, str] | None = None
) -> Response:
    building = place.building.id
    with services.store.reading() as session:
        record = people.get(session, building, person)
        enrolled = people.photos(session, building, person)
        seen = events.listing(session, building, LATEST, None, EventFilter(kind="access", person=person)).items
        views = views_of(session, building, seen)
        noticed = remarks(request, session, building)
    return render_in(
        request,
        place,
        "person.html",
        422 if errors else 200,
        section="persons",
        person=record,
        photos=enrolled,
        seen=views,
        values=sent or _values(record.fields, request),
        errors=errors,
        saved=request.query_params.get("saved", ""),
        remarks=noticed,
    )


def _receipt(request: Request, place: Place, receipt: Any, back: str) -> Response:
    return render_in(request, place, "receipt.html", section="persons", receipt=receipt, back=back)


def _values(fields: PersonFields, request: Request) -> dict[str, str]:
    """Return a person as the form shows it."""
    zone = zone_of(request)
    return {
        "name": fields.name,
        "external_id": fields.external_id or "",
        "groups": ", ".join(sorted(fields.groups)),
        "valid_from": local_minute(fields.valid_from, zone),
        "valid_until": local_minute(fields.valid_until, zone),
        "consent_at": local_day(fields.consent_at, zone),
        "consent_note": fields.consent_note or "",
        "erase_on": local_day(fields.erase_on, zone),
    }


def _sent(form: Form, request: Request) -> dict[str, str]:
    """Return the form as it was sent."""
    return _values(PersonFields(""), request) | form.values()


def _body(form: Form, request: Request, present: PersonFields | None = None) -> dict[str, Any]:
    """Return the form as the API takes it."""
    zone, known = zone_of(request), present or PersonFields("")
    return {
        "name": form.text("name"),
        "external_id": form.text("external_id") or None,
        "groups": groups_of(form.text("groups")),
        "valid_from": moment_of(form.text("valid_from"), zone, known.valid_from),
        "valid_until": moment_of(form.text("valid_until"), zone, known.valid_until),
        "consent_at": day_of(form.text("consent_at"), zone, known.consent_at),
        "consent_note": form.text("consent_note") or None,
        "erase_on": day_of(form.text("erase_on"), zone, known.erase_on),
    }
