"""The API as a block of a process."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version

import uvicorn
from prometheus_client import CollectorRegistry

from app.api.app import ApiServer, create_app
from app.api.services import Services
from app.enrolment.job import EnrolmentJob
from app.errors import SetupError
from app.mqtt.bridge import MqttBridge
from app.mqtt.broker import Broker
from app.retention import RetentionJob
from app.settings import Settings
from app.side_job import SideJob
from app.store import cameras
from app.store.engine import Store
from app.store.records import Door
from app.stream_erasure import StreamEraser
from app.web.app import add_dashboard
from app.webhooks.addresses import parse_networks
from app.webhooks.sender import Poster, WebhookSender
from workers.pipeline import Nets


def api_server(
    settings: Settings, store: Store, redis_url: str, nets: Nets, registry: CollectorRegistry
) -> uvicorn.Server:
    """Return the API, ready to `run`."""
    services = Services(
        store=store,
        finder=nets.finder,
        embedders=nets.embedders,
        redis_url=redis_url,
        stream=settings.stream,
        registry=registry,
        target_fpir=settings.target_fpir,
        videos=settings.videos,
        webhook_networks=parse_networks(settings.webhook_networks),
    )
    app = create_app(services)
    add_dashboard(app)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http="httptools",
        loop="asyncio",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=5,
        forwarded_allow_ips=settings.proxies,
    )
    return ApiServer(config, services)


@contextmanager
def side_jobs(settings: Settings, store: Store, redis_url: str, nets: Nets) -> Iterator[Callable[[], bool]]:
    """Run what an API process does beside answering; every job may run in several processes at once.

    Yields:
        Tells whether all of them run: a process without one of them should end and be started again.

    Raises:
        SetupError: a setting cannot be read.
    """
    poster = Poster(parse_networks(settings.webhook_networks))
    webhooks = WebhookSender(store, poster)
    enrolments = EnrolmentJob(store, nets.finder, nets.embedders)
    eraser = StreamEraser(redis_url, settings.stream)
    jobs: list[SideJob] = [webhooks, enrolments, RetentionJob(store, eraser)]
    if settings.mqtt_url is not None:
        jobs.append(_mqtt(settings, settings.mqtt_url.get_secret_value(), store, redis_url))
    for job in jobs:
        job.start()
    try:
        yield lambda: all(job.alive for job in jobs)
    finally:
        for job in reversed(jobs):
            job.stop()
        poster.close()
        eraser.close()


def _mqtt(settings: Settings, url: str, store: Store, redis_url: str) -> MqttBridge:
    def doors() -> list[Door]:
        with store.reading() as session:
            return cameras.doors(session)

    root, prefix = settings.mqtt_topic, settings.mqtt_discovery
    broker = Broker(url, settings.mqtt_ca, root)
    return MqttBridge(broker, redis_url, settings.stream, doors, root, prefix, version("cardea"))


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
