"""`cardea keys`: the keys that seal photos, templates and pictures in the database."""

import argparse
import sys

from app.cli.counting import counting
from app.cli.process import open_store
from app.settings import Settings
from app.store import rotation
from app.store.audit import Actor
from app.store.engine import Store

ACTOR = Actor("command", name="keys")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to do."""
    tasks = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    tasks.add_parser("list", help="ids of the keys, and how many rows need each")
    rotate = tasks.add_parser("rotate", help="add a key and seal everything anew with it, while Cardea runs")
    rotate.add_argument("--resume", action="store_true", help="add none: go on with a rotation that was interrupted")
    retire = tasks.add_parser("retire", help="take keys out of the key file that no row needs; older backups may")
    retire.add_argument("ids", nargs="+", metavar="ID")


def run(arguments: argparse.Namespace) -> int:
    """Do it.

    Raises:
        SetupError: the key file cannot be used, or a key is still needed.
        SealError: a value cannot be opened.
        StoreUnavailableError: the database does not answer.
    """
    with open_store(Settings()) as store:
        if arguments.task == "rotate":
            _rotate(store, arguments.resume)
        elif arguments.task == "retire":
            rotation.retire(store, frozenset(arguments.ids), ACTOR)
            print("Backups that were made before the last rotation need the keys that are gone.", file=sys.stderr)
        _list(store)
    return 0


def _rotate(store: Store, resume: bool) -> None:
    with counting() as progress:
        if not resume:
            name = rotation.rotate(store, ACTOR, progress)
            print(f"key {name} seals from now on. Copy {store.keyring.path} to all machines.", file=sys.stderr)
        rotation.reseal(store, progress)  # what others sealed with the old key meanwhile


def _list(store: Store) -> None:
    for use in rotation.uses(store):
        state = "seals" if use.current else "opens" if use.here else "MISSING"
        since = "never" if use.first_used_at is None else f"{use.first_used_at:%Y-%m-%d %H:%M}"
        print(f"{use.id}  {state:7}  {use.rows:>8} rows  first used {since}")
