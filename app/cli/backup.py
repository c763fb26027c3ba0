"""`cardea backup FILE`: one file with everything worth keeping, made while Cardea runs."""

import argparse
import sys
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from app.cli.counting import counting
from app.keyring import Keyring
from app.settings import Settings
from app.store import backup
from app.store.engine import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where the backup goes."""
    parser.add_argument("file", type=Path, metavar="FILE", help="the backup to write, such as cardea-2026-01-31.zip")


def run(arguments: argparse.Namespace) -> int:
    """Write the backup and say what it needs to be of use.

    Raises:
        SetupError: there is nothing to keep, no key file, or the file is there or cannot be written.
        StoreUnavailableError: the database does not answer.
    """
    settings, file = Settings(), arguments.file.absolute()
    keyring = Keyring(settings.keys())
    with closing(Store(settings.database(), keyring)) as store, counting() as progress:
        manifest = backup.write(store, file, version("cardea"), progress)
    rows = sum(member.rows for member in manifest.tables.values())
    print(f"{file}: {rows} rows of {len(manifest.tables)} tables", file=sys.stderr)
    print(f"A restore needs the key file too: {keyring.path}. Keep it elsewhere.", file=sys.stderr)
    if file.parent == keyring.path.parent:
        print("WARNING: this backup lies beside the key file. Whoever gets both can read it.", file=sys.stderr)
    return 0
