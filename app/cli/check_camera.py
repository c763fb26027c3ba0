"""``cardea check-camera``: open a source once and say what came of it, before it is saved as a camera.

The question comes as JSON on stdin, so that no list of processes shows a password; the answer goes to stdout.
"""

import argparse
import json
import sys
from dataclasses import asdict

from app.errors import SetupError
from app.sources import validate_source
from app.types import Camera
from workers.checking import check


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command: it has none."""
    parser.description = (
        'Read {"source": "rtsp://...", "transport": "tcp", "ca_certificate": null} from stdin, open that source, and '
        "print as JSON what came: state, detail, codec, size, rate and a still picture."
    )


def run(arguments: argparse.Namespace) -> int:
    """Check one source.

    Raises:
        SetupError: stdin holds no such question.
    """
    try:
        asked = json.load(sys.stdin)
        source, transport = str(asked["source"]), asked.get("transport", "tcp")
        validate_source(source)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SetupError("stdin must hold a JSON object with a `source`: rtsp://, rtsps:// or a file") from error
    camera = Camera("check", "", "", source, transport=transport, ca_certificate=asked.get("ca_certificate"))
    print(json.dumps(asdict(check(camera))))
    return 0
