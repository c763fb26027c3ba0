"""Logging in and out: a key is exchanged for a session's cookie, and nobody may try keys one after the other."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Form as Field
from fastapi.responses import RedirectResponse

from app.api.auth import client_address, note_refusal
from app.api.limits import check_login
from app.api.problems import ProblemError
from app.api.services import Serving
from app.store import audit, keys, sessions
from app.store.audit import Actor
from app.store.records import Refusal, Scope
from app.web.rendering import THEMES, render
from app.web.routing import PageRoute
from app.web.visitor import COOKIE, LoggedIn, Submitted, check_own_page, find_visitor, seen_buildings

router = APIRouter(route_class=PageRoute)

YEAR = 365 * 24 * 3600
UNKNOWN = "This key is not known here, or it has expired or was revoked. Ask whoever runs Cardea for a new one."
TOO_MANY = "There were too many tries from here. Wait a minute, then try again."
DEVICE = "This key is for a door controller or another device. People need one of scope operator or viewer."

Next = Annotated[str, Query(max_length=2000)]
Secret = Annotated[str, Field(max_length=300)]
Target = Annotated[str, Field(max_length=2000)]


@router.get("/login")
def login_page(request: Request, services: Serving, next: Next = "/") -> Response:
    """Ask for a key."""
    if find_visitor(services, request) is not None:
        return RedirectResponse(local(next), 303)
    return render(request, "login.html", next=local(next), error="")


@router.post("/login", dependencies=[Depends(check_own_page)])
def log_in(request: Request, services: Serving, key: Secret = "", next: Target = "/") -> Response:
    """Exchange a key for a session."""
    address = client_address(request)
    with services.store.session() as session:
        found, reason = keys.examine(session, key.strip())
        if found is not None and reason is None and found.scope != Scope.DEVICE:
            secret = sessions.begin(session, found.id, address)
            keys.touch(session, found.id)
            actor = Actor("session", found.id, found.name, address)
            audit.add(session, actor, "login.accepted", building=found.building)
            return _with_cookie(request, RedirectResponse(local(next), 303), secret)
    try:
        check_login(request)  # only now: whoever shares the address of somebody who guesses can still log in
    except ProblemError:
        note_refusal(request, Refusal.TOO_MANY, action="login.refused")
        return render(request, "login.html", 429, next=local(next), error=TOO_MANY)
    note_refusal(request, reason or Refusal.DEVICE, found, action="login.refused")
    return render(request, "login.html", 403, next=local(next), error=UNKNOWN if reason else DEVICE)


@router.post("/logout")
def log_out(request: Request, services: Serving, visitor: LoggedIn, form: Submitted) -> Response:
    """End this session."""
    with services.store.session() as session:
        sessions.end(session, request.cookies[COOKIE])
        audit.add(session, visitor.actor, "login.ended", building=visitor.key.building)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE)
    return answer


@router.get("/")
def home(request: Request, services: Serving, visitor: LoggedIn) -> Response:
    """Go to the doors of the only building, or let people choose."""
    found = seen_buildings(services, visitor.key)
    if len(found) == 1:
        return RedirectResponse(f"/buildings/{found[0].id}", 303)
    return render(request, "buildings.html", visitor=visitor, buildings=found)


@router.get("/buildings")
def choose_building(services: Serving, visitor: LoggedIn, building: Annotated[str, Query(max_length=64)]) -> Response:
    """Go to the building that the switch in the page's head names."""
    known = {record.id for record in seen_buildings(services, visitor.key)}
    return RedirectResponse(f"/buildings/{building}" if building in known else "/", 303)


@router.post("/theme", dependencies=[Depends(check_own_page)])
def choose_theme(theme: Annotated[str, Field(max_length=10)], next: Target = "/") -> Response:
    """Keep light or dark for this browser."""
    answer = RedirectResponse(local(next), 303)
    if theme in THEMES:
        answer.set_cookie("theme", theme, max_age=YEAR, samesite="lax")
    return answer


def local(target: str) -> str:
    """Return where to go after the log-in, if it is a path of ours: nobody is sent to another site."""
    fits = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if fits else "/"


def _with_cookie(request: Request, answer: Response, secret: str) -> Response:
    https = request.url.scheme == "https"
    seconds = int(sessions.LONGEST.total_seconds())
    answer.set_cookie(COOKIE, secret, max_age=seconds, httponly=True, samesite="strict", secure=https)
    return answer
