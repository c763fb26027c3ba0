"""`cardea models parity`: compares the starter nets with their sources in the engines these were made for."""

import argparse
from pathlib import Path

from models.commands import add_cache, say
from models.parity import measure_parity


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--tensorflow-python", required=True, type=Path, help="an interpreter that has TensorFlow")
    add_cache(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and write what was found."""
    measure_parity(arguments.tensorflow_python, arguments.cache, say)
    return 0
