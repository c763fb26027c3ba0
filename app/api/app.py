"""The wiring of the HTTP side: routers, problems, middleware, and a server that ends its streams when it stops."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI
from fastapi.concurrency import run_in_threadpool

from app.api import (
    api_keys,
    audit,
    buildings,
    camera_checks,
    camera_timings,
    cameras,
    corrections,
    enrolments,
    event_enrolments,
    events,
    face_checks,
    gallery_health,
    health,
    identify,
    operations,
    persons,
    photos,
    problems,
    webhooks,
)
from app.api.idempotency import Idempotency
from app.api.key_log import KeyLog
from app.api.limits import RateLimiter
from app.api.metrics import StoreMetrics
from app.api.middleware import BodyLimit, KeyCheck, Unambiguous, Watch
from app.api.openapi import TITLE, describe, operation_id
from app.api.services import Services


class Api(FastAPI):
    """An application that describes itself by `app.api.openapi`, when somebody asks."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        if self.openapi_schema is None:
            self.openapi_schema = describe(self, self.version)
        return self.openapi_schema


def create_app(services: Services) -> Api:
    """Return the application; it reads no environment and opens nothing."""
    app = Api(
        title=TITLE,
        version=version("cardea"),
        docs_url=None,  # the usual pages load their scripts from somebody else's server
        redoc_url=None,
        generate_unique_id_function=operation_id,
        lifespan=_lifespan,
    )
    app.state.services = services
    app.state.key_log = KeyLog(services.store)
    app.state.limiter = RateLimiter()
    v1 = APIRouter(prefix="/v1")
    for module in (
        buildings,
        persons,
        photos,
        enrolments,
        operations,
        cameras,
        camera_checks,
        camera_timings,
        events,
        event_enrolments,
        corrections,
        face_checks,
        identify,
        gallery_health,
        api_keys,
        audit,
        webhooks,
    ):
        v1.include_router(module.router)
    app.include_router(v1)
    app.include_router(health.router)
    app.include_router(problems.router)
    problems.install(app)
    app.add_middleware(Unambiguous)
    app.add_middleware(Idempotency)
    app.add_middleware(KeyCheck)
    app.add_middleware(BodyLimit)
    app.add_middleware(Watch, registry=services.registry)  # the last one added stands outermost
    StoreMetrics(services.store, services.registry)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    log: KeyLog = app.state.key_log
    log.start()
    yield
    await run_in_threadpool(log.stop)


class ApiServer(uvicorn.Server):
    """A server that first tells the event streams to end: they would otherwise hold it until its patience ends."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self._closing = services.closing

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, let streams and requests end."""
        self._closing.set()
        await super().shutdown(sockets)
