"""`cardea gallery`: changes the embedder without losing people: reembed, compare, switch, and the way back."""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.cli import print_json
from app.cli.gallery_report import as_text, report
from app.cli.logs import log_to_stderr
from app.cli.process import open_store
from app.errors import SetupError
from app.reembedding import GONE, Tried, reembed
from app.settings import Settings
from app.store import audit, buildings, embedders, galleries, templates
from app.store.audit import Actor
from app.store.embedders import LeftBehind
from app.store.engine import Store
from app.vision.artefact import shipped
from app.vision.embedders import Embedders
from app.vision.faces import FaceFinder

ACTOR = Actor("command", name="gallery")
MADE = "made"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to do."""
    tasks = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    listing = tasks.add_parser("list", help="embedders: which is live, which are at hand, how many templates each has")
    making = tasks.add_parser("reembed", help="make templates of another one from the photos; run it again to go on")
    comparing = tasks.add_parser("compare", help="what a switch would change, before it")
    switching = tasks.add_parser("switch", help="let all doors compare by another one from now on, without a restart")
    forgetting = tasks.add_parser("forget", help="delete the templates of one that is not live")
    forgetting.add_argument("embedder", metavar="ID")
    for task in (making, comparing, switching):
        task.add_argument("--to", metavar="ID", help="the embedder (default: the one that this version ships)")
    for task in (making, comparing):
        task.add_argument("--building", help="one building (default: all)")
    switching.add_argument("--force", action="store_true", help="leave those behind who have no template of it")
    for task in (listing, making, comparing, switching, forgetting):
        task.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Do it; return 1 when somebody has no template of the embedder.

    Raises:
        EmbedderError: there is no such embedder.
        SetupError: there is nothing to do it with; the message says what comes first.
        StoreUnavailableError: the database does not answer.
    """
    log_to_stderr("WARNING")
    at_hand = Embedders.installed()
    with open_store(Settings()) as store:
        tasks: dict[str, Callable[[], int]] = {
            "list": lambda: _list(store, at_hand, arguments),
            "reembed": lambda: _reembed(store, at_hand, arguments),
            "compare": lambda: _compare(store, at_hand, arguments),
            "switch": lambda: _switch(store, at_hand, arguments),
            "forget": lambda: _forget(store, arguments),
        }
        return tasks[arguments.task]()


def _list(store: Store, at_hand: Embedders, arguments: argparse.Namespace) -> int:
    with store.reading() as session:
        live, numbers = templates.live(session), templates.counts(session)
        rows = [
            {
                "embedder": name,
                "live": name == live,
                "at_hand": name in at_hand.ids,
                "templates": numbers.get(name, 0),
                "persons_without": embedders.unrecognised(session, name),
            }
            for name in dict.fromkeys((*at_hand.ids, *numbers, *filter(None, [live])))
        ]
    if arguments.json:
        print_json(rows)
        return 0
    for row in rows:
        state = ("live, " if row["live"] else "") + ("at hand" if row["at_hand"] else "not in this version")
        told = f"{row['templates']} templates, {row['persons_without']} persons with photos and without any"
        print(f"{row['embedder']}  {state}: {told}")
    return 0


def _reembed(store: Store, at_hand: Embedders, arguments: argparse.Namespace) -> int:
    embedder, finder = at_hand.of(arguments.to), FaceFinder(shipped("face_finder"))
    name, building, began = embedder.card.id, arguments.building, time.monotonic()
    with store.reading() as session:
        if building is not None:
            buildings.get(session, building)
        total = len(embedders.unfinished(session, name, building))
    outcomes: Counter[str] = Counter()
    with _Output(total, arguments.json) as output:
        for tried in reembed(store, finder, embedder, building, os.cpu_count() or 1):
            outcomes[tried.trouble or MADE] += 1
            output.show(tried)
    with store.session() as session:
        missing = embedders.left_behind(session, name, building)
        if outcomes:
            audit.add(session, ACTOR, "embedder.prepared", building=building, target=name, detail=outcomes)
    seconds = round(time.monotonic() - began, 1)
    if arguments.json:
        summary = {"embedder": name, "outcomes": outcomes, "seconds": seconds}
        print_json(summary | {"persons_without": [asdict(one) for one in missing]})
        return 1 if missing else 0
    print(f"{outcomes.total()} photos in {seconds} s, for {name}")
    for code, number in outcomes.most_common():
        print(f"{number:6} {code}")
    _tell("have no template of it and would be left behind by a switch: photograph them again", missing)
    return 1 if missing else 0


def _compare(store: Store, at_hand: Embedders, arguments: argparse.Namespace) -> int:
    new, finder = arguments.to or at_hand.shipped, FaceFinder(shipped("face_finder"))
    with store.reading() as session:
        live, numbers = templates.live(session), templates.counts(session)
        every = sorted(galleries.sequences(session))
        if arguments.building is not None:
            every = [buildings.get(session, arguments.building).id]
    if live is None or live == new:
        raise SetupError(f"{new} is live: say with --to what to compare it with" if live else "there are no templates")
    if not numbers.get(new):
        raise SetupError(f"there are no templates of {new} yet: run `cardea gallery reembed` first")
    reports = [report(store, building, live, new, at_hand, finder) for building in every]
    if arguments.json:
        print_json({"from": live, "to": new, "buildings": [one.as_json() for one in reports]})
    else:
        print(f"from {live} to {new}", *map(as_text, reports), sep="\n\n")
    return 1 if any(one.without for one in reports) else 0


def _switch(store: Store, at_hand: Embedders, arguments: argparse.Namespace) -> int:
    new = at_hand.of(arguments.to).card.id  # what no door has must not become live
    with store.session() as session:
        missing = embedders.switch(session, new, ACTOR, force=arguments.force)
        live = templates.live(session)
    if arguments.json:
        print_json({"live": live, "left_behind": [asdict(one) for one in missing]})
    else:
        print(f"live: {live}")
        _tell(f"have no template of {new}", missing)
    if live != new:
        advice = "run `cardea gallery reembed`, photograph them again, or give --force"
        print(
            f"cardea gallery: nothing was switched: {len(missing)} persons would be left behind; {advice}",
            file=sys.stderr,
        )
    return 0 if live == new else 1


def _forget(store: Store, arguments: argparse.Namespace) -> int:
    with store.session() as session:
        gone = embedders.forget(session, arguments.embedder, ACTOR)
    if arguments.json:
        print_json({"embedder": arguments.embedder, "templates": gone})
    else:
        print(f"{gone} templates of {arguments.embedder} deleted")
    return 0


def _tell(what: str, persons: list[LeftBehind]) -> None:
    if persons:
        print(f"{len(persons)} persons {what}:")
    for one in persons:
        print(f"  {one.building} {one.person} {one.name}")


class _Output:
    """How far the run is: a bar on a terminal, else a line for each photo with trouble, or JSON for every photo."""

    def __init__(self, total: int, as_json: bool) -> None:
        self._json = as_json
        columns = (TextColumn("embedding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        console = Console(stderr=True, highlight=False, markup=False)
        self._progress = Progress(*columns, console=console, disable=as_json or not sys.stderr.isatty())
        self._task = self._progress.add_task("", total=total)

    def __enter__(self) -> "_Output":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def show(self, tried: Tried) -> None:
        """Tell of one photo."""
        photo = tried.photo
        self._progress.advance(self._task)
        if self._json:
            print_json(asdict(photo) | {"outcome": tried.trouble or MADE})
        elif tried.trouble not in ("", GONE):
            told = f"{tried.trouble}: photo {photo.id} of {photo.person} {photo.name} ({photo.building})"
            self._progress.console.print(told, soft_wrap=True)
