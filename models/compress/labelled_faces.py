"""Tasks on packed sets of aligned faces: what a table says of each, or who it is."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from app.errors import SetupError
from models.compress.tasks import Source, TaskPlan
from models.detection.batches import set_path
from models.recognition.crops import CropSet, Entry

REPAIRED = {"03-Sep": "3-9", "Oct-19": "10-19"}  # ages of FairFace that a spreadsheet took for dates


def faces(plan: TaskPlan, folders: Sequence[Path]) -> Source:
    """Return the faces of a set that have a label in the table NAME.csv beside NAME.zip.

    The table is the one that comes with FairFace: a column ``file``, whose last two parts or last part are those of a
    face's source, and a column for each thing that is known. Where sets know the person, no person is in two parts.
    """
    path = set_path(plan.set, folders)
    crops, table = CropSet(path), _table(path.with_suffix(".csv"), plan.label)
    labelled = [(row, label) for row, entry in enumerate(crops.entries) if (label := _label(entry, table))]
    rows = [row for row, _ in labelled]
    owners = [crops.entries[row].identity or crops.entries[row].source for row in rows]
    return Source([label for _, label in labelled], owners, lambda place: crops.face(rows[place]))


def identities(plan: TaskPlan, folders: Sequence[Path]) -> Source:
    """Return the faces of the people of whom a set has most; every person is in each part, every picture in one."""
    crops = CropSet(set_path(plan.set, folders))
    known = Counter(entry.identity for entry in crops.entries if entry.identity)
    if len(known) < plan.people:
        raise SetupError(f"{crops.path} knows {len(known)} people, people is {plan.people}")
    chosen = {person for person, _ in sorted(known.items(), key=lambda one: (-one[1], one[0]))[: plan.people]}
    rows = [row for row, entry in enumerate(crops.entries) if entry.identity in chosen]
    entries = [crops.entries[row] for row in rows]
    return Source(
        [entry.identity for entry in entries], [entry.source for entry in entries], lambda row: crops.face(rows[row])
    )


def _table(path: Path, label: str) -> dict[str, str]:
    """Return labels by the last two parts of a picture's path, or by its file name where the table has no more."""
    try:
        lines = list(csv.DictReader(io.StringIO(path.read_text())))
        return {"/".join(PurePosixPath(line["file"]).parts[-2:]): _repaired(line[label]) for line in lines}
    except (OSError, KeyError, UnicodeDecodeError) as error:
        wanted = f"it needs the columns file and {label}"
        raise SetupError(f"{path} is no table of labels ({error!r}); {wanted}") from error


def _label(entry: Entry, table: dict[str, str]) -> str:
    parts = PurePosixPath(entry.source).parts
    return table.get("/".join(parts[-2:])) or table.get(parts[-1], "")


def _repaired(label: str) -> str:
    return REPAIRED.get(label, label)
