"""`cardea models yardstick NAME`: writes a net whose time `cardea bench embedder` compares with our embedder's."""

import argparse
from pathlib import Path

from models.commands import add_cache
from models.evaluate.yardsticks import YARDSTICKS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("name", choices=YARDSTICKS)
    parser.add_argument("--out", required=True, type=Path, metavar="ONNX", help="file to write")
    add_cache(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write it."""
    arguments.out.write_bytes(YARDSTICKS[arguments.name](arguments.cache))
    return 0
