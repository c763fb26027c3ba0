"""Who looks at a page: the session behind the cookie, what its key may do, and proof that a form is our own."""

import io
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request, UploadFile
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import FormData

from app.api.auth import client_address
from app.api.problems import ProblemError
from app.api.schemas import BuildingId
from app.api.services import Services, Serving
from app.errors import CardeaError
from app.store import buildings, sessions
from app.store.audit import Actor
from app.store.records import BuildingRecord, KeyRecord, Scope

COOKIE = "cardea_session"
SHOWN = 200  # buildings that the switch offers


class LoginNeededError(CardeaError):
    """Nobody is logged in."""


class ForgeryError(CardeaError):
    """The form did not come from a page of this session."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who is logged in."""

    key: KeyRecord
    csrf: str = field(repr=False)
    actor: Actor

    @property
    def operates(self) -> bool:
        """Whether pages offer changes."""
        return self.key.scope == Scope.OPERATOR


@dataclass(frozen=True, slots=True)
class Place:
    """A visitor in one building."""

    visitor: Visitor
    building: BuildingRecord
    buildings: tuple[BuildingRecord, ...]  # all that the visitor may see

    @property
    def path(self) -> str:
        """How the paths of this building's pages begin."""
        return f"/buildings/{self.building.id}"


def find_visitor(services: Services, request: Request) -> Visitor | None:
    """Return who is logged in, and note that the session was used."""
    secret = request.cookies.get(COOKIE, "")
    if not secret:
        return None
    with services.store.reading() as session:
        found = sessions.find(session, secret)
    if found is None:
        return None
    if found.stale:
        with services.store.session() as session:
            sessions.touch(session, secret)
    actor = Actor("session", found.key.id, found.key.name, client_address(request))
    return Visitor(found.key, found.csrf, actor)


def current_visitor(services: Serving, request: Request) -> Visitor:
    """Return who is logged in.

    Raises:
        LoginNeededError: nobody, or no longer.
    """
    visitor = find_visitor(services, request)
    if visitor is None:
        raise LoginNeededError
    return visitor


LoggedIn = Annotated[Visitor, Depends(current_visitor)]


def operator(visitor: LoggedIn) -> Visitor:
    """Let those through who may change something."""
    if not visitor.operates:
        raise ProblemError("scope-too-small", f"This needs a key of scope {Scope.OPERATOR}.")
    return visitor


def seen_buildings(services: Services, key: KeyRecord) -> tuple[BuildingRecord, ...]:
    """Return the buildings that a key may see."""
    with services.store.reading() as session:
        if key.building is not None:
            return (buildings.get(session, key.building),)
        return tuple(buildings.listing(session, SHOWN).items)


def current_place(request: Request, services: Serving, visitor: LoggedIn, building: BuildingId) -> Place:
    """Return the building in the path, if the visitor may see it; pages that tell of trouble show it too.

    Raises:
        ProblemError: the visitor's key belongs to another building. Whether this one exists is not told.
        NotFoundError: there is no such building.
    """
    if visitor.key.building not in (None, building):
        raise ProblemError("other-building", f"The key belongs to building {visitor.key.building}.")
    with services.store.reading() as session:
        record = buildings.get(session, building)
    place = Place(visitor, record, seen_buildings(services, visitor.key))
    request.state.place = place
    return place


Here = Annotated[Place, Depends(current_place)]


def check_own_page(request: Request) -> None:
    """Refuse what a browser sends from somebody else's page.

    Raises:
        ForgeryError: `Sec-Fetch-Site` or `Origin` name another site.
    """
    site = request.headers.get("sec-fetch-site", "none")
    origin = request.headers.get("origin")
    if site not in ("same-origin", "none"):
        raise ForgeryError
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise ForgeryError


class Form:
    """The fields of a form, as text without blanks around it."""

    def __init__(self, data: FormData) -> None:
        self._data = data

    def text(self, name: str) -> str:
        """Return a field, empty when it is missing. Line ends are those of Unix."""
        value = self._data.get(name, "")
        return value.replace("\r\n", "\n").strip() if isinstance(value, str) else ""

    def ticked(self, name: str) -> bool:
        """Whether a box is ticked."""
        return name in self._data

    def revision(self) -> str:
        """Return the revision that the form was made from as `If-Match` has it; nonsense fits no revision."""
        return f'"{self.text("revision")}"'

    def upload(self, name: str) -> UploadFile:
        """Return a file as the API takes it, empty when none was chosen."""
        value = self._data.get(name)
        if value is None or isinstance(value, str):
            return UploadFile(io.BytesIO())
        return UploadFile(value.file, size=value.size, filename=value.filename, headers=value.headers)

    def values(self) -> dict[str, str]:
        """Return all text fields, to show a form again as it was sent."""
        return {name: self.text(name) for name in self._data if isinstance(self._data[name], str)}


async def _submitted(request: Request, services: Serving) -> AsyncIterator[Form]:
    visitor = await run_in_threadpool(current_visitor, services, request)
    check_own_page(request)
    async with request.form(max_files=1) as data:
        token = data.get("csrf")
        if not isinstance(token, str) or not secrets.compare_digest(token.encode(), visitor.csrf.encode()):
            raise ForgeryError
        yield Form(data)


Submitted = Annotated[Form, Depends(_submitted)]
