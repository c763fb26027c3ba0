"""`cardea models study`: compares ways to teach a small embedder, as a study's file says."""

import argparse
from pathlib import Path

from models.commands import add_cache, add_sets, say
from models.recognition.study import Study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("file", type=Path, help="study's file, such as models/runs/study.toml")
    parser.add_argument("--resume", action="store_true", help="go on behind the last finished cell")
    parser.add_argument("--only", nargs="+", default=[], metavar="METHOD", help="teach these alone (all)")
    parser.add_argument("--out", required=True, type=Path, help="folder of the study")
    add_sets(parser)
    add_cache(parser)


def run(arguments: argparse.Namespace) -> int:
    """Teach, judge, and write the table and the plot."""
    study = Study(arguments.file, arguments.out, arguments.resume, arguments.only)
    study.run(arguments.cache, arguments.sets or [arguments.cache / "faces"], say)
    say(f"{arguments.out}: done")
    return 0
