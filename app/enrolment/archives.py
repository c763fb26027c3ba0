"""Archives of photos from outside: a ZIP is taken apart without trusting a word of its directory.

Names that lead elsewhere, links, encryption, archives in the archive, too many or too large files: each is refused
with a code of its own before anything is unpacked, and no file is read past its limit whatever size it announces.
"""

import stat
import zipfile
import zlib
from contextlib import closing
from typing import IO

from app.enrolment.sources import MAX_PHOTOS, escapes, hidden
from app.errors import SourceError
from app.photos import MAX_BYTES

ARCHIVE_BYTES = 512_000_000
UNPACKED_BYTES = 1_000_000_000  # of all files; photos hardly shrink in a ZIP, so an honest archive stays below
DIRECTORY_BYTES = 2_000_000  # of the ZIP's own directory: about 300 an entry when names are long
UTF8_NAME = 0x800  # bit 11 of the flags, APPNOTE 4.4.4
ENCRYPTED = 0x1

_ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError)


class _Wary:
    """A file that gives no directory larger than one of ours can be: `zipfile` would make an object of each entry."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.limit: int | None = DIRECTORY_BYTES

    def read(self, size: int = -1, /) -> bytes:
        if self.limit is None:
            return self._file.read(size)
        data = self._file.read(self.limit + 1 if size < 0 else min(size, self.limit + 1))
        if len(data) > self.limit:
            raise SourceError("archive-too-many-files", f"At most {MAX_PHOTOS} photos fit in one archive.")
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()


class Archive:
    """A ZIP as a tree. A folder around everything is taken for the root itself."""

    def __init__(self, file: IO[bytes]) -> None:
        """Read and judge the directory.

        Raises:
            SourceError: ``archive-unreadable``, ``archive-encrypted``, ``archive-path``, ``archive-nested``,
                ``archive-too-many-files``, ``archive-too-large``, ``archive-names`` or ``archive-empty``.
        """
        wary = _Wary(file)
        try:
            self._zip = zipfile.ZipFile(wary)
        except _DAMAGE as error:
            raise SourceError("archive-unreadable", "The upload is no ZIP, or it is damaged.") from error
        wary.limit = None
        entries = [entry for entry in self._zip.infolist() if not entry.is_dir()]
        if len(self._zip.infolist()) > 2 * MAX_PHOTOS or len(entries) > MAX_PHOTOS + 1:  # a table comes on top
            raise SourceError("archive-too-many-files", f"At most {MAX_PHOTOS} photos fit in one archive.")
        if sum(entry.file_size for entry in entries) > UNPACKED_BYTES:
            raise SourceError("archive-too-large", f"Unpacked it would have more than {UNPACKED_BYTES} bytes.")
        named = {_name(entry): entry for entry in entries}
        if len(named) < len(entries):
            raise SourceError("archive-names", "Two files have the same name.")
        for name, entry in named.items():
            _judge(name, entry)
        self._entries = _unwrapped({name: entry for name, entry in named.items() if not hidden(name)})
        self._left = UNPACKED_BYTES
        if not self._entries:
            raise SourceError("archive-empty", "The archive holds no photos.")

    def files(self) -> list[str]:
        """Return all paths in order, hidden ones left out."""
        return sorted(self._entries)

    def trouble(self, path: str) -> str | None:
        """Return why a path cannot be read."""
        if escapes(path):
            return "path_outside"
        return None if path in self._entries else "missing_file"

    def read(self, path: str) -> bytes:
        """Return a file; of a larger one than a photo may be, the beginning, one byte more than that.

        Raises:
            SourceError: ``archive-unreadable``: it is damaged; ``archive-too-large``: all files together are.
        """
        try:
            with closing(self._zip.open(self._entries[path])) as file:
                data: bytes = file.read(MAX_BYTES + 1)
        except _DAMAGE as error:
            raise SourceError("archive-unreadable", f"The file {path} in the archive is damaged.") from error
        self._left -= len(data)
        if self._left < 0:
            raise SourceError("archive-too-large", f"Unpacked it has more than {UNPACKED_BYTES} bytes.")
        return data


def _name(entry: zipfile.ZipInfo) -> str:
    """Return a file's name. Many programs write UTF-8 without saying so; nothing else is guessed at."""
    if entry.flag_bits & UTF8_NAME:
        return entry.orig_filename
    try:
        return entry.orig_filename.encode("cp437").decode()
    except UnicodeError:
        raise SourceError("archive-names", "File names are not UTF-8: pack the archive with another program.") from None


def _judge(name: str, entry: zipfile.ZipInfo) -> None:
    if escapes(name) or "" in name.split("/") or "." in name.split("/"):
        raise SourceError("archive-path", "A path is absolute, leads out of the archive or is no plain path.")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise SourceError("archive-path", "The archive holds a link or a device.")
    if entry.flag_bits & ENCRYPTED:
        raise SourceError("archive-encrypted", "The archive is encrypted; pack it without a password.")
    if entry.compress_type not in _METHODS:
        raise SourceError("archive-unreadable", "It is packed by a method other than store and deflate.")
    if name.lower().endswith(_ARCHIVES):
        raise SourceError("archive-nested", "There is an archive in the archive.")


def _unwrapped(entries: dict[str, zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    tops = {name.partition("/")[0] for name in entries}
    if len(tops) != 1 or any("/" not in name for name in entries):
        return entries
    return {name.partition("/")[2]: entry for name, entry in entries.items()}
