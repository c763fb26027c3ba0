"""Seals bytes for storage: AES-256-GCM under keys that live in a file outside the database.

Photos, templates, pictures of visits and camera addresses are sealed, so whoever gets hold of the database, a backup
or a disk alone gets none of them. The first key of the file seals, every key unseals: a rotation needs no more.
"""

import base64
import binascii
import fcntl
import hashlib
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.errors import SealError, SetupError

log = logging.getLogger(__name__)

VERSION = b"\x01"
ID_BYTES = 4
NONCE_BYTES = 12
KEY_BYTES = 32
OVERHEAD = len(VERSION) + ID_BYTES + NONCE_BYTES + 16  # sealed bytes are so much longer; the tag has 16


class Keyring:
    """The keys of one file: base64 of 32 bytes a line. Threads may share it.

    Sealed bytes are ``01``, 4 bytes of the key's id, a random nonce of 12 bytes, and the ciphertext with its tag of 16
    bytes (NIST SP 800-38D). A random nonce is safe for 2**32 messages per key. Another process may add or retire keys:
    the file is read again as soon as it is another one.
    """

    def __init__(self, path: Path) -> None:
        """Remember where the keys are; nothing is read yet."""
        self.path = path
        self._keys: dict[str, AESGCM] = {}
        self._stamp: tuple[int, int] | None = None  # of the file that was read: inode and time of change

    @property
    def exists(self) -> bool:
        """Whether the file is there."""
        return self.path.is_file()

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all keys, the sealing one first.

        Raises:
            SetupError: the file is missing or damaged.
        """
        return tuple(self._fresh())

    @property
    def current(self) -> str:
        """Id of the key that seals."""
        return self.ids[0]

    def reload(self) -> None:
        """Read the file again.

        Raises:
            SetupError: it is missing or damaged.
        """
        stamp = self._find()
        self._keys = {_id(key): AESGCM(key) for key in self._read()}
        self._stamp = stamp  # of before: a file that came meanwhile is read next time

    def create(self) -> None:
        """Make the file with one new key, for its owner alone; a file that is there stays as it is.

        Raises:
            SetupError: the file cannot be written.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return
        except OSError as error:
            raise SetupError(f"the key file {self.path} cannot be written: {error.strerror}") from error
        with os.fdopen(handle, "wb") as file:
            file.write(_line(secrets.token_bytes(KEY_BYTES)))
            file.flush()
            os.fsync(file.fileno())
        _keep_name(self.path)

    def add(self) -> str:
        """Put a new key before the others and return its id; it seals from now on.

        Raises:
            SetupError: the file is missing, damaged or cannot be written.
        """
        key = secrets.token_bytes(KEY_BYTES)
        with self._alone():
            self._write([key, *self._read()])
        return _id(key)

    def retire(self, ids: frozenset[str]) -> None:
        """Take keys out of the file. What they sealed is lost.

        Raises:
            SetupError: no key would be left, or the file cannot be written.
        """
        with self._alone():
            kept = [key for key in self._read() if _id(key) not in ids]
            if not kept:
                raise SetupError("one key must stay in the key file")
            self._write(kept)

    def seal(self, data: bytes, label: str) -> bytes:
        """Return the sealed bytes; only the same label opens them, so they cannot be moved to another place."""
        name, key = next(iter(self._fresh().items()))
        nonce = secrets.token_bytes(NONCE_BYTES)
        return VERSION + bytes.fromhex(name) + nonce + key.encrypt(nonce, data, label.encode())

    def unseal(self, sealed: bytes, label: str) -> bytes:
        """Return what was sealed under this label.

        Raises:
            SealError: the key is not in the file, or bytes or label were altered.
        """
        plain = bytearray(plain_length(sealed))
        self.unseal_into(sealed, label, memoryview(plain))
        return bytes(plain)

    def unseal_into(self, sealed: bytes, label: str, target: memoryview) -> None:
        """Unseal into the caller's own memory, so that no other copy is left behind.

        Args:
            target: writable bytes, `plain_length(sealed)` of them.

        Raises:
            SealError: the key is not in the file, bytes or label were altered, or the length is another.
        """
        name = key_of(sealed)
        key = self._fresh().get(name)
        if key is None:
            raise SealError(f"sealed with key {name}, which {self.path} does not hold")
        if len(target) != plain_length(sealed):
            raise SealError(f"{plain_length(sealed)} sealed bytes of {label.partition('/')[0]} were not expected")
        start = len(VERSION) + ID_BYTES
        nonce, body = sealed[start : start + NONCE_BYTES], sealed[start + NONCE_BYTES :]
        try:
            key.decrypt_into(nonce, body, label.encode(), target)
        except InvalidTag:
            raise SealError(f"the sealed bytes of {label.partition('/')[0]} were altered") from None

    def _fresh(self) -> dict[str, AESGCM]:
        """Return the keys of the file as it is now; while it cannot be seen or read, those that were read last."""
        if not self._keys:
            self.reload()
        elif (stamp := self._find()) not in (None, self._stamp):
            try:
                self.reload()
            except SetupError as error:
                log.error("%s; the keys that were read before it are used until it is put right", error)
                self._stamp = stamp
        return self._keys

    def _find(self) -> tuple[int, int] | None:
        """Return what tells this key file from an earlier one; None when there is none to be seen now."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from changing the file between our reading and replacing it: their key would be lost.

        Raises:
            SetupError: the file is missing.
        """
        while True:
            try:
                file = self.path.open("rb")
            except OSError as error:
                raise SetupError(f"the key file {self.path} cannot be read: {error.strerror}") from error
            with file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if os.fstat(file.fileno()).st_ino == self.path.stat().st_ino:  # else it was replaced while we waited
                    yield
                    return

    def _read(self) -> list[bytes]:
        try:
            lines = self.path.read_bytes().split()
        except OSError as error:
            raise SetupError(f"the key file {self.path} cannot be read: {error.strerror}") from error
        try:
            keys = [base64.b64decode(line, validate=True) for line in lines]
        except binascii.Error:
            keys = []
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise SetupError(f"the key file {self.path} is damaged: each line is base64 of {KEY_BYTES} bytes")
        return keys

    def _write(self, keys: list[bytes]) -> None:
        """Replace the file in one step: a crash leaves the old one or the new one."""
        beside = self.path.with_name(f"{self.path.name}.new")
        try:
            handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(b"".join(_line(key) for key in keys))
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.path)
            _keep_name(self.path)
        except OSError as error:
            raise SetupError(f"the key file {self.path} cannot be written: {error.strerror}") from error
        self.reload()


def _keep_name(path: Path) -> None:
    """Have the folder's entry of a file outlive a power cut; the content is synchronised already."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def key_of(sealed: bytes) -> str:
    """Return the id of the key that sealed these bytes.

    Raises:
        SealError: they are not sealed bytes.
    """
    if sealed[:1] != VERSION or len(sealed) < OVERHEAD:
        raise SealError("these bytes were not sealed here")
    return sealed[1 : 1 + ID_BYTES].hex()


def plain_length(sealed: bytes) -> int:
    """Return how many bytes were sealed.

    Raises:
        SealError: they are not sealed bytes.
    """
    key_of(sealed)
    return len(sealed) - OVERHEAD


def _id(key: bytes) -> str:
    return hashlib.sha256(key).digest()[:ID_BYTES].hex()


def _line(key: bytes) -> bytes:
    return base64.b64encode(key) + b"\n"
