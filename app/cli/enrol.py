"""`cardea enrol`: hundreds of people from a folder, a table or a CompreFace dump; run it again to go on."""

import argparse
import csv
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.ahead import made_ahead
from app.cli import print_json
from app.cli.logs import log_to_stderr
from app.cli.process import open_store
from app.enrolment import compreface, sources
from app.enrolment.enroller import FINE, Enroller, Outcome, Result, Submission, Terms, settle
from app.errors import SetupError
from app.settings import Settings
from app.store import audit, buildings, enrolments, templates
from app.store.audit import Actor
from app.store.engine import Store
from app.store.records import PersonFields
from app.vision.artefact import shipped
from app.vision.embedders import Embedders
from app.vision.faces import FaceFinder

ACTOR = Actor("command", name="cardea enrol")
STOPPED = 130  # exit status after Ctrl-C, as shells have it
COLUMNS = ("file", "name", "outcome", "reasons", "person", "other", "other_name", "similarity")


@dataclass
class Tally:
    """What came of a run."""

    photos: int
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    persons: set[str] = field(default_factory=set)
    seconds: float = 0.0

    def count(self, result: Result) -> None:
        """Take in one photo."""
        self.outcomes[result.outcome] += 1
        self.reasons.update(result.reasons)
        if result.outcome in FINE:
            self.persons.add(result.person or result.name)

    @property
    def done(self) -> int:
        """Photos that were settled."""
        return self.outcomes.total()

    def summary(self) -> dict[str, object]:
        """Return the summary, JSON-safe."""
        return {
            "photos": self.photos,
            "persons": len(self.persons),
            "outcomes": dict(self.outcomes.most_common()),
            "reasons": dict(self.reasons.most_common()),
            "seconds": round(self.seconds, 1),
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of enrolment."""
    parser.add_argument("source", nargs="?", type=Path, metavar="FOLDER|CSV", help="NAME.jpg, NAME/*.jpg or a table")
    parser.add_argument("--compreface", type=Path, metavar="DUMP", help=f"a plain dump instead: {compreface.HOW}")
    parser.add_argument("--service", help="with --compreface: the recognition service, if there are several")
    parser.add_argument("--building", default="main", help="building to enrol in (default main)")
    parser.add_argument("--groups", default="", help="groups of everybody without their own, such as residents,staff")
    parser.add_argument("--accept-duplicates", action="store_true", help="enrol faces that look like somebody else's")
    parser.add_argument("--dry-run", action="store_true", help="say what would come of it, change nothing")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write what came of each photo as CSV")
    parser.add_argument("--json", action="store_true", help="one JSON line per photo and a summary, nothing else")


def run(arguments: argparse.Namespace) -> int:
    """Enrol; return 0 when everybody is enrolled, 1 when some photos were not, 130 after Ctrl-C."""
    settings = Settings()
    log_to_stderr("WARNING")
    groups = _groups(arguments.groups)
    submissions = _submissions(arguments, PersonFields("", groups=groups))
    terms = Terms(arguments.accept_duplicates, arguments.dry_run)
    finder, embedders = FaceFinder(shipped("face_finder")), Embedders.installed()
    tally, began = Tally(len(submissions)), time.monotonic()
    with open_store(settings) as store, _asked_to_stop() as asked, _Output(arguments, store, tally) as output:
        with store.reading() as session:
            embedder = embedders.of(templates.live(session))
        enroller = Enroller(arguments.building, finder, embedder, ACTOR, terms)
        _begin(store, enroller, arguments, tally)
        for result in _results(store, enroller, submissions):
            tally.count(result)
            output.show(result)
            if asked.is_set():
                break
        tally.seconds = time.monotonic() - began
        _note(store, arguments, "enrolment.finished", tally.summary())
    output.end()
    if tally.done < tally.photos:
        return STOPPED
    return 0 if all(Outcome(outcome) in FINE for outcome in tally.outcomes) else 1


def _groups(text: str) -> frozenset[str]:
    groups = frozenset(sources.plain(group) for group in text.split(",") if group.strip())
    if not all(sources.is_text(group, sources.GROUP) for group in groups):
        raise SetupError(f"a group has at most {sources.GROUP} characters, and no control characters")
    return groups


def _submissions(arguments: argparse.Namespace, common: PersonFields) -> list[Submission]:
    source: Path | None = arguments.source
    if (source is None) == (arguments.compreface is None):
        raise SetupError("give a folder, a CSV or --compreface DUMP, one of them")
    if source is None:
        return compreface.submissions(arguments.compreface, common, arguments.service)
    if source.is_dir():
        return sources.submissions(sources.Folder(source), common)
    if source.is_file():
        return sources.submissions(sources.Folder(source.parent), common, table=source.name)
    raise SetupError(f"there is no folder or table {source}")


def _begin(store: Store, enroller: Enroller, arguments: argparse.Namespace, tally: Tally) -> None:
    with store.reading() as session:
        buildings.get(session, arguments.building)
        enroller.begin(session)
    _note(store, arguments, "enrolment.started", {"photos": tally.photos})


def _note(store: Store, arguments: argparse.Namespace, action: str, detail: dict[str, object]) -> None:
    if not arguments.dry_run:
        with store.session() as session:
            audit.add(session, ACTOR, action, building=arguments.building, detail=detail)


def _results(store: Store, enroller: Enroller, submissions: list[Submission]) -> Iterator[Result]:
    for submission, looked in made_ahead(enroller.judge, submissions, os.cpu_count() or 1):
        yield settle(store, enroller, submission, looked, lambda session, result: None)


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """Note the first Ctrl-C, so that the photo in hand is finished; the second one interrupts."""
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _writable(report: Path) -> TextIO:
    return report.open("w", newline="", encoding="utf-8", errors="backslashreplace")  # names that are not UTF-8


class _Output:
    """What people and programs see: JSON or the summary on stdout, progress on stderr, and the report."""

    def __init__(self, arguments: argparse.Namespace, store: Store, tally: Tally) -> None:
        self._json: bool = arguments.json
        self._dry: bool = arguments.dry_run
        self._building: str = arguments.building
        self._store = store
        self._tally = tally
        self._terminal = sys.stderr.isatty() and not self._json
        columns = (TextColumn("enrolling"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        console = Console(stderr=True, highlight=False, markup=False)
        self._progress = Progress(*columns, console=console, disable=not self._terminal)
        self._task = self._progress.add_task("", total=tally.photos)
        try:
            self._report = None if arguments.report is None else _writable(arguments.report)
        except OSError as error:
            raise SetupError(f"the report {arguments.report} cannot be written: {error.strerror}") from error
        self._rows = None if self._report is None else csv.DictWriter(self._report, COLUMNS)

    def __enter__(self) -> "_Output":
        if self._rows is not None:
            self._rows.writeheader()
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()
        if self._report is not None:
            self._report.close()

    def show(self, result: Result) -> None:
        """Tell of one photo."""
        other = self._name(result.other)
        row = asdict(result) | {"other_name": other}
        if self._rows is not None:
            self._rows.writerow(row | {"reasons": ";".join(result.reasons)})
        self._progress.advance(self._task)
        if self._json:
            print_json(row)
        elif not self._terminal or result.reasons:
            like = f" ({other})" if other else ""
            reasons = ", ".join(result.reasons)
            place = f"{self._tally.done}/{self._tally.photos}"
            self._progress.console.print(
                f"{place} {result.outcome} {result.file or result.name} {reasons}{like}".rstrip(), soft_wrap=True
            )

    def end(self) -> None:
        """Tell what came of all."""
        summary = self._tally.summary() | {"dry_run": self._dry}
        if self._json:
            print_json(summary)
            return
        stopped = "" if self._tally.done == self._tally.photos else "stopped; run it again to go on: "
        would = "dry run, nothing was changed: " if self._dry else ""
        print(f"{stopped}{would}{self._tally.done} of {self._tally.photos} photos, {len(self._tally.persons)} persons")
        for title, counts in (("", self._tally.outcomes), ("  ", self._tally.reasons)):
            for name, count in counts.most_common():
                print(f"{title}{count:6} {name}")
        print(f"{self._tally.seconds:.1f} s")

    def _name(self, person: str | None) -> str | None:
        if person is None:
            return None
        with self._store.reading() as session:
            found = enrolments.names(session, self._building, frozenset({person}))
        return found.get(person, person.removeprefix("new "))
