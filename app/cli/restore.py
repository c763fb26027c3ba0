"""`cardea restore FILE`: put a backup in the place of an empty database, or of one that is in use."""

import argparse
import sys
from contextlib import closing
from pathlib import Path

from app.cli.counting import counting
from app.keyring import Keyring
from app.settings import Settings
from app.store.engine import Store
from app.store.restore import restore


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the backup, and whether it may replace something."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a backup made by `cardea backup`")
    parser.add_argument("--replace", action="store_true", help="also in the place of a database that is in use")


def run(arguments: argparse.Namespace) -> int:
    """Restore, and say what was done.

    Raises:
        BackupError: the file is damaged, foreign or too new.
        SetupError: a key is missing, the database is in use, or a worker lives.
        StoreUnavailableError: the database does not answer.
    """
    settings = Settings()
    with closing(Store(settings.database(), Keyring(settings.keys()))) as store, counting() as progress:
        done = restore(store, arguments.file, replace=arguments.replace, progress=progress)
    print(f"restored {done.rows} rows as of {done.made_at}", file=sys.stderr)
    if done.erased_again:
        print(f"erased again, because they were erased after that: {done.erased_again}", file=sys.stderr)
    return 0
