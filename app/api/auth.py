"""Who may do what: keys in the Authorization header, each with a scope and perhaps bound to one building."""

from collections.abc import Callable, Coroutine
from ipaddress import ip_address
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.api.key_log import KeyLog, Refused
from app.api.problems import ProblemError
from app.api.schemas import BuildingId
from app.api.services import Services
from app.store import keys
from app.store.audit import Actor
from app.store.records import KeyRecord, Refusal, Scope

Check = Callable[..., Coroutine[Any, Any, None]]

# A scope holds those behind it.
_HOLDS = {
    Scope.OPERATOR: {Scope.OPERATOR, Scope.VIEWER, Scope.DEVICE},
    Scope.VIEWER: {Scope.VIEWER, Scope.DEVICE},
    Scope.DEVICE: {Scope.DEVICE},
}
PATH = 200  # characters of a refused request's path that the trail keeps
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="cardea"'}

_bearer = HTTPBearer(auto_error=False, scheme_name="key", description="`Authorization: Bearer KEY`")


class KeyRefusedError(ProblemError):
    """There is no key, or it opens nothing."""

    def __init__(self, reason: Refusal, key: KeyRecord | None = None, prefix: str = "") -> None:
        detail = "The key is unknown, expired or revoked."  # which of them is for the audit trail alone
        if reason is Refusal.MISSING:
            detail = "The request carries no key."
        super().__init__("unauthenticated", detail, _CHALLENGE)
        self.reason = reason
        self.key = key
        self.prefix = prefix


def check_key(services: Services, secret: str) -> KeyRecord:
    """Return the key of a secret.

    Raises:
        KeyRefusedError: it is unknown, expired or revoked.
    """
    with services.store.reading() as session:
        key, reason = keys.examine(session, secret)
        if key is not None and reason is None:
            return key
        prefix = keys.known_prefix(session, secret) if key is None else ""
    raise KeyRefusedError(reason or Refusal.UNKNOWN, key, prefix)


def bearer_secret(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> str:
    """Return the secret that the request carries."""
    if credentials is None:
        raise KeyRefusedError(Refusal.MISSING)
    return credentials.credentials


Secret = Annotated[str, Depends(bearer_secret)]


def note_refusal(
    request: Request, reason: Refusal, key: KeyRecord | None = None, prefix: str = "", action: str = "key.refused"
) -> None:
    """Have a refusal written into the audit trail; this never fails and never waits."""
    log: KeyLog = request.app.state.key_log
    path = quote(request.url.path, safe="/:@")[:PATH]
    log.refused(Refused(reason, client_address(request), request.method, path, key, prefix, action))


def forbidden(request: Request, key: KeyRecord, reason: Refusal, detail: str) -> ProblemError:
    """Return the problem of a good key that may not do this, after noting it.

    Args:
        reason: scope too small or other building.
    """
    note_refusal(request, reason, key)
    return ProblemError(reason.value, detail)


async def current_key(request: Request, _secret: Secret) -> KeyRecord:
    """Return the key of this request, which `KeyCheck` has looked up before its body was read."""
    key: KeyRecord = request.state.key
    return key


Key = Annotated[KeyRecord, Depends(current_key)]


def client_address(request: Request) -> str:
    """Return the IP address that a request comes from; behind a proxy that uvicorn trusts, what the proxy says."""
    host = "" if request.client is None else request.client.host
    try:
        return str(ip_address(host))[:64]
    except ValueError:  # a proxy passed on what somebody made up
        return "unknown"


def current_actor(request: Request, key: Key) -> Actor:
    """Return who the audit trail names for this request."""
    return Actor("key", key.id, key.name, client_address(request))


Acting = Annotated[Actor, Depends(current_actor)]


def needs(scope: Scope) -> Check:
    """Return the dependency that lets keys through whose scope holds `scope`; the API's description names it too."""
    held = Security(current_key, scopes=[scope.value])

    async def check(request: Request, key: KeyRecord = held) -> None:
        _check_scope(request, key, scope)

    return check


def needs_here(scope: Scope) -> Check:
    """Return the same for the building in the path. It does not tell whether another building exists."""
    held = Security(current_key, scopes=[scope.value])

    async def check(request: Request, building: BuildingId, key: KeyRecord = held) -> None:
        _check_scope(request, key, scope)
        if key.building not in (None, building):
            detail = f"The key belongs to building {key.building}."
            raise forbidden(request, key, Refusal.OTHER_BUILDING, detail)

    return check


def needs_everywhere(scope: Scope) -> Check:
    """Return the same for what concerns all buildings at once."""
    held = Security(current_key, scopes=[scope.value])

    async def check(request: Request, key: KeyRecord = held) -> None:
        _check_scope(request, key, scope)
        if key.building is not None:
            raise forbidden(request, key, Refusal.OTHER_BUILDING, "This needs a key of all buildings.")

    return check


def _check_scope(request: Request, key: KeyRecord, scope: Scope) -> None:
    if scope not in _HOLDS[key.scope]:
        detail = f"This needs a key of scope {scope}; this one is of scope {key.scope}."
        raise forbidden(request, key, Refusal.SCOPE_TOO_SMALL, detail)
