"""`cardea models grid`: does a run file with every combination of values on named axes."""

import argparse
from pathlib import Path

from models.commands import add_cache, add_sets, print_json, say
from models.compress.grid import run_grid


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("file", type=Path, help="grid's file: the name of a run file beside it, and axes")
    parser.add_argument("--out", required=True, type=Path, help="folder of the runs; finished ones are skipped")
    add_sets(parser)
    add_cache(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do the runs that are left; the status is 1 when one failed."""
    summary = run_grid(arguments.file, arguments.out, arguments.sets or [arguments.cache / "faces"], say)
    print_json(summary, on_one_line=False)
    return 0 if set(summary["states"]) == {"finished"} else 1
