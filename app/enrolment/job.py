"""The thread that works on enrolments which came over REST, item by item.

It holds a lease on the operation and settles each item in one transaction with it, so a process that dies is followed
by the next one at the item where it stood, and one that was thought dead can settle nothing more.
"""

import logging
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy.orm import Session

from app.ahead import made_ahead
from app.enrolment.enroller import Enroller, Result, Submission, Terms, settle
from app.errors import StoreUnavailableError
from app.side_job import SideJob
from app.store import audit, operations, templates
from app.store.engine import Store
from app.store.operations import OperationRecord
from app.vision.embedders import Embedders
from app.vision.faces import FaceFinder

LEASE = timedelta(seconds=30)  # an item takes a tenth of a second, or as long as the database lets it wait
POLL = 0.25  # seconds between looks for work
BATCH = 4  # photos in memory; each has up to 10 MB

_log = logging.getLogger(__name__)


class EnrolmentJob(SideJob):
    """One thread, which works on one enrolment after the other. It judges one photo at a time: doors come first.

    Args:
        lease: how long after a death others wait before they go on.
    """

    def __init__(self, store: Store, finder: FaceFinder, embedders: Embedders, lease: timedelta = LEASE) -> None:
        self._store = store
        self._finder = finder
        self._embedders = embedders
        self._lease = lease
        super().__init__("enrolments")

    def _run(self) -> None:
        while not self._stopping.wait(POLL):
            try:
                while not self._stopping.is_set() and (claimed := self._claim()):
                    self._work(*claimed)
            except StoreUnavailableError as error:
                _log.warning("enrolments wait: %s", error)

    def _claim(self) -> tuple[OperationRecord, datetime] | None:
        with self._store.reading() as session:
            if not operations.waiting(session):
                return None
        with self._store.session() as session:
            return operations.claim(session, self._lease)

    def _work(self, operation: OperationRecord, held: datetime) -> None:
        """Work on an operation until it is done or no longer ours."""
        terms = Terms(bool(operation.options.get("accept_duplicates")))
        with self._store.reading() as session:
            embedder = self._embedders.of(templates.live(session))
            enroller = Enroller(operation.building, self._finder, embedder, operation.actor, terms)
            enroller.begin(session)
        hold = _Hold(operation.id, held, self._lease)
        try:
            for submission, looked in made_ahead(enroller.judge, self._submissions(operation.id), threads=1):
                with suppress(_GoneError):
                    settle(self._store, enroller, submission, looked, partial(hold.note, submission.position))
                if self._stopping.is_set():
                    break
            with self._store.session() as session:
                hold.leave(session)
        except _LostError:
            _log.info("enrolment %s was cancelled or is worked on elsewhere", operation.id)

    def _submissions(self, operation: str) -> Iterator[Submission]:
        position = -1
        while True:
            with self._store.reading() as session:
                batch = operations.work(session, operation, position, BATCH)
            if not batch:
                return
            position = batch[-1].position
            for item in batch:
                read = partial(bytes, item.photo)
                yield Submission(item.fields, item.file, read, item.trouble, item.position)


class _LostError(Exception):
    """The operation is not ours any more."""


class _GoneError(Exception):
    """The item's person was erased while it was worked on."""


class _Hold:
    """Our lease on an operation."""

    def __init__(self, operation: str, until: datetime, lease: timedelta) -> None:
        self._operation = operation
        self._until = until
        self._lease = lease

    def note(self, position: int, session: Session, result: Result) -> None:
        """Renew the lease and note a result, if the operation is still ours."""
        before = self._until
        self._renew(session)
        noted = operations.settle(
            session,
            self._operation,
            position,
            result.outcome,
            result.reasons,
            person=result.person,
            other=result.other,
            similarity=result.similarity,
        )
        if not noted:
            self._until = before  # the transaction is undone, and the new lease with it
            raise _GoneError

    def leave(self, session: Session) -> None:
        """End the operation when all is done, else let others go on."""
        self._renew(session)
        record = operations.leave(session, self._operation)
        if record.state == operations.DONE:
            audit.add(
                session,
                record.actor,
                "enrolment.finished",
                building=record.building,
                target=record.id,
                detail={"photos": record.total, "outcomes": record.report},
            )

    def _renew(self, session: Session) -> None:
        until = operations.renew(session, self._operation, self._until, self._lease)
        if until is None:
            raise _LostError
        self._until = until
