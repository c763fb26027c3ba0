"""Photos out of CompreFace: a plain dump of its database, as `pg_dump` writes it.

Its tables `subject`, `embedding` and `img` hold names, which picture belongs to whom, and the pictures; `model` names
the services (collections) by the API key that their subjects carry. Its embeddings are of another net and say nothing
here, so the pictures are judged and embedded anew; a subject whose pictures were not kept can only be reported.
https://github.com/exadel-inc/CompreFace, java/admin/src/main/resources/db/changelog
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO

from app.enrolment.enroller import Submission
from app.enrolment.sources import is_text, plain
from app.errors import SourceError
from app.store.records import PersonFields

HOW = "docker compose exec -T compreface-postgres-db pg_dump -U postgres frs > compreface.sql"  # its default names
LINE_BYTES = 100_000_000  # a picture is one line of two signs a byte; CompreFace takes 5 MB by default

_COPY = re.compile(rb'COPY (?:"?\w+"?\.)?"?(\w+)"? \(([^)]*)\) FROM stdin;')
_TABLES = ("subject", "embedding", "img", "model")
_ESCAPES = {b"t": b"\t", b"n": b"\n", b"r": b"\r", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)

Row = dict[str, str | None]


@dataclass(slots=True)
class _Dump:
    """What the dump says, without pictures."""

    subjects: list[Row] = field(default_factory=list)
    embeddings: list[Row] = field(default_factory=list)
    services: dict[str, str] = field(default_factory=dict)  # API key -> name
    pictures: dict[str, int] = field(default_factory=dict)  # id -> where its line begins
    content: int = 0  # column of the picture


def submissions(dump: Path, common: PersonFields, service: str | None = None) -> list[Submission]:
    """Return the pictures of all subjects of a recognition service, in order of names.

    Args:
        common: groups and dates of everybody.
        service: its name in CompreFace; None takes the only one that has subjects with pictures.

    Raises:
        SourceError: ``dump-unreadable``: it is no plain dump of such a database; ``dump-service``: the service has no
            subjects, or several services do and none was named.
    """
    try:
        found = _read(dump)
    except OSError as error:
        raise SourceError("dump-unreadable", f"The dump {dump} cannot be read: {error.strerror}.") from error
    key = _chosen(found, service)
    pictures: dict[str | None, list[str]] = {}
    for row in found.embeddings:
        if row["img_id"] in found.pictures:
            pictures.setdefault(row["subject_id"], []).append(str(row["img_id"]))
    result: list[Submission] = []
    for subject in sorted(
        (row for row in found.subjects if row["api_key"] == key), key=lambda row: row["subject_name"] or ""
    ):
        fields = replace(common, name=plain(subject["subject_name"] or ""))
        trouble = () if is_text(fields.name) else ("invalid_name",)
        for picture in sorted(set(pictures.get(subject["id"], ()))):
            read = partial(_picture, dump, found.pictures[picture], found.content)
            result.append(Submission(fields, picture, read, trouble))
        if subject["id"] not in pictures:
            result.append(Submission(fields, "", bytes, (*trouble, "no_stored_photo")))
    return [replace(one, position=position) for position, one in enumerate(result)]


def _read(dump: Path) -> _Dump:
    found, seen = _Dump(), set()
    with dump.open("rb") as file:
        if file.read(5) == b"PGDMP":
            raise SourceError("dump-unreadable", f"The dump is in PostgreSQL's own format; make a plain one: {HOW}")
        file.seek(0)
        for line in iter(lambda: file.readline(LINE_BYTES), b""):
            begin = _COPY.match(line)
            table = begin[1].decode() if begin else ""
            if begin and table in _TABLES:
                seen.add(table)
                _take(found, table, [name.strip(b' "').decode() for name in begin[2].split(b",")], file)
    if not {"subject", "embedding", "img"} <= seen:
        raise SourceError("dump-unreadable", f"This is no plain dump of a CompreFace database. Make one: {HOW}")
    return found


def _take(found: _Dump, table: str, columns: list[str], file: IO[bytes]) -> None:
    if table == "img":
        found.content = columns.index("content")
        found.pictures = dict(_index(file, columns.index("id")))
        return
    rows = [dict(zip(columns, map(_text, cells), strict=True)) for _, cells in _lines(file)]
    if table == "subject":
        found.subjects = rows
    elif table == "embedding":
        found.embeddings = rows
    else:
        found.services = {str(row["api_key"]): str(row["name"]) for row in rows}


def _index(file: IO[bytes], column: int) -> Iterator[tuple[str, int]]:
    for start, cells in _lines(file):
        yield cells[column].decode(), start


def _lines(file: IO[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """Yield where each row of a COPY begins, and its cells as they are written."""
    while True:
        start = file.tell()
        line = file.readline(LINE_BYTES)
        if line.rstrip(b"\r\n") == b"\\.":
            return
        if not line.endswith(b"\n"):
            raise SourceError("dump-unreadable", "The dump breaks off in the middle of a table.")
        yield start, line.rstrip(b"\r\n").split(b"\t")


def _text(cell: bytes) -> str | None:
    """Return a cell of COPY's text format; None stands for NULL."""
    if cell == b"\\N":
        return None
    try:
        return _ESCAPED.sub(lambda match: _ESCAPES.get(match[1], match[1]), cell).decode()
    except UnicodeDecodeError:
        raise SourceError("dump-unreadable", "The dump is not UTF-8: add --encoding=UTF8 to pg_dump.") from None


def _picture(dump: Path, start: int, column: int) -> bytes:
    """Return a picture: bytea in hexadecimal, whose backslash COPY doubles."""
    with dump.open("rb") as file:
        file.seek(start)
        cell = file.readline(LINE_BYTES).rstrip(b"\r\n").split(b"\t")[column]
    if not cell.startswith(b"\\\\x"):
        raise OSError("a picture is not written in hexadecimal")
    try:
        return bytes.fromhex(cell[3:].decode("ascii"))
    except ValueError as error:
        raise OSError("a picture is not written in hexadecimal") from error


def _chosen(found: _Dump, service: str | None) -> str:
    """Return the API key of a service. Keys are secrets: no message holds one."""
    with_pictures = {row["subject_id"] for row in found.embeddings if row["img_id"] in found.pictures}
    keys = {str(row["api_key"]) for row in found.subjects if service is not None or row["id"] in with_pictures}
    if service is not None:
        keys = {key for key in keys if found.services.get(key) == service}
    if len(keys) == 1:
        return keys.pop()
    names = ", ".join(sorted({found.services.get(str(row["api_key"]), "?") for row in found.subjects}))
    if not keys:
        raise SourceError("dump-service", f"There are no subjects to enrol; services with subjects: {names or 'none'}.")
    raise SourceError("dump-service", f"Several services have subjects; name one: {names}.")
