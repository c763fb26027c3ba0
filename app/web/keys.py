"""Keys: who may log in or use the API. A new key is shown once; revoking one ends its sessions at once."""

from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from app.api import api_keys
from app.api.api_keys import KeyCreate
from app.api.schemas import Id, PageToken
from app.api.services import Serving
from app.store import keys
from app.store.records import Scope
from app.web.forms import REFUSALS, Errors, explain, moment_of
from app.web.rendering import render_in, zone_of
from app.web.routing import PageRoute
from app.web.visitor import Here, Place, Submitted, operator

router = APIRouter(prefix="/buildings/{building}/keys", route_class=PageRoute, dependencies=[Depends(operator)])

PAGE = 60


@router.get("")
def keys_page(request: Request, services: Serving, place: Here, page_token: PageToken = None) -> Response:
    """List the keys that the visitor may manage."""
    return _page(request, services, place, page_token, {}, {})


@router.post("")
def make_key(request: Request, services: Serving, place: Here, form: Submitted) -> Response:
    """Make a key and show its secret this once."""
    asked = {
        "name": form.text("name"),
        "scope": form.text("scope"),
        "building": None if form.ticked("everywhere") else place.building.id,
        "expires_at": moment_of(form.text("expires_at"), zone_of(request)),
    }
    try:
        made = api_keys.create_api_key(
            request=request,
            services=services,
            key=place.visitor.key,
            actor=place.visitor.actor,
            body=KeyCreate.model_validate(asked),
            response=Response(),
        )
    except REFUSALS as error:
        return _page(request, services, place, None, form.values(), explain(error))
    return render_in(request, place, "key_made.html", section="keys", made=made)


@router.post("/{api_key}/revoke")
def revoke_key(services: Serving, place: Here, api_key: Id, form: Submitted) -> Response:
    """End a key now."""
    api_keys.revoke_api_key(services=services, key=place.visitor.key, actor=place.visitor.actor, api_key=api_key)
    return RedirectResponse(f"{place.path}/keys", 303)


def _page(
    request: Request,
    services: Serving,
    place: Place,
    page_token: str | None,
    values: dict[str, str],
    errors: Errors,
) -> Response:
    with services.store.reading() as session:
        found = keys.listing(session, PAGE, page_token, place.visitor.key.building)
    content: dict[str, Any] = {"values": values, "errors": errors, "scopes": list(Scope)}
    return render_in(
        request,
        place,
        "keys.html",
        422 if errors else 200,
        section="keys",
        keys=found.items,
        next_token=found.next_token,
        first=page_token is None,
        **content,
    )
