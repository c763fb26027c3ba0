"""Events: the feed with its filters, one event with its pictures and reasons, and what a person says about it later."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from app.api import corrections, event_enrolments
from app.api.corrections import CorrectionWrite
from app.api.event_enrolments import EventEnrolmentCreate
from app.api.schemas import Id, PageToken
from app.api.services import Serving
from app.store import events, people
from app.store.records import EventFilter, PersonFilter
from app.types import Decision
from app.web.forms import REFUSALS, Errors, day_span, explain
from app.web.notices import query
from app.web.rendering import render_in, zone_of
from app.web.routing import PageRoute
from app.web.views import camera_names, view_of, views_of
from app.web.visitor import Here, Place, Submitted, operator

router = APIRouter(prefix="/buildings/{building}/events", route_class=PageRoute)

PAGE = 40
FOUND = 8  # persons that the search on an event's page offers
CHANGES = [Depends(operator)]
Choice = Annotated[str, Query(max_length=200)]


@router.get("")
def events_page(
    request: Request,
    services: Serving,
    place: Here,
    page_token: PageToken = None,
    decision: Choice = "",
    camera: Choice = "",
    person: Choice = "",
    since: Choice = "",
    until: Choice = "",
) -> Response:
    """List events, newest first."""
    building = place.building.id
    first, last = day_span(since, until, zone_of(request))
    wanted = Decision(decision) if decision in list(Decision) else None
    kind = {"camera": "camera", "": None}.get(decision, "access")
    only = EventFilter(kind, wanted, camera or None, person or None, first, last)
    with services.store.reading() as session:
        found = events.listing(session, building, PAGE, page_token, only)
        views = views_of(session, building, found.items)
        names = camera_names(session, building)
        named = people.get(session, building, person).fields.name if person else ""
    chosen = {"decision": decision, "camera": camera, "person": person, "since": since, "until": until}
    return render_in(
        request,
        place,
        "events.html",
        section="events",
        views=views,
        next_token=found.next_token,
        first=page_token is None,
        chosen=chosen,
        query={name: value for name, value in chosen.items() if value},
        cameras=names,
        named=named,
        live=page_token is None and last is None,
    )


@router.get("/{event}")
def event_page(request: Request, services: Serving, place: Here, event: Id, who: Choice = "") -> Response:
    """Show one event."""
    return _page(request, services, place, event, who, {})


@router.post("/{event}/correction", dependencies=CHANGES)
def correct(request: Request, services: Serving, place: Here, event: Id, form: Submitted) -> Response:
    """Note that a decision was wrong."""
    try:
        said = {"verdict": form.text("verdict"), "person": form.text("person") or None, "note": form.text("note")}
        corrections.correct_event(
            services=services,
            building=place.building.id,
            event=event,
            body=CorrectionWrite.model_validate(said),
            actor=place.visitor.actor,
        )
    except REFUSALS as error:
        return _page(request, services, place, event, "", explain(error))
    return RedirectResponse(f"{place.path}/events/{event}", 303)


@router.post("/{event}/correction/undo", dependencies=CHANGES)
def take_back(services: Serving, place: Here, event: Id, form: Submitted) -> Response:
    """Take a correction back."""
    corrections.take_back_correction(
        services=services, building=place.building.id, event=event, actor=place.visitor.actor
    )
    return RedirectResponse(f"{place.path}/events/{event}", 303)


@router.post("/{event}/enrolment", dependencies=CHANGES)
def enrol(request: Request, services: Serving, place: Here, event: Id, form: Submitted) -> Response:
    """Enrol the face of an event, for somebody known or somebody new."""
    person = form.text("person")
    asked = {"person": person} if person else {"new_person": {"name": form.text("name")}}
    try:
        made = event_enrolments.enrol_from_event(
            services=services,
            building=place.building.id,
            event=event,
            body=EventEnrolmentCreate.model_validate(asked),
            actor=place.visitor.actor,
            response=Response(),
        )
    except REFUSALS as error:
        wrong = explain(error)
        return _page(request, services, place, event, form.text("who"), {"enrol": next(iter(wrong.values()))})
    return RedirectResponse(f"{place.path}/persons/{made.person.id}?{query(made.notices)}", 303)


def _page(request: Request, services: Serving, place: Place, event: str, who: str, errors: Errors) -> Response:
    building = place.building.id
    with services.store.reading() as session:
        record = events.get(session, building, event)
        view = view_of(session, building, record, camera_names(session, building))
        candidates = people.listing(session, building, FOUND, None, PersonFilter(search=who.strip())) if who else None
    content: dict[str, Any] = {"view": view, "who": who, "candidates": [] if candidates is None else candidates.items}
    return render_in(request, place, "event.html", 422 if errors else 200, section="events", errors=errors, **content)
