"""A change of embedder for a whole house, timed: ``python tests/change_embedder.py PHOTOS.zip --people 2000``.

Enrols people with the embedder that was shipped before, makes the templates of the present one by `cardea gallery
reembed`, kills that once in the middle, compares and switches. The archive holds pictures named
``Person_Name_0001.jpg``; what is printed is JSON.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from fixtures_embedders import enrol_photos

from app.__main__ import main
from app.ahead import made_ahead
from app.cli.process import open_store
from app.cli.visit_people import NAMED
from app.errors import PhotoError
from app.settings import Settings
from app.store.engine import Store
from app.vision.artefact import SHIPPED, Artefact, shipped
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder

FORMER = SHIPPED / "former" / "embedder-mobilefacenet"
MOST = 3  # photos of a person


def people_of(archive: zipfile.ZipFile) -> Iterator[tuple[str, list[bytes]]]:
    """Everybody in the archive, by name, with a few photos."""
    names: dict[str, list[str]] = defaultdict(list)
    for entry in sorted(archive.namelist()):
        if found := NAMED.fullmatch(PurePosixPath(entry).name):
            names[found["person"]].append(entry)
    for name, entries in sorted(names.items()):
        yield name, [archive.read(entry) for entry in entries[:MOST]]


def fill(store: Store, archive: zipfile.ZipFile, count: int, former: Embedder) -> int:
    """Enrol so many people with the former embedder; the number of those whose photos were refused."""
    finder, refused, enrolled = FaceFinder(shipped("face_finder")), 0, 0

    def enrol(person: tuple[str, list[bytes]]) -> bool:
        try:
            enrol_photos(store, *person, finder, former)
        except PhotoError:
            return False
        return True

    for _, fine in made_ahead(enrol, people_of(archive), os.cpu_count() or 1):
        enrolled, refused = enrolled + fine, refused + (not fine)
        print(f"\r{enrolled} enrolled ", end="", file=sys.stderr, flush=True)
        if enrolled == count:
            break
    return refused


def run(*words: str) -> tuple[list[Any], dict[str, float]]:
    """The JSON lines of a task, its seconds, its processor's seconds and the megabytes that this process has had."""
    began, spent, out = time.monotonic(), time.process_time(), io.StringIO()
    with contextlib.redirect_stdout(out):
        main(["gallery", *words, "--json"])
    cost = {"seconds": time.monotonic() - began, "cpu_seconds": time.process_time() - spent}
    cost["megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return [json.loads(line) for line in out.getvalue().splitlines()], {name: round(cost[name], 1) for name in cost}


def killed(after: int) -> int:
    """Run `reembed` in a process of its own, kill it after so many photos; how many it told of."""
    command = [sys.executable, "-m", "app", "gallery", "reembed", "--json"]
    with subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = len(list(islice(process.stdout, after)))
        process.send_signal(signal.SIGKILL)
    return told


def figures(archive: zipfile.ZipFile, count: int) -> dict[str, Any]:
    """Change the embedder of a new house and say what that took."""
    with tempfile.TemporaryDirectory(prefix="cardea-change-") as name:
        os.environ |= {"CARDEA_DATA": name, "CARDEA_KEY_FILE": f"{name}/keys"}
        os.environ.pop("CARDEA_DATABASE_URL", None)
        with open_store(Settings()) as store:
            refused = fill(store, archive, count, Embedder(Artefact(FORMER)))
        before = killed(count // 4)
        made, cost = run("reembed")
        (compared,), comparing = run("compare")
        (switched,), switching = run("switch", "--force")
        (listed,), _ = run("list")
    return {
        "refused": refused,
        "told_before_the_kill": before,
        "reembed": made[-1] | cost,
        "compare": comparing | compared["buildings"][0],
        "switch": switching | switched,
        "list": listed,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--people", type=int, default=2000)
    arguments = parser.parse_args()
    with zipfile.ZipFile(arguments.photos) as photos:
        print(json.dumps(figures(photos, arguments.people), indent=1))
