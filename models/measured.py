"""What was measured on an artefact's nets, kept as JSON beside this module until the card is written.

A measurement belongs to exact files: when a net's hash has changed, nothing measured on the old one gets into a card.
"""

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "measured"


@dataclass(frozen=True, slots=True)
class Measurement:
    """The outcome of one command on one artefact."""

    command: str
    figures: list[dict[str, Any]]  # what, value, n and, where it helps, a note
    parameters: dict[str, Any] = field(default_factory=dict)  # what the runtime shall read from the card
    date: str = field(default_factory=lambda: datetime.now(UTC).date().isoformat())


def measurements(name: str, hashes: dict[str, str], folder: Path = FOLDER) -> list[Measurement]:
    """Return what was measured on files that the artefact `name` still has, in the order of the commands' names.

    Each measurement names the files that it used; the others may change and it stays.
    """
    kept = [entry for _, entry in sorted(_read(name, folder).items()) if entry["files"].items() <= hashes.items()]
    return [Measurement(**{part: value for part, value in entry.items() if part != "files"}) for entry in kept]


def with_measurements(card: dict[str, Any], measured: list[Measurement]) -> dict[str, Any]:
    """Return a card with what was measured on its files; what a card says of them otherwise stays."""
    parameters = dict(card["parameters"])
    for measurement in measured:
        parameters |= measurement.parameters
    figures = [
        {**figure, "command": measurement.command, "date": measurement.date}
        for measurement in measured
        for figure in measurement.figures
    ]
    return {**card, "parameters": parameters, "figures": figures}


def record(name: str, hashes: dict[str, str], key: str, measurement: Measurement, folder: Path = FOLDER) -> None:
    """Keep a measurement on these files in place of an earlier one of the same key."""
    entry = {part: getattr(measurement, part) for part in ("command", "figures", "parameters", "date")}
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(compact_json(_read(name, folder) | {key: {"files": hashes, **entry}}))


def _read(name: str, folder: Path) -> dict[str, Any]:
    path = folder / f"{name}.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def compact_json(value: object) -> str:
    """Return indented JSON in which a list of numbers stays on one line."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return re.sub(r'\[\n([^\[\]{}"]*)\]', lambda match: f"[{' '.join(match[1].split())}]", text) + "\n"
