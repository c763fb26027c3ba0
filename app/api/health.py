"""Whether the server lives, whether it can work, and what it measures. The state of cameras is data, not health."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.api.auth import needs_everywhere
from app.api.problems import ProblemError, documented
from app.api.services import Serving
from app.errors import CardeaError
from app.events import EventStream
from app.store.records import Scope

router = APIRouter(tags=["health"])

_METRICS = """# HELP cardea_store_up 1 while the database answers.
# TYPE cardea_store_up gauge
cardea_store_up 1.0
"""


def _shown(media_type: str, example: Any, **schema: str) -> dict[int | str, dict[str, Any]]:
    content: dict[str, Any] = {"example": example} | ({"schema": schema} if schema else {})
    return {200: {"content": {media_type: content}, "description": "What was asked for"}}


@router.get("/livez", responses=_shown("application/json", {"status": "alive"}))
def get_liveness() -> dict[str, str]:
    """Say that the process answers; it asks nobody else."""
    return {"status": "alive"}


@router.get(
    "/readyz",
    responses=documented("not-ready") | _shown("application/json", {"checks": {"store": "ok", "stream": "ok"}}),
)
def get_readiness(services: Serving) -> dict[str, dict[str, str]]:
    """Ask each dependency for a sign of life."""
    stream = EventStream(services.redis_url, services.stream, length=1)
    try:
        checks = {"store": _check(services.store.check), "stream": _check(stream.check)}
    finally:
        stream.close()
    away = [name for name, answer in checks.items() if answer != "ok"]
    if away:
        raise ProblemError("not-ready", f"No answer from: {', '.join(away)}.", {"Retry-After": "2"}, checks=checks)
    return {"checks": checks}


@router.get(
    "/metrics",
    dependencies=[Depends(needs_everywhere(Scope.VIEWER))],
    response_class=Response,
    responses=_shown("text/plain", _METRICS, type="string"),
)
def get_metrics(services: Serving) -> Response:
    """Show the metrics; a key is needed because they tell when somebody comes home."""
    return Response(generate_latest(services.registry), media_type=CONTENT_TYPE_LATEST)


def _check(ask: Callable[[], None]) -> str:
    try:
        ask()
    except CardeaError:  # its text may name hosts, and nobody was asked for a key here
        return "no answer"
    return "ok"
