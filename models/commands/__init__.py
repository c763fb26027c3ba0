"""One module per command of the toolchain: its options, and what it runs."""

import argparse
import json
import os
import sys
from pathlib import Path

CACHE = Path(os.environ.get("CARDEA_CACHE", "~/.cache/cardea")).expanduser()  # the demo uses it too


def add_cache(command: argparse.ArgumentParser) -> None:
    """Declare where fetched packages are kept."""
    command.add_argument("--cache", type=Path, default=CACHE, help="folder that keeps fetched packages")


def add_sets(command: argparse.ArgumentParser) -> None:
    """Declare where packed sets lie."""
    command.add_argument("--sets", type=Path, action="append", help="folder of packed sets, may be given several times")


def say(text: str) -> None:
    """Tell the operator how far the work is."""
    print(text, file=sys.stderr, flush=True)


def print_json(figures: object, *, on_one_line: bool) -> None:
    """Print figures on stdout."""
    print(json.dumps(figures, default=str, indent=None if on_one_line else 2), flush=True)
