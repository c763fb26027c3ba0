"""Every operation of the API, read from its description, and a building in which each of them finds something."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx2
from fixtures_api import Api, encoded
from fixtures_store import access_event, claimed_camera, enrol
from PIL import Image

from app.store import events, keys, operations, people, webhooks
from app.store.audit import SYSTEM
from app.store.records import Scope

HOLDERS = {"operator": ["operator"], "viewer": ["operator", "viewer"], "device": ["operator", "viewer", "device"]}
JPEG = ("me.jpg", b"not a photo")


@dataclass(frozen=True)
class Route:
    """One operation."""

    name: str
    method: str
    path: str  # with {parameters}
    scope: str | None  # that its key needs
    media_type: str | None  # of its body
    example: Any  # of its body

    def filled(self, **values: str) -> str:
        """The path with these values; what is not given names nothing that exists."""
        return re.sub(r"{([a-z_]+)}", lambda match: values.get(match[1], "nothing"), self.path)

    def call(self, client: httpx2.Client, path: str, **more: Any) -> httpx2.Response:
        """Send the request of the description; a stream is read no further than its head."""
        body: dict[str, Any] = {}
        if self.media_type == "multipart/form-data":
            body = {"files": dict.fromkeys(self.example, JPEG)}
        elif self.media_type is not None:
            body = {"json": self.example}
        with client.stream(self.method, path, **body, **more) as answer:
            if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                answer.read()
            return answer


def routes(api: Api) -> list[Route]:
    """All operations."""
    document = httpx2.get(f"{api.address}/openapi.json").json()
    return [
        _route(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def _route(method: str, path: str, operation: dict[str, Any]) -> Route:
    content = operation.get("requestBody", {}).get("content", {})
    media_type = next(iter(content), None)
    described = content.get(media_type, {})
    example = described.get("example", next((each["value"] for each in described.get("examples", {}).values()), None))
    scope = operation["security"][0]["key"][0] if "security" in operation else None
    return Route(operation["operationId"], method.upper(), path, scope, media_type, example)


def furnish(api: Api) -> dict[str, str]:
    """Put one of everything into "main"; the values for the parameters of paths."""
    store = api.services.store
    embedder = api.services.embedders.shipped
    person = enrol(store, "Resident Hush", 1, embedder=embedder, external_id="hush-flat")
    camera = claimed_camera(store)
    picture = encoded(Image.new("RGB", (64, 48), "grey"))
    event = access_event(camera, 1, snapshot=picture, portrait=picture)
    with store.session() as session:
        events.add(session, event)
        key = keys.create(session, "hush key", Scope.VIEWER, "main")[0]
        fields = webhooks.WebhookFields("hush hook", "https://hush.example/in")
        webhook = webhooks.create(session, "main", fields, "whsec_aHVzaA==")
        operation = operations.create(session, "main", SYSTEM, {}, timedelta(minutes=5))
        (photo,) = people.photos(session, "main", person.id)
    return {
        "building": "main",
        "person": person.id,
        "photo": photo.id,
        "camera": camera.id,
        "event": event.id,
        "api_key": key.id,
        "webhook": webhook.id,
        "operation": operation,
    }
