"""API keys: made with a scope and perhaps for one building, shown once, listed without their secret, replaced, revoked.

An operator's key of one building manages the keys of that building.
"""

from datetime import datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from sqlalchemy.orm import Session

from app.api.auth import Acting, Key, forbidden, needs
from app.api.problems import documented, invalid
from app.api.schemas import PAGE, BuildingSlug, Id, Moment, Page, PageSize, PageToken, Patch, Strictly, Text, page_of
from app.api.services import Serving
from app.errors import ConflictError, NotFoundError
from app.store import audit, keys
from app.store.records import KeyRecord, Refusal, Scope

router = APIRouter(prefix="/api-keys", tags=["api keys"])
OPERATE = [Depends(needs(Scope.OPERATOR))]


_EXAMPLE: dict[str, JsonValue] = {
    "name": "front door controller",
    "scope": "device",
    "building": "main",
    "expires_at": "2027-01-01T00:00:00Z",
}
_SHOWN: dict[str, JsonValue] = {
    "id": "key_1f0c6f4b5a0d4e2b9c7a",
    "prefix": "cardea_Xq3vT",
    **_EXAMPLE,
    "created_at": "2026-01-01T08:00:00Z",
    "revoked_at": None,
    "rotated_from": "key_9b8a7c6d5e4f3a2b1c0d",
    "last_used_at": None,
}

Hours = Annotated[float, Field(ge=0, le=720, allow_inf_nan=False)]


class KeyCreate(Strictly):
    """A key to make, perhaps in place of another one of the same scope and building."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [_EXAMPLE, _EXAMPLE | {"replaces": "key_9b8a7c6d5e4f3a2b1c0d"}]}
    )

    name: Text
    scope: Literal["operator", "viewer", "device"] = Field(
        description="operator: everything; viewer: read; device: receive events"
    )
    building: BuildingSlug | None = Field(description="null: all buildings")
    expires_at: Moment | None = None
    replaces: Text | None = Field(None, description="id of the key that ends when this one has taken its place")
    grace_hours: Hours = Field(24.0, description="how long the replaced key stays good; 0 ends it at once")


class KeyUpdate(Patch):
    """What to change about a key."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "garage", "expires_at": None}]})

    name: Text = ""
    expires_at: Moment | None = None


class KeyRead(BaseModel):
    """A key without its secret."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SHOWN]})

    id: str
    name: str
    prefix: str = Field(description="how the secret begins")
    scope: Scope
    building: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    rotated_from: str | None = Field(description="the key that this one replaces")
    last_used_at: datetime | None = Field(description="to the minute")


class KeyCreated(KeyRead):
    """A new key. `secret` is never shown again."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [_SHOWN | {"secret": "cardea_Xq3vTsMCbFh3W1Zy0aGq9uKJmRk7dQx2LrVpN5eHtUo"}]}
    )

    secret: str


@router.get("", dependencies=OPERATE, responses=documented("invalid-page-token"))
def list_api_keys(
    services: Serving, key: Key, page_size: PageSize = PAGE, page_token: PageToken = None
) -> Page[KeyRead]:
    """List keys, expired and revoked ones too; a key of one building sees those of its building."""
    with services.store.reading() as session:
        return page_of(keys.listing(session, page_size, page_token, key.building), _read)


@router.post("", status_code=201, dependencies=OPERATE, responses=documented("not-found", "conflict"))
def create_api_key(
    request: Request, services: Serving, key: Key, actor: Acting, body: KeyCreate, response: Response
) -> KeyCreated:
    """Make a key and show its secret this once.

    With `replaces` the new key takes the place of another one of the same scope and building, which ends after
    `grace_hours`.
    """
    if key.building not in (None, body.building):
        detail = f"A key of building {key.building} makes keys of that building alone."
        raise forbidden(request, key, Refusal.OTHER_BUILDING, detail)
    scope = Scope(body.scope)
    with services.store.session() as session:
        if body.replaces is not None:
            replaced = _within(key, keys.get(session, body.replaces))
            if (replaced.scope, replaced.building) != (scope, body.building):
                raise invalid("#/replaces", "the key that is replaced has another scope or building")
            keys.retire(session, replaced.id, timedelta(hours=body.grace_hours))
        record, secret = keys.create(session, body.name, scope, body.building, body.expires_at, body.replaces)
        made = {"scope": body.scope} | ({} if body.replaces is None else {"replaces": body.replaces})
        audit.add(session, actor, "key.created", building=record.building, target=record.id, detail=made)
    response.headers["Location"] = f"/v1/api-keys/{record.id}"
    response.headers["Cache-Control"] = "no-store"
    return KeyCreated(**_read(record).model_dump(), secret=secret)


@router.get("/{api_key}", dependencies=OPERATE, responses=documented("not-found"))
def get_api_key(services: Serving, key: Key, api_key: Id) -> KeyRead:
    """Read one key. One that was revoked is gone from here; the list keeps it."""
    with services.store.reading() as session:
        return _read(_present(session, key, api_key))


@router.patch("/{api_key}", dependencies=OPERATE, responses=documented("not-found", "conflict"))
def update_api_key(services: Serving, key: Key, actor: Acting, api_key: Id, body: KeyUpdate) -> KeyRead:
    """Rename a key or change when it ends. A key cannot change its own end."""
    changes = body.changes()
    if api_key == key.id and "expires_at" in changes:
        raise ConflictError("a key cannot change its own end: use another operator's key")
    with services.store.session() as session:
        present = _present(session, key, api_key)
        name, expires_at = changes.get("name", present.name), changes.get("expires_at", present.expires_at)
        record = keys.update(session, api_key, name, expires_at)
        detail = {"fields": sorted(changes)}
        audit.add(session, actor, "key.changed", building=record.building, target=api_key, detail=detail)
    return _read(record)


@router.delete("/{api_key}", status_code=204, dependencies=OPERATE, responses=documented("not-found", "conflict"))
def revoke_api_key(services: Serving, key: Key, actor: Acting, api_key: Id) -> None:
    """Revoke a key: it opens nothing from the answer on, and its open event streams end within seconds.

    A key cannot revoke itself, so that there is always one left to operate with.
    """
    if api_key == key.id:
        raise ConflictError("a key cannot revoke itself: use another operator's key")
    with services.store.session() as session:
        record = _present(session, key, api_key)
        keys.revoke(session, api_key)
        audit.add(session, actor, "key.revoked", building=record.building, target=api_key)


def _present(session: Session, key: KeyRecord, api_key: str) -> KeyRecord:
    """Return a key that was not revoked and that `key` may see.

    Raises:
        NotFoundError: there is none.
    """
    found = _within(key, keys.get(session, api_key))
    if found.revoked_at is not None:
        raise NotFoundError(f"key {api_key!r} was revoked; the list of keys tells when")
    return found


def _within(key: KeyRecord, found: KeyRecord) -> KeyRecord:
    """Hide the keys of other buildings.

    Raises:
        NotFoundError: `found` is none of those that `key` may see.
    """
    if key.building not in (None, found.building):
        raise NotFoundError(f"there is no key {found.id!r}")
    return found


def _read(record: KeyRecord) -> KeyRead:
    return KeyRead(
        id=record.id,
        name=record.name,
        prefix=record.prefix,
        scope=record.scope,
        building=record.building,
        created_at=record.created_at,
        expires_at=record.expires_at,
        revoked_at=record.revoked_at,
        rotated_from=record.rotated_from,
        last_used_at=record.last_used_at,
    )
