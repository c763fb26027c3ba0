"""The dashboard as a part of the server: all pages, and the files that they load."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response
from starlette.types import Scope

from app.web import audit, cameras, doors, events, gallery, keys, live, login, performance, persons, pictures
from app.web.routing import HEADERS

SECTIONS = (login, doors, events, persons, pictures, cameras, live, performance, gallery, audit, keys)
STATIC = Path(__file__).parent / "static"


class Files(StaticFiles):
    """Style sheet, scripts and icons. A browser asks each time whether they are still the same."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file with the headers of a page."""
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS | {"Cache-Control": "no-cache"})
        return response


def add_dashboard(app: FastAPI) -> None:
    """Add the pages to the server. They are no part of the API's description."""
    for section in SECTIONS:
        app.include_router(section.router, include_in_schema=False)
    app.mount("/static", Files(directory=STATIC), name="static")
