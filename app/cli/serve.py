"""`cardea serve`: the API alone; workers run elsewhere on the same database and Redis."""

import argparse

from prometheus_client import CollectorRegistry

from app.cli.logs import log_to_stderr
from app.cli.process import first_key, open_store
from app.cli.running import announce, shared_redis, wait_for_signal
from app.cli.web import api_server, serving, side_jobs
from app.settings import Settings
from workers.pipeline import Nets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take none: an operator sets CARDEA_* in the environment."""


def run(arguments: argparse.Namespace) -> int:
    """Run until SIGINT or SIGTERM."""
    settings = Settings()
    log_to_stderr(settings.log_level, settings.log_format)
    redis_url = shared_redis(settings)
    nets = Nets.open()
    with open_store(settings) as store:
        key = first_key(store)
        server = api_server(settings, store, redis_url, nets, CollectorRegistry())
        with side_jobs(settings, store, redis_url, nets) as jobs_run, serving(server) as address:
            announce(address, key)
            return wait_for_signal(jobs_run)
