"""What keys were up to, written beside the requests: refusals into the audit trail, and when a key was last used.

A thread writes once in a while, so that neither a slow store nor one that is away changes an answer. A crash loses
what came within that while. Somebody who knocks without end fills no disk: after some refusals in a minute from one
address the rest of that minute is one entry with a count.
"""

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from app.errors import StoreUnavailableError
from app.store import audit, keys
from app.store.audit import Actor
from app.store.engine import Store
from app.store.records import KeyRecord, Refusal

PAUSE = 0.5  # seconds between two writes
ADDRESSES = 1_000  # told apart within a window; those of a wider flood count as one
WAITING = 10_000  # refusals that wait for the store at most; then the oldest give way

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Refused:
    """One refusal."""

    reason: Refusal
    address: str
    method: str
    path: str  # percent-encoded
    key: KeyRecord | None = None  # the key that the secret belongs to
    prefix: str = ""  # how the secret begins, if a key of ours begins so

    def entry(self) -> tuple[Actor, str | None, str, dict[str, Any]]:
        """Return actor, building, target and detail of the entry."""
        key, dead = self.key, self.reason in (Refusal.REVOKED, Refusal.EXPIRED)
        actor = Actor("anonymous", address=self.address) if key is None or dead else _bearer(key, self.address)
        detail: dict[str, Any] = {"reason": self.reason.value, "method": self.method, "path": self.path}
        prefix = self.prefix if key is None else key.prefix
        detail |= {"prefix": prefix} if prefix else {}
        return actor, None if key is None else key.building, "" if key is None else key.id, detail


@dataclass(slots=True)
class _Window:
    began: float  # monotonic seconds
    told: int = 0
    more: int = 0  # refusals that get no entry of their own


@dataclass(slots=True)
class _Waiting:
    refused: deque[Refused] = field(default_factory=lambda: deque(maxlen=WAITING))
    floods: dict[str, int] = field(default_factory=dict)  # address -> refusals
    used: set[str] = field(default_factory=set)  # ids of keys

    def __bool__(self) -> bool:
        return bool(self.refused or self.floods or self.used)


class KeyLog:
    """Collects from the requests' threads, and writes in its own.

    Args:
        window: seconds in which the refusals of one address are counted together.
        apart: how many of them have an entry of their own.
    """

    def __init__(self, store: Store, window: float = 60.0, apart: int = 30) -> None:
        self._store = store
        self._window = window
        self._apart = apart
        self._lock = threading.Lock()
        self._windows: dict[str, _Window] = {}
        self._waiting = _Waiting()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="key-log", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is left and end."""
        self._stop.set()
        self._thread.join(timeout=10)

    def refused(self, refused: Refused) -> None:
        """Take a refusal for the trail."""
        moment = time.monotonic()
        with self._lock:
            known = refused.address in self._windows or len(self._windows) < ADDRESSES
            window = self._windows.setdefault(refused.address if known else "many", _Window(moment))
            if known and window.told < self._apart:
                window.told += 1
                self._waiting.refused.append(refused)
            else:
                window.more += 1

    def used(self, key: KeyRecord) -> None:
        """Note that a key opened something."""
        if key.last_used_at is None or abs(time.time() - key.last_used_at.timestamp()) >= keys.USE.total_seconds():
            with self._lock:
                self._waiting.used.add(key.id)

    def _run(self) -> None:
        while not self._stop.wait(PAUSE):
            self._write(self._due(time.monotonic()))
        self._write(self._due(float("inf")))

    def _due(self, moment: float) -> _Waiting:
        with self._lock:
            for address, window in list(self._windows.items()):
                if moment - window.began >= self._window:
                    del self._windows[address]
                    if window.more:
                        self._waiting.floods[address] = self._waiting.floods.get(address, 0) + window.more
            due, self._waiting = self._waiting, _Waiting()
            return due

    def _write(self, due: _Waiting) -> None:
        if not due:
            return
        try:
            with self._store.session() as session:
                for refused in due.refused:
                    actor, building, target, detail = refused.entry()
                    audit.add(session, actor, "key.refused", building=building, target=target, detail=detail)
                for address, count in due.floods.items():
                    detail = {"reason": "flood", "count": count}
                    audit.add(session, Actor("anonymous", address=address), "key.refused", detail=detail)
                for key in due.used:
                    keys.touch(session, key)
        except StoreUnavailableError as error:
            _log.warning("what keys were up to waits for the database: %s", error)
            self._keep(due)
        except Exception:  # the edge of the thread: the trail must go on with what comes next
            _log.exception("%d refused keys could not be written into the audit trail", len(due.refused))

    def _keep(self, due: _Waiting) -> None:
        with self._lock:
            newer = self._waiting
            due.refused.extend(newer.refused)
            due.used |= newer.used
            for address, count in newer.floods.items():
                due.floods[address] = due.floods.get(address, 0) + count
            self._waiting = due


def _bearer(key: KeyRecord, address: str) -> Actor:
    return Actor("key", key.id, key.name, address)
