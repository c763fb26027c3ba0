"""Webhooks: addresses that receive a building's events, their secrets, and the log of what was delivered."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.api.auth import Acting, needs_here
from app.api.problems import documented, invalid
from app.api.schemas import (
    PAGE,
    BuildingId,
    Id,
    IfMatch,
    Page,
    PageSize,
    PageToken,
    Patch,
    Reference,
    Strictly,
    Text,
    check_if_match,
    etag,
    page_of,
)
from app.api.services import Serving
from app.store import audit, deliveries, webhooks
from app.store.records import Scope
from app.store.webhooks import DeliveryRecord, WebhookFields, WebhookRecord
from app.webhooks.addresses import LONGEST, check_url
from app.webhooks.signature import new_secret

router = APIRouter(prefix="/buildings/{building}/webhooks", tags=["webhooks"])
OPERATE = [Depends(needs_here(Scope.OPERATOR))]

EventType = Literal[
    "access.granted", "access.denied", "access.unknown", "access.undecided", "camera.state", "camera.tampered"
]
TYPES = len(get_args(EventType))
Url = Annotated[str, Field(min_length=1, max_length=LONGEST)]
_EXAMPLE: dict[str, JsonValue] = {
    "name": "Alarm centre",
    "url": "https://alarm.example.org/cardea",
    "types": ["access.granted", "access.denied"],
    "enabled": True,
}
_READ: dict[str, JsonValue] = {
    "id": "whk_1f0c6f4b5a0d4e2b9c7a",
    "building": "main",
    **_EXAMPLE,
    "trouble": "",
    "waiting": 0,
    "revision": 1,
    "created_at": "2026-01-01T08:00:00Z",
    "updated_at": "2026-01-01T08:00:00Z",
}
_DELIVERY: dict[str, JsonValue] = {
    "id": 17,
    "event": "cam_1f0c6f4b5a0d4e2b9c7a.3.17",
    "state": "waiting",
    "attempts": 1,
    "next_at": "2026-01-01T08:00:07Z",
    "status": 503,
    "error": "answered 503",
    "created_at": "2026-01-01T08:00:02Z",
    "finished_at": None,
}


class WebhookCreate(Strictly):
    """A webhook to add."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    name: Text
    url: Url = Field(description="https://; private networks only where CARDEA_WEBHOOK_NETWORKS names them")
    types: list[EventType] = Field([], max_length=TYPES, description="events that it wants; empty: all")
    enabled: bool = True


class WebhookUpdate(Patch):
    """What to change about a webhook."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"enabled": True}]})

    name: Text = ""
    url: Url = ""
    types: list[EventType] = Field(default=[], max_length=TYPES)
    enabled: bool = True


class WebhookRead(BaseModel):
    """A webhook, without its secrets."""

    model_config = ConfigDict(json_schema_extra={"examples": [_READ]})

    id: str
    building: str
    name: str
    url: str
    types: list[str]
    enabled: bool
    trouble: str = Field(description="why it was switched off by itself; empty otherwise")
    waiting: int = Field(description="deliveries that wait")
    revision: int
    created_at: datetime
    updated_at: datetime

    @staticmethod
    def of(record: WebhookRecord) -> "WebhookRead":
        """Return the answer for a record."""
        return WebhookRead(**_members(record))


class WebhookMade(WebhookRead):
    """A new webhook with its secret, which is shown only now."""

    model_config = ConfigDict(json_schema_extra={"examples": [_READ | {"secret": "whsec_..."}]})

    secret: str = Field(description="Standard Webhooks secret that deliveries are signed with")


class SecretMade(BaseModel):
    """A new secret, shown only now."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"secret": "whsec_...", "former_signs_until": "2026-01-02T08:00:00Z"}]}
    )

    secret: str
    former_signs_until: datetime = Field(description="until then deliveries carry a signature of each")


class DeliveryRead(BaseModel):
    """One event's way to the webhook."""

    model_config = ConfigDict(json_schema_extra={"examples": [_DELIVERY]})

    id: int
    event: str
    state: Literal["waiting", "delivered", "given_up"]
    attempts: int
    next_at: datetime | None = Field(description="of the next attempt")
    status: int | None = Field(description="HTTP status of the last answer")
    error: str
    created_at: datetime
    finished_at: datetime | None

    @staticmethod
    def of(record: DeliveryRecord) -> "DeliveryRead":
        """Return the answer for a record."""
        return DeliveryRead(**{name: getattr(record, name) for name in DeliveryRead.model_fields})


class DeliveryCreate(Strictly):
    """An event to send, again or for the first time."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"event": "cam_1f0c6f4b5a0d4e2b9c7a.3.17"}]})

    event: Reference


@router.get("", dependencies=OPERATE, responses=documented("not-found", "invalid-page-token"))
def list_webhooks(
    services: Serving, building: BuildingId, page_size: PageSize = PAGE, page_token: PageToken = None
) -> Page[WebhookRead]:
    """List webhooks by name."""
    with services.store.reading() as session:
        return page_of(webhooks.listing(session, building, page_size, page_token), WebhookRead.of)


@router.post("", status_code=201, dependencies=OPERATE, responses=documented("not-found"))
def create_webhook(
    services: Serving, actor: Acting, building: BuildingId, body: WebhookCreate, response: Response
) -> WebhookMade:
    """Add a webhook; it receives what happens from now on. The answer alone shows its secret."""
    fields = _checked(services, WebhookFields(body.name, body.url, tuple(body.types), body.enabled))
    secret = new_secret()
    with services.store.session() as session:
        record = webhooks.create(session, building, fields, secret)
        audit.add(session, actor, "webhook.created", building=building, target=record.id)
    response.headers["Location"] = f"/v1/buildings/{building}/webhooks/{record.id}"
    response.headers["ETag"] = etag(record.revision)
    return WebhookMade(**_members(record), secret=secret)


@router.get("/{webhook}", dependencies=OPERATE, responses=documented("not-found"))
def get_webhook(services: Serving, building: BuildingId, webhook: Id, response: Response) -> WebhookRead:
    """Read one webhook."""
    with services.store.reading() as session:
        record = webhooks.get(session, building, webhook)
    response.headers["ETag"] = etag(record.revision)
    return WebhookRead.of(record)


@router.patch("/{webhook}", dependencies=OPERATE, responses=documented("not-found", "precondition-failed"))
def update_webhook(
    services: Serving,
    actor: Acting,
    building: BuildingId,
    webhook: Id,
    body: WebhookUpdate,
    response: Response,
    if_match: IfMatch = None,
) -> WebhookRead:
    """Change a webhook; switching it on again sends what waits."""
    changes = body.changes()
    if "types" in changes:
        changes["types"] = tuple(changes["types"])
    with services.store.session() as session:
        present = webhooks.get(session, building, webhook)
        check_if_match(if_match, present.revision)
        fields = _checked(services, replace(present.fields, **changes))
        record = webhooks.update(session, building, webhook, fields, present.revision)
        audit.add(
            session, actor, "webhook.updated", building=building, target=webhook, detail={"fields": sorted(changes)}
        )
    response.headers["ETag"] = etag(record.revision)
    return WebhookRead.of(record)


@router.delete(
    "/{webhook}", status_code=204, dependencies=OPERATE, responses=documented("not-found", "precondition-failed")
)
def delete_webhook(
    services: Serving, actor: Acting, building: BuildingId, webhook: Id, if_match: IfMatch = None
) -> None:
    """Remove a webhook with its log; what waits is not sent."""
    with services.store.session() as session:
        check_if_match(if_match, webhooks.get(session, building, webhook).revision)
        webhooks.delete(session, building, webhook)
        audit.add(session, actor, "webhook.deleted", building=building, target=webhook)


@router.post("/{webhook}/secrets", status_code=201, dependencies=OPERATE, responses=documented("not-found"))
def create_webhook_secret(services: Serving, actor: Acting, building: BuildingId, webhook: Id) -> SecretMade:
    """Begin to sign with a new secret; for a day the former one signs too, so that the receiver can change over."""
    secret = new_secret()
    with services.store.session() as session:
        until = webhooks.add_secret(session, building, webhook, secret)
        audit.add(session, actor, "webhook.secret_added", building=building, target=webhook)
    return SecretMade(secret=secret, former_signs_until=until)


@router.get("/{webhook}/deliveries", dependencies=OPERATE, responses=documented("not-found", "invalid-page-token"))
def list_deliveries(
    services: Serving, building: BuildingId, webhook: Id, page_size: PageSize = PAGE, page_token: PageToken = None
) -> Page[DeliveryRead]:
    """List what was delivered, what waits and what was given up, newest first."""
    with services.store.reading() as session:
        return page_of(deliveries.listing(session, building, webhook, page_size, page_token), DeliveryRead.of)


@router.post("/{webhook}/deliveries", status_code=201, dependencies=OPERATE, responses=documented("not-found"))
def create_delivery(
    services: Serving, actor: Acting, building: BuildingId, webhook: Id, body: DeliveryCreate
) -> DeliveryRead:
    """Send an event of the building, again or for the first time; its `expires_at` stays what it was."""
    with services.store.session() as session:
        record = webhooks.requeue(session, building, webhook, body.event)
        detail = {"event": body.event}
        audit.add(session, actor, "webhook.redelivered", building=building, target=webhook, detail=detail)
    return DeliveryRead.of(record)


def _members(record: WebhookRecord) -> dict[str, Any]:
    fields = record.fields
    return {
        "id": record.id,
        "building": record.building,
        "name": fields.name,
        "url": fields.url,
        "types": list(fields.types),
        "enabled": fields.enabled,
        "trouble": record.trouble,
        "waiting": record.waiting,
        "revision": record.revision,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }


def _checked(services: Serving, fields: WebhookFields) -> WebhookFields:
    try:
        check_url(fields.url, services.webhook_networks)
    except ValueError as error:
        raise invalid("#/url", str(error)) from error
    return fields
