"""The file of a backup: a ZIP with a manifest and one member of JSON lines per table.

The manifest names the schema, the keys that sealed columns need, and per member the number of rows and a SHA-256. It is
sealed itself: only an installation that has the key accepts the file, and only as it was written.
"""

import base64
import binascii
import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import DateTime, LargeBinary, Table

from app.errors import BackupError, SealError, SetupError
from app.keyring import Keyring

FORMAT = 1
MANIFEST = "manifest.json"
SEAL = "backup.manifest/1"  # what the manifest's digest is sealed for
LONGEST = 256 * 1024 * 1024  # bytes of a line; no row comes near it
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Member:
    """One table as it was written."""

    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds."""

    product: str  # version that wrote it
    revision: str  # of the schema
    made_at: str  # RFC 3339
    keys: list[str]  # ids that its sealed columns need
    tables: dict[str, Member]
    format: int = FORMAT
    seal: str = ""  # base64 of the sealed digest of everything else

    def digest(self) -> bytes:
        """Return the SHA-256 of everything but the seal."""
        return hashlib.sha256(json.dumps(asdict(replace(self, seal="")), sort_keys=True).encode()).digest()


class Writer:
    """Writes the members of a new backup."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file
        self.members: dict[str, Member] = {}

    def add(self, table: Table, rows: Iterable[Row]) -> None:
        """Write a table, row by row."""
        digest, count = hashlib.sha256(), 0
        with self._file.open(_member(table.name), "w", force_zip64=True) as member:
            for row in rows:
                line = json.dumps({name: _encoded(value) for name, value in row.items()}, ensure_ascii=False)
                data = line.encode() + b"\n"
                digest.update(data)
                member.write(data)
                count += 1
        self.members[table.name] = Member(count, digest.hexdigest())

    def finish(self, manifest: Manifest, keyring: Keyring) -> None:
        """Write the manifest, sealed."""
        seal = base64.b64encode(keyring.seal(manifest.digest(), SEAL)).decode()
        self._file.writestr(MANIFEST, json.dumps(asdict(replace(manifest, seal=seal)), indent=1))


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """Write a file beside `path`, for its owner alone, and put it there when the block has ended without an error.

    Raises:
        SetupError: the file is there already or cannot be written.
    """
    if path.exists():
        raise SetupError(f"{path} is there already; choose another name")
    draft = path.with_name(f"{path.name}.part")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                yield Writer(archive)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    except OSError as error:
        raise SetupError(f"the backup {path} cannot be written: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)


class Reader:
    """A backup that was opened to be read."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file
        self.manifest = _manifest(file)

    def verify(self, keyring: Keyring) -> None:
        """Read everything once and make sure that it is what was written, and that its keys are here.

        Raises:
            BackupError: something was altered, is missing or does not belong here.
            SetupError: a key is missing.
        """
        manifest = self.manifest
        missing = sorted(set(manifest.keys) - set(keyring.ids))
        if missing:
            raise SetupError(f"the backup needs key {missing[0]}, which {keyring.path} does not hold")
        try:
            sealed = keyring.unseal(base64.b64decode(manifest.seal, validate=True), SEAL)
        except (SealError, binascii.Error) as error:
            raise BackupError(f"the backup was not made with the keys of this installation ({error})") from error
        if sealed != manifest.digest():
            raise BackupError("the backup's list of contents was altered")
        if set(self._file.namelist()) != {MANIFEST, *map(_member, manifest.tables)}:
            raise BackupError("the backup's contents are not those that it lists")
        for table, member in manifest.tables.items():
            digest, count = hashlib.sha256(), 0
            for line in self._lines(table):
                digest.update(line)
                count += 1
            if (count, digest.hexdigest()) != (member.rows, member.sha256):
                raise BackupError(f"table {table} of the backup was altered")

    def rows(self, table: Table) -> Iterator[Row]:
        """Return the rows of a table, as its columns take them.

        Raises:
            BackupError: they cannot be read.
        """
        columns = {column.name: column.type for column in table.columns}
        for line in self._lines(table.name):
            row = json.loads(line)
            if not columns.keys() >= row.keys():
                raise BackupError(f"table {table.name} of the backup has other columns than its schema")
            yield {name: _decoded(value, columns[name]) for name, value in row.items()}

    def _lines(self, table: str) -> Iterator[bytes]:
        with _damage(), self._file.open(_member(table)) as member:
            while line := member.readline(LONGEST):
                yield line


@contextmanager
def reading(path: Path) -> Iterator[Reader]:
    """Open a backup.

    Raises:
        BackupError: it is none, or its end is missing.
        SetupError: the file cannot be read.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise SetupError(f"the backup {path} cannot be read: {error.strerror}") from error
    with file:
        with _damage():
            archive = zipfile.ZipFile(file)
        with archive:
            yield Reader(archive)


@contextmanager
def _damage() -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
        raise BackupError(f"the file is damaged, or no backup of Cardea ({error})") from error


def _manifest(file: zipfile.ZipFile) -> Manifest:
    try:
        with _damage():
            found = json.loads(file.read(MANIFEST))
        if found["format"] != FORMAT:
            raise BackupError(f"the backup has format {found['format']}: a newer version of Cardea made it")
        tables = {name: Member(**member) for name, member in found.pop("tables").items()}
        return Manifest(**found, tables=tables)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BackupError("the file is no backup of Cardea: its list of contents cannot be read") from error


def _member(table: str) -> str:
    return f"tables/{table}.jsonl"


def _encoded(value: object) -> object:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):  # SQLite keeps no time zone: all of ours are in UTC
        return (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)).isoformat()
    return value


def _decoded(value: object, kind: object) -> object:
    if isinstance(value, str) and isinstance(kind, LargeBinary):
        return base64.b64decode(value)
    if isinstance(value, str) and isinstance(kind, DateTime):
        return datetime.fromisoformat(value)
    return value
