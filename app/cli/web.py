"""The API as a block of a process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from prometheus_client import CollectorRegistry

from app.api.app import ApiServer, create_app
from app.api.services import Services
from app.errors import SetupError
from app.settings import Settings
from app.store.engine import Store
from workers.pipeline import Nets


def api_server(
    settings: Settings, store: Store, redis_url: str, nets: Nets, registry: CollectorRegistry
) -> uvicorn.Server:
    """Return the API, ready to `run`."""
    services = Services(store, nets.finder, nets.embedder, redis_url, settings.stream, registry)
    config = uvicorn.Config(
        create_app(services),
        host=settings.host,
        port=settings.port,
        http="httptools",
        loop="asyncio",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=5,
    )
    return ApiServer(config, services)


@contextmanager
def serving(server: uvicorn.Server) -> Iterator[str]:
    """Run the API in a thread of its own and yield its address once it answers.

    Raises:
        SetupError: it did not start, for instance because the port is taken.
    """
    thread = threading.Thread(target=server.run, name="api", daemon=True)
    thread.start()
    while not server.started:
        thread.join(timeout=0.02)
        if not thread.is_alive():
            raise SetupError(f"the API cannot listen on {server.config.host}:{server.config.port}; is the port taken?")
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://{server.config.host}:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
