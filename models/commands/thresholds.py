"""`cardea models thresholds`: measures how alike different people look to the embedder."""

import argparse
from pathlib import Path

from models.commands import add_cache, say
from models.thresholds import measure_thresholds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--pictures", required=True, type=Path, help="folder of photographs, one person on each")
    parser.add_argument("--identities", required=True, type=Path, help="text file: picture's name, person; a line each")
    parser.add_argument("--source", required=True, help="what these pictures are, for the card")
    add_cache(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and write the table into the embedder's card."""
    measure_thresholds(arguments.pictures, arguments.identities, arguments.source, arguments.cache, say)
    return 0
