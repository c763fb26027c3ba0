"""Sealed columns: what the database holds of photos, templates, pictures and addresses opens only with the key file."""

from sqlalchemy import Connection, inspect, select
from sqlalchemy.orm import Session

from app.errors import SetupError
from app.keyring import Keyring
from app.store.clock import now
from app.store.tables import Building, EncryptionKey


def keyring(session: Session) -> Keyring:
    """Return the keyring of the store that opened the session."""
    ring: Keyring = session.info["keyring"]
    return ring


def seal(session: Session, data: bytes, label: str) -> bytes:
    """Return sealed bytes for a column; `label` names column and row, such as ``photos.image/pho_1``."""
    return keyring(session).seal(data, label)


def unseal(session: Session, sealed: bytes, label: str) -> bytes:
    """Return what was sealed.

    Raises:
        SealError: the key is missing, or the bytes were altered or moved here from another row.
    """
    return keyring(session).unseal(sealed, label)


def unseal_into(session: Session, sealed: bytes, label: str, target: memoryview) -> None:
    """Unseal into memory that the caller can overwrite later; it must be exactly as long.

    Raises:
        SealError: as for `unseal`, or the length is another.
    """
    keyring(session).unseal_into(sealed, label, target)


def prepare(connection: Connection, ring: Keyring) -> None:
    """Make the key file when this database was never sealed.

    Raises:
        SetupError: it was sealed, and the file is not there.
    """
    if ring.exists:
        return
    if inspect(connection).has_table(EncryptionKey.__tablename__):
        used = connection.scalars(select(EncryptionKey.id)).all()
        if used:
            raise SetupError(
                f"the database is sealed with key {used[0]}, and there is no key file {ring.path}; "
                "copy the file from the machine that made it, or set CARDEA_KEY_FILE"
            )
    ring.create()


def register(session: Session) -> None:
    """Write down which keys seal this database, and refuse to work without one of them.

    Raises:
        SetupError: the key file lacks a key that was used here.
    """
    session.scalar(select(Building.id).order_by(Building.id).limit(1).with_for_update())  # one process at a time
    ring = keyring(session)
    used = set(session.scalars(select(EncryptionKey.id)))
    missing = used - set(ring.ids)
    if missing:
        raise SetupError(
            f"the database is sealed with key {min(missing)}, which {ring.path} does not hold; "
            "copy the file from the machine that made it"
        )
    if ring.current not in used:
        session.add(EncryptionKey(id=ring.current, created_at=now(session)))
