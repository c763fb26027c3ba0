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
WINDOW = 60.0  # seconds in which the refusals of one address are counted together
APART = 30  # of them have an entry of their own
ALL_APART = 300  # and so many of those of all addresses
ADDRESSES = 200  # told apart within a window; the others of a wider flood count as "many"
WAITING = 10_000  # refusals that wait for the store at most; then the oldest give way
MANY = "many"

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
    action: str = "key.refused"  # or login.refused

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

    def count(self, address: str, more: int) -> None:
        """Add to a flood; while the store is away for long, there may be too many to tell apart."""
        place = address if address in self.floods or len(self.floods) < ADDRESSES else MANY
        self.floods[place] = self.floods.get(place, 0) + more

    def __bool__(self) -> bool:
        return bool(self.refused or self.floods or self.used)


class KeyLog:
    """Collects from the requests' threads, and writes in its own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._windows: dict[str, _Window] = {}
        self._all = _Window(time.monotonic())
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
            if moment - self._all.began >= WINDOW:
                self._all = _Window(moment)
            known = refused.address in self._windows or len(self._windows) < ADDRESSES
            window = self._windows.setdefault(refused.address if known else MANY, _Window(moment))
            if known and window.told < APART and self._all.told < ALL_APART:
                window.told += 1
                self._all.told += 1
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
                if moment - window.began >= WINDOW:
                    del self._windows[address]
                    if window.more:
                        self._waiting.count(address, window.more)
            due, self._waiting = self._waiting, _Waiting()
            return due

    def _write(self, due: _Waiting) -> None:
        if not due:
            return
        try:
            with self._store.session() as session:
                for refused in due.refused:
                    actor, building, target, detail = refused.entry()
                    audit.add(session, actor, refused.action, building=building, target=target, detail=detail)
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
                due.count(address, count)
            self._waiting = due


def _bearer(key: KeyRecord, address: str) -> Actor:
    return Actor("key", key.id, key.name, address)
