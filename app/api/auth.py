"""Who may do what: keys in the Authorization header, each with a scope and perhaps bound to one building."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.api.problems import ProblemError
from app.api.schemas import BuildingId
from app.api.services import Services, Serving
from app.store import keys
from app.store.audit import Actor
from app.store.records import KeyRecord, Scope

# A scope holds those behind it.
_HOLDS = {
    Scope.OPERATOR: {Scope.OPERATOR, Scope.VIEWER, Scope.DEVICE},
    Scope.VIEWER: {Scope.VIEWER, Scope.DEVICE},
    Scope.DEVICE: {Scope.DEVICE},
}
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="cardea"'}

_bearer = HTTPBearer(auto_error=False, scheme_name="key", description="`Authorization: Bearer KEY`")


def check_key(services: Services, secret: str) -> KeyRecord:
    """Return the key of a secret.

    Raises:
        ProblemError: it is unknown, expired or revoked.
    """
    with services.store.reading() as session:
        key = keys.verify(session, secret)
    if key is None:
        raise ProblemError("unauthenticated", "The key is unknown, expired or revoked.", _CHALLENGE)
    return key


def bearer_secret(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> str:
    """Return the secret that the request carries."""
    if credentials is None:
        raise ProblemError("unauthenticated", "The request carries no key.", _CHALLENGE)
    return credentials.credentials


Secret = Annotated[str, Depends(bearer_secret)]


def current_key(services: Serving, secret: Secret) -> KeyRecord:
    """Return the key of this request."""
    return check_key(services, secret)


Key = Annotated[KeyRecord, Depends(current_key)]


def client_address(request: Request) -> str:
    """Return where a request comes from; behind a proxy that uvicorn trusts, what the proxy says."""
    return "" if request.client is None else request.client.host


def current_actor(request: Request, key: Key) -> Actor:
    """Return who the audit trail names for this request."""
    return Actor("key", key.id, key.name, client_address(request))


Acting = Annotated[Actor, Depends(current_actor)]


def needs(scope: Scope) -> Callable[[KeyRecord], Coroutine[Any, Any, None]]:
    """Return the dependency that lets keys through whose scope holds `scope`."""

    async def check(key: Key) -> None:
        if scope not in _HOLDS[key.scope]:
            raise ProblemError(
                "scope-too-small", f"This needs a key of scope {scope}; this one is of scope {key.scope}."
            )

    return check


def needs_here(scope: Scope) -> Callable[[KeyRecord, str], Coroutine[Any, Any, None]]:
    """Return the same for the building in the path. It does not tell whether another building exists."""
    allowed = needs(scope)

    async def check(key: Key, building: BuildingId) -> None:
        await allowed(key)
        if key.building not in (None, building):
            raise ProblemError("other-building", f"The key belongs to building {key.building}.")

    return check


def needs_everywhere(scope: Scope) -> Callable[[KeyRecord], Coroutine[Any, Any, None]]:
    """Return the same for what concerns all buildings at once."""
    allowed = needs(scope)

    async def check(key: Key) -> None:
        await allowed(key)
        if key.building is not None:
            raise ProblemError("other-building", "This needs a key of all buildings.")

    return check
