"""`cardea retention`: what the hourly job does, now and by hand."""

import argparse
import sys

from app.cli import print_json
from app.cli.process import open_store
from app.embedded import known_url
from app.retention import Report, enforce, survey
from app.settings import Settings
from app.store.clock import now
from app.stream_erasure import StreamEraser


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add whether to change anything, and how to tell."""
    parser.add_argument("--dry-run", action="store_true", help="count what would go, and change nothing")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Return 0, or 1 when another process is at it.

    Raises:
        StoreUnavailableError: the database does not answer.
    """
    settings = Settings()
    url = known_url(settings.data / "stream") if settings.redis_url is None else settings.redis_url.get_secret_value()
    with open_store(settings) as store:
        with store.reading() as session:
            moment = now(session)
        stream = None if url is None else StreamEraser(url, settings.stream)
        report = survey(store, moment) if arguments.dry_run else enforce(store, stream, moment)
        if stream is not None:
            stream.close()
    _tell(report, arguments)
    return 1 if report.busy else 0


def _tell(report: Report, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print_json(report.as_json())
    elif report.busy:
        print("another process enforces retention now", file=sys.stderr)
    else:
        for building, kinds in report.removed.items():
            for kind, number in kinds.items():
                print(f"{building or 'all buildings'}: {number} {kind}")
