"""Where photos to enrol come from: a folder or an archive, by the names of its files or by a table in it.

Without a table ``NAME.jpg`` is a photo of NAME and so is every file in a folder ``NAME``. A table is a CSV with a
header; its photos are paths beside it. What is wrong with one row or file is told as its trouble, and the others go on.
"""

import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Protocol

from app.enrolment.enroller import Submission
from app.errors import SourceError
from app.photos import MAX_BYTES
from app.store.records import PersonFields

TABLE_BYTES = 5_000_000
MAX_PHOTOS = 2000  # of one archive; a folder may hold more
TEXT, NOTE, GROUP = 200, 500, 64  # characters

_PHOTO_COLUMN = re.compile(r"photo\d*")
_COLUMNS = {"name", "external_id", "groups", "valid_from", "valid_until", "consent_at", "consent_note", "erase_on"}
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NO_TEXT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # file names that are not UTF-8 come with halves of signs


class Tree(Protocol):
    """Files under one root, by their paths with ``/``."""

    def files(self) -> list[str]:
        """Return all paths in order, hidden ones left out."""

    def trouble(self, path: str) -> str | None:
        """Return why a path cannot be read: ``path_outside``, ``missing_file``; None if nothing is known."""

    def read(self, path: str) -> bytes:
        """Return a file; of a larger one than a photo may be, the beginning, one byte more than that.

        Raises:
            OSError: it cannot be read.
        """


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder on this machine. Nothing outside it is read, whatever links lead there."""

    root: Path

    def files(self) -> list[str]:
        """Return all paths in order, hidden ones left out."""
        found = (path.relative_to(self.root) for path in sorted(self.root.rglob("*")) if not path.is_dir())
        return [path.as_posix() for path in found if not hidden(path.as_posix())]

    def trouble(self, path: str) -> str | None:
        """Return why a path cannot be read."""
        if escapes(path) or not (self.root / path).resolve().is_relative_to(self.root.resolve()):
            return "path_outside"
        return None if (self.root / path).is_file() else "missing_file"

    def read(self, path: str) -> bytes:
        """Return a file."""
        with (self.root / path).open("rb") as file:
            return file.read(MAX_BYTES + 1)


def submissions(tree: Tree, common: PersonFields, table: str | None = None) -> list[Submission]:
    """Return the photos of a tree in order: by its table if it has one, else by the names of its files.

    Args:
        common: groups and dates of everybody of whom the table says nothing; its name is not used.
        table: path of the CSV; None takes the only one at the root, if there is one.

    Raises:
        SourceError: ``archive-layout``: there are several tables, or the table cannot be read.
    """
    files = tree.files()
    tables = [path for path in files if "/" not in path and path.lower().endswith(".csv")]
    if table is None and len(tables) > 1:
        raise SourceError("archive-layout", f"There are {len(tables)} tables; one is read.")
    tabled = table is not None or tables
    found = _Table(tree, common).read(table or tables[0]) if tabled else _by_names(tree, files, common)
    return [replace(one, position=position) for position, one in enumerate(found)]


def hidden(path: str) -> bool:
    """Whether a file is what systems leave behind: dot files, and those of macOS and Windows."""
    parts = PurePosixPath(path).parts
    return any(part.startswith(".") or part == "__MACOSX" for part in parts) or parts[-1] in (
        "Thumbs.db",
        "desktop.ini",
    )


def escapes(path: str) -> bool:
    """Whether a path is absolute, leads upwards, or means other things on other systems."""
    parts = path.split("/")
    return path.startswith("/") or "\\" in path or ".." in parts or ":" in parts[0] or bool(_CONTROL.search(path))


def plain(text: str) -> str:
    """Return text as it is compared: macOS writes letters and their accents apart."""
    return unicodedata.normalize("NFC", text).strip()


def is_text(text: str, longest: int = TEXT) -> bool:
    """Whether it may be a name: something, not too long, without control characters and halves of signs."""
    return 0 < len(text) <= longest and not _NO_TEXT.search(text)


def _by_names(tree: Tree, files: Iterable[str], common: PersonFields) -> list[Submission]:
    found = []
    for path in files:
        *folders, file = path.split("/")
        name = folders[0] if folders else PurePosixPath(file).stem
        fields, hindrance = replace(common, name=plain(name)), tree.trouble(path)
        trouble = [hindrance] if hindrance else []
        if len(folders) > 1:
            trouble.append("too_deep")
        if not is_text(fields.name):
            trouble.append("invalid_name")
        found.append(Submission(fields, path, partial(tree.read, path), tuple(trouble)))
    return found


class _Table:
    """The rows of a CSV as submissions."""

    def __init__(self, tree: Tree, common: PersonFields) -> None:
        self._tree = tree
        self._common = common

    def read(self, table: str) -> list[Submission]:
        rows = self._rows(table)
        persons = [self._person(row) for row in rows]
        # Two rows of one name and no external id may be one person or two; only the table's author knows.
        names = Counter(fields.name for fields, _ in persons)
        ids = Counter(fields.external_id for fields, _ in persons)
        found: list[Submission] = []
        for row, (fields, trouble) in zip(rows, persons, strict=True):
            if fields.external_id is None and names[fields.name] > 1:
                trouble.append("ambiguous_name")
            if fields.external_id is not None and ids[fields.external_id] > 1:
                trouble.append("repeated_external_id")
            found += self._photos(row, fields, trouble)
        return found

    def _rows(self, table: str) -> list[dict[str, str]]:
        content = self._tree.read(table)
        if len(content) > TABLE_BYTES:
            raise SourceError("archive-layout", f"The table {table} is larger than {TABLE_BYTES // 1_000_000} MB.")
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise SourceError("archive-layout", f"The table {table} is not UTF-8: save it as CSV UTF-8.") from None
        first = text.partition("\n")[0]
        delimiter = ";" if first.count(";") > first.count(",") else ","
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restkey="", strict=True)
        try:
            header = [name.strip().lower() for name in reader.fieldnames or []]
            reader.fieldnames = header
            rows = [{name: (value or "").strip() for name, value in row.items() if name} for row in reader]
        except csv.Error as error:
            raise SourceError("archive-layout", f"The table {table} is no CSV: {error}.") from error
        _check_header(table, header)
        return [row for row in rows if any(row.values())]

    def _person(self, row: dict[str, str]) -> tuple[PersonFields, list[str]]:
        trouble: list[str] = []

        def text(column: str, longest: int) -> str | None:
            value = plain(row.get(column, ""))
            if value and not is_text(value, longest):
                trouble.append(f"invalid_{column}")
            return value or None

        def moment(column: str, otherwise: datetime | None) -> datetime | None:
            try:
                return _moment(row[column]) if row.get(column) else otherwise
            except ValueError:
                trouble.append(f"invalid_{column}")
                return None

        common = self._common
        groups = frozenset(plain(group) for group in row.get("groups", "").split(";") if group.strip())
        fields = PersonFields(
            name=text("name", TEXT) or "",
            external_id=text("external_id", TEXT),
            groups=groups or common.groups,
            valid_from=moment("valid_from", common.valid_from),
            valid_until=moment("valid_until", common.valid_until),
            consent_at=moment("consent_at", common.consent_at),
            consent_note=text("consent_note", NOTE) or common.consent_note,
            erase_on=moment("erase_on", common.erase_on),
        )
        if not fields.name:
            trouble.append("invalid_name")
        if not all(is_text(group, GROUP) for group in groups):
            trouble.append("invalid_groups")
        if fields.valid_from and fields.valid_until and fields.valid_from >= fields.valid_until:
            trouble.append("invalid_valid_until")
        if fields.erase_on and fields.erase_on <= datetime.now(UTC):  # or the person would be gone at once
            trouble.append("invalid_erase_on")
        return fields, trouble

    def _photos(self, row: dict[str, str], fields: PersonFields, trouble: list[str]) -> Iterator[Submission]:
        paths = [value for column, value in row.items() if _PHOTO_COLUMN.fullmatch(column) and value]
        if not paths:
            yield Submission(fields, "", bytes, (*trouble, "no_photo"))
        for path in paths:
            found = self._tree.trouble(path)
            reasons = (*trouble, found) if found else tuple(trouble)
            yield Submission(fields, path, partial(self._tree.read, path), reasons)


def _check_header(table: str, header: list[str]) -> None:
    photos = [column for column in header if _PHOTO_COLUMN.fullmatch(column)]
    unknown = [column for column in header if column and column not in _COLUMNS and column not in photos]
    if "name" not in header or not photos or unknown or len(set(header)) < len(header):
        known = ", ".join(["photo", "photo2", "...", *sorted(_COLUMNS)])
        raise SourceError(
            "archive-layout", f"The first line of {table} must name its columns, each once, out of: {known}."
        )


def _moment(text: str) -> datetime:
    """Return a time; a date alone is its first moment in UTC, and a time without a zone is none."""
    if _DATE.fullmatch(text):
        text += "T00:00:00+00:00"
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None or not 1970 <= moment.year < 9999:
        raise ValueError("no zone, or a year that does not exist everywhere")
    return moment.astimezone(UTC)
