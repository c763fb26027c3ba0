"""Retention: what is older than it may be goes by itself, and the audit trail says how much went."""

import logging
import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from app.errors import CardeaError, NotFoundError, StreamUnavailableError
from app.side_job import SideJob
from app.store import audit, erasure, retention, stream_removals, wiping
from app.store.alone import alone
from app.store.clock import now
from app.store.engine import Store
from app.store.stream_removals import Entries

log = logging.getLogger(__name__)

ACTOR = audit.Actor("system", name="retention")
EVERY = 3600.0  # seconds between two rounds
LOOK = 60.0  # seconds between looks for stream entries that are still to be taken out
FILES = 60.0  # seconds that the stream's server may take for its files
WIPED_AGAIN = timedelta(hours=3)  # after an erasure; two rounds at least
BREATH = 0.02  # seconds between two batches, in which others may write


@dataclass(frozen=True, slots=True)
class Report:
    """What one round removed, or would remove."""

    removed: dict[str, dict[str, int]] = field(default_factory=dict)  # building, or "" for all -> kind -> number
    busy: bool = False  # another process was at it, so nothing was done

    def as_json(self) -> dict[str, Any]:
        """Return the report as a JSON-safe mapping."""
        return {"busy": self.busy, "removed": self.removed}


def survey(store: Store, moment: datetime) -> Report:
    """Count what a round would remove; change nothing.

    Raises:
        StoreUnavailableError: the database does not answer.
    """
    found: dict[str, Counter[str]] = {}
    with store.reading() as session:
        for building, _ in retention.persons_due(session, moment):
            found.setdefault(building, Counter())["persons"] += 1
        for old in retention.overdue(session, moment):
            found.setdefault(old.building or "", Counter())[old.kind] += retention.count(session, old)
    return _report(found)


def enforce(store: Store, stream: Entries | None, moment: datetime, stopping: threading.Event | None = None) -> Report:
    """Erase the persons and delete the rows whose time has come; one process at a time does so.

    Args:
        stream: None leaves entries of erased persons, and old ones, to the next round.
        moment: what counts as now.
        stopping: ends the round between two batches; what is left waits for the next.

    Raises:
        StoreUnavailableError: the database does not answer; what was removed stays removed.
    """
    stopping = stopping or threading.Event()
    found: dict[str, Counter[str]] = {}
    with alone(store) as ours:
        if not ours:
            return Report(busy=True)
        _erase(store, stream, moment, stopping, found)
        with store.reading() as session:
            all_old = retention.overdue(session, moment)
        for old in all_old:
            if not stopping.is_set():
                gone = retention.remove(store, old, lambda: stopping.wait(BREATH))
                found.setdefault(old.building or "", Counter())[old.kind] += gone
        if stream is not None:
            _trim(store, stream, moment)
        wiping.wipe_again(store, moment - WIPED_AGAIN)
        _note(store, found)
    return _report(found)


def _erase(
    store: Store, stream: Entries | None, moment: datetime, stopping: threading.Event, found: dict[str, Counter[str]]
) -> None:
    with store.reading() as session:
        due = retention.persons_due(session, moment)
    erased = []
    for building, person in due:
        if stopping.is_set():
            break
        try:
            erased.append(erasure.remove(store, building, person, ACTOR))
        except NotFoundError:  # somebody else was quicker
            continue
        found.setdefault(building, Counter())["persons"] += 1
    erasure.settle(store, stream, erased, patience=erasure.PATIENCE)


def _trim(store: Store, stream: Entries, moment: datetime) -> None:
    """Drop what the event stream has from before any building's events begin; one that is away waits for a round."""
    with store.reading() as session:
        days = retention.longest_event_days(session)
    if days is None:
        return
    try:
        stream.trim(moment - timedelta(days=days))
    except StreamUnavailableError as error:
        log.warning("old entries are still in the event stream: %s", error)


def _note(store: Store, found: dict[str, Counter[str]]) -> None:
    for building, kinds in found.items():
        counts = {kind: number for kind, number in kinds.items() if number}
        if counts:
            with store.session() as session:
                audit.add(session, ACTOR, "retention.enforced", building=building or None, detail=counts)


def _report(found: dict[str, Counter[str]]) -> Report:
    return Report({building: {kind: n for kind, n in kinds.items() if n} for building, kinds in sorted(found.items())})


class RetentionJob(SideJob):
    """Enforces retention once an hour, and takes entries of erased persons out of a stream that was away.

    A round that fails is told of and tried again with the next look.
    """

    def __init__(self, store: Store, stream: Entries) -> None:
        self._store = store
        self._stream = stream
        super().__init__("retention")

    def _run(self) -> None:
        left = 0.0  # seconds until the next round
        while not self._stopping.wait(LOOK):
            left -= LOOK
            try:
                if left <= 0:
                    self._round()
                    left = EVERY
                stream_removals.clear(self._store, self._stream)
                self._stream.rewrite(FILES)
            except CardeaError as error:
                log.warning("retention waits: %s", error)

    def _round(self) -> None:
        with self._store.reading() as session:
            moment = now(session)
        report = enforce(self._store, self._stream, moment, self._stopping)
        if any(report.removed.values()):
            log.info("retention removed %s", report.removed)
