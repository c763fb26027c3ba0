"""`cardea models compare`: compares ways to make a net smaller, each a run file, over several seeds."""

import argparse
from pathlib import Path

from models.commands import add_cache, add_sets, say
from models.compress.compare import as_text, compare


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("files", nargs="+", type=Path, help="run files, such as models/runs/compress/study/*.toml")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of each file, in place of its own")
    parser.add_argument("--out", required=True, type=Path, help="folder of runs, table and plot; finished runs stay")
    add_sets(parser)
    add_cache(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do the runs that are left, and print the table."""
    folders = arguments.sets or [arguments.cache / "faces"]
    print(as_text(compare(arguments.files, arguments.seeds, arguments.out, folders, say)), flush=True)
    return 0
