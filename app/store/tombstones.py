"""Who was erased: a row each, and a ledger beside the key file, which survives the loss of the database.

The ledger holds ids and times only. A restore reads it, so that nobody comes back with an old backup.
"""

import fcntl
import json
import logging
import os
from datetime import datetime
from pathlib import Path
from typing import IO

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.keyring import Keyring
from app.store.engine import Store
from app.store.tables import Tombstone

log = logging.getLogger(__name__)

LEDGER = "erasures.jsonl"
Erased = dict[str, tuple[str, datetime]]  # person -> building and time


def ledger_of(keyring: Keyring) -> Path:
    """Return where the ledger of an installation lies."""
    return keyring.path.parent / LEDGER


def listing(session: Session) -> Erased:
    """Return everybody who was erased from this database."""
    return {row.person_id: (row.building_id, row.erased_at) for row in session.scalars(select(Tombstone))}


def complete_ledger(store: Store) -> None:
    """Write into the ledger who is missing there: after each erasure, and at start because of a crash between both.

    Where the folder of the key file cannot be written, a warning says that the database alone knows.
    """
    with store.reading() as session:
        erased = listing(session)
    if not erased:
        return
    path = ledger_of(store.keyring)
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "r+", encoding="utf-8") as file:
            _append(file, erased)
    except OSError as error:
        log.warning("erasures are noted in the database alone: %s cannot be written (%s)", path, error.strerror)


def _append(file: IO[str], erased: Erased) -> None:
    fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed; two processes may erase at once
    known, whole = _parse(file.read())
    missing = [person for person in erased if person not in known]
    if not missing:
        return
    file.write("" if whole else "\n")  # a crash may have left half a line
    for person in missing:
        building, at = erased[person]
        file.write(json.dumps({"person": person, "building": building, "erased_at": at.isoformat()}) + "\n")
    file.flush()
    os.fsync(file.fileno())


def read_ledger(keyring: Keyring) -> Erased:
    """Return everybody whom the ledger names; nobody when there is none."""
    try:
        return _parse(ledger_of(keyring).read_text(encoding="utf-8"))[0]
    except FileNotFoundError:
        return {}


def _parse(content: str) -> tuple[Erased, bool]:
    """Return who is named, and whether the last line is whole; half a line is left out."""
    erased: Erased = {}
    for line in content.splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        erased[entry["person"]] = (entry["building"], datetime.fromisoformat(entry["erased_at"]))
    return erased, not content or content.endswith("\n")
