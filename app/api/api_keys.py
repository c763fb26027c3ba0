"""API keys: made with a scope and perhaps for one building, shown once, listed without their secret, revoked."""

from datetime import datetime
from typing import Literal

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field

from app.api.auth import Key, needs
from app.api.problems import ProblemError, documented
from app.api.schemas import PAGE, BuildingSlug, Id, Moment, Page, PageSize, PageToken, Strictly, Text, page_of
from app.api.services import Serving
from app.errors import ConflictError, NotFoundError
from app.store import keys
from app.store.records import KeyRecord, Scope

router = APIRouter(prefix="/api-keys", tags=["api keys"])
OPERATE = [Depends(needs(Scope.OPERATOR))]


class KeyCreate(Strictly):
    """A key to make."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "front door controller", "scope": "device", "building": "main", "expires_at": None}]
        }
    )

    name: Text
    scope: Literal["operator", "viewer", "device"] = Field(
        description="operator: everything; viewer: read; device: receive events"
    )
    building: BuildingSlug | None = Field(description="null: all buildings")
    expires_at: Moment | None = None


class KeyRead(BaseModel):
    """A key without its secret."""

    id: str
    name: str
    prefix: str = Field(description="how the secret begins")
    scope: Scope
    building: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class KeyCreated(KeyRead):
    """A new key. `secret` is never shown again."""

    secret: str


@router.get("", dependencies=OPERATE, responses=documented("invalid-page-token"))
def list_api_keys(
    services: Serving, key: Key, page_size: PageSize = PAGE, page_token: PageToken = None
) -> Page[KeyRead]:
    """List keys, expired and revoked ones too; a key of one building sees those of its building."""
    with services.store.reading() as session:
        return page_of(keys.listing(session, page_size, page_token, key.building), _read)


@router.post("", status_code=201, dependencies=OPERATE, responses=documented("not-found"))
def create_api_key(services: Serving, key: Key, body: KeyCreate, response: Response) -> KeyCreated:
    """Make a key and show its secret this once."""
    if key.building not in (None, body.building):
        raise ProblemError("other-building", f"A key of building {key.building} makes keys of that building alone.")
    with services.store.session() as session:
        record, secret = keys.create(session, body.name, Scope(body.scope), body.building, body.expires_at)
    response.headers["Location"] = f"/v1/api-keys/{record.id}"
    response.headers["Cache-Control"] = "no-store"
    return KeyCreated(**_read(record).model_dump(), secret=secret)


@router.get("/{api_key}", dependencies=OPERATE, responses=documented("not-found"))
def get_api_key(services: Serving, key: Key, api_key: Id) -> KeyRead:
    """Read one key."""
    with services.store.reading() as session:
        record = keys.get(session, api_key)
    return _read(_within(key, record))


@router.delete("/{api_key}", status_code=204, dependencies=OPERATE, responses=documented("not-found", "conflict"))
def revoke_api_key(services: Serving, key: Key, api_key: Id) -> None:
    """Revoke a key: it opens nothing from the answer on, and its open event streams end within seconds.

    A key cannot revoke itself, so that there is always one left to operate with.
    """
    if api_key == key.id:
        raise ConflictError("a key cannot revoke itself: use another operator's key")
    with services.store.session() as session:
        _within(key, keys.get(session, api_key))
        keys.revoke(session, api_key)


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
    )
