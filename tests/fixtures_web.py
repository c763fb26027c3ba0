"""The dashboard without a browser: forms are sent as a browser would, and a building to look at."""

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from fixtures_api import Api, encoded, installed
from fixtures_store import access_event, unit_vector
from PIL import Image

from app.store import buildings, cameras, events, people, workers
from app.store.engine import Store
from app.store.records import BuildingFields, CameraFields, NewPhoto, PersonFields, Scope
from app.types import Decision, Reason

SECRET = "hush-hush"  # of the camera


@dataclass
class Visitor:
    """Somebody at the dashboard, logged in or not."""

    client: httpx2.Client

    def get(self, path: str, **headers: str) -> httpx2.Response:
        """A page; redirections are not followed."""
        return self.client.get(path, headers=headers)

    def token(self) -> str:
        """What the forms of this session carry."""
        found = re.search(r'name="csrf" value="([^"]+)"', self.client.get("/", follow_redirects=True).text)
        return found[1] if found else ""

    def post(self, path: str, files: dict[str, Any] | None = None, **fields: str) -> httpx2.Response:
        """Send a form of this session."""
        return self.client.post(path, data={"csrf": self.token()} | fields, files=files)


@pytest.fixture
def visit(api: Api) -> Callable[..., Visitor]:
    """Log in with a new key."""

    def log_in(scope: Scope = Scope.OPERATOR, building: str | None = None, key: str | None = None) -> Visitor:
        client = api.bearing(None)
        answer = client.post("/login", data={"key": key or api.key(scope, building)})
        assert answer.status_code == 303, answer.text
        return Visitor(client)

    return log_in


@dataclass(frozen=True)
class House:
    """Ids of a building's only camera, person, photo and events."""

    building: str
    camera: str
    person: str
    photo: str
    granted: str
    unknown: str

    @property
    def path(self) -> str:
        """How the paths of its pages begin."""
        return f"/buildings/{self.building}"


def furnish(store: Store, building: str, name: str = "Eileen Collins", face: bytes | None = None) -> House:
    """Fill a building, which is made if it is not "main"."""
    picture, embedder = face or encoded(Image.new("RGB", (320, 240), "grey")), installed().of(None)
    photo = NewPhoto(picture, "image/jpeg", 320, 240, 0.8)
    with store.session() as session:
        if building != "main":
            buildings.create(session, building, BuildingFields(f"The {building}"))
        person = people.create(session, building, PersonFields(name, groups=frozenset({"residents"}))).id
        made = people.add_photo(
            session, building, person, photo, embedder=embedder.card.id, vector=unit_vector(1, embedder.dimension)
        )
        worker = f"watcher of {building}"
        workers.start(session, worker, uuid.uuid4().hex)
        fields = CameraFields("Front door", f"rtsp://user:{SECRET}@192.0.2.1/1", door="front")
        cameras.create(session, building, fields)
        cameras.claim(session, worker)
        (camera,) = cameras.watched(session, worker)
        known = {"decision": Decision.GRANTED, "reasons": (Reason.MATCHED,), "person": person, "similarity": 0.75}
        granted = access_event(camera, 1, **known, snapshot=picture, portrait=picture)
        unknown = access_event(camera, 2, snapshot=picture, portrait=picture)
        for event in (granted, unknown):
            events.add(session, event)
    return House(building, camera.id, person, made.id, granted.id, unknown.id)
