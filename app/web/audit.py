"""The audit trail: who did what, newest first."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from app.api.schemas import PageToken
from app.api.services import Serving
from app.store import audit
from app.web import words
from app.web.rendering import render_in
from app.web.routing import PageRoute
from app.web.visitor import Here, operator

router = APIRouter(route_class=PageRoute, dependencies=[Depends(operator)])

PAGE = 50
EVERYWHERE = ("all", "login", "key")  # choices that look beyond the building


@router.get("/buildings/{building}/audit")
def audit_page(
    request: Request,
    services: Serving,
    place: Here,
    page_token: PageToken = None,
    noun: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """Show the trail of this building; a key of all buildings sees what concerns the others, or none, too."""
    action = f"{noun}." if noun in words.NOUNS else None
    everywhere = place.visitor.key.building is None and noun in EVERYWHERE
    with services.store.reading() as session:
        found = audit.listing(session, PAGE, page_token, None if everywhere else place.building.id, action)
    return render_in(
        request,
        place,
        "audit.html",
        section="audit",
        entries=found.items,
        chosen=noun,
        next_token=found.next_token,
        first=page_token is None,
    )
