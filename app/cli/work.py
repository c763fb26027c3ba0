"""`cardea work`: a worker alone; any number of them share a database and a Redis."""

import argparse

from prometheus_client import CollectorRegistry, start_http_server

from app.cli.logs import log_to_stderr
from app.cli.process import open_store, working
from app.cli.running import shared_redis, wait_for_signal
from app.settings import Settings
from workers.pipeline import Nets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where the worker shows its metrics."""
    parser.add_argument("--metrics-port", type=int, help="show /metrics on this port of the loopback address")


def run(arguments: argparse.Namespace) -> int:
    """Run until SIGINT or SIGTERM."""
    settings, registry = Settings(), CollectorRegistry()
    log_to_stderr(settings.log_level, settings.log_format)
    redis_url = shared_redis(settings)
    if arguments.metrics_port is not None:
        start_http_server(arguments.metrics_port, settings.host, registry)
    nets = Nets.open()
    with open_store(settings) as store, working(settings, store, redis_url, nets, registry) as worker:
        return wait_for_signal(lambda: not worker.wait(0))
