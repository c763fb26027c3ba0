"""`cardea models export`: turns a trained run into an artefact."""

import argparse
from pathlib import Path

from models.calibration import calibration_pictures
from models.commands import add_cache, say
from models.detection.export import export


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--out", type=Path, required=True, help="folder of the artefact")
    add_cache(parser)


def run(arguments: argparse.Namespace) -> int:
    """Export."""
    export(arguments.run, arguments.out, calibration_pictures(arguments.cache), say)
    say(f"{arguments.out}: exported")
    return 0
