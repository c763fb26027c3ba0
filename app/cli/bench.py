"""`cardea bench WHAT`: measurements as JSON on stdout, progress on stderr."""

import argparse

from app.cli import (
    bench_cameras,
    bench_detector,
    bench_embedder,
    bench_enrolment,
    bench_soak,
    bench_still,
    bench_visits,
    print_json,
)
from app.cli.logs import log_to_stderr

BENCHES = {
    "cameras": (bench_cameras, "cores, latency and stage costs of N cameras over real RTSP"),
    "detector": (bench_detector, "milliseconds of a still and of an open frame in each precision"),
    "embedder": (bench_embedder, "milliseconds of one face in each precision, beside its forerunner and larger nets"),
    "enrolment": (
        bench_enrolment,
        "seconds from the upload of a photo to the grant of somebody who stands at the door",
    ),
    "soak": (bench_soak, "memory, threads and descriptors of a worker whose cameras come, go and fail"),
    "still": (bench_still, "CPU of still cameras by stage, with and without looking at packets before decoding"),
    "visits": (bench_visits, "who is let in: portraits walk up to cameras, some enrolled and some not"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one sub-command per benchmark."""
    benches = parser.add_subparsers(dest="bench", required=True, metavar="WHAT")
    for name, (module, summary) in BENCHES.items():
        bench = benches.add_parser(name, help=summary, description=summary)
        module.add_arguments(bench)
        bench.add_argument("--json", action="store_true", help="print JSON on one line (else indented)")


def run(arguments: argparse.Namespace) -> int:
    """Run one benchmark and print its figures."""
    log_to_stderr("WARNING")
    print_json(BENCHES[arguments.bench][0].run(arguments), indent=None if arguments.json else 2)
    return 0
