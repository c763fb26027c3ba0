"""Artefacts: what `models` hands to the runtime.

An artefact is a folder with ONNX files and a ``card.json``. The card names every file with its SHA-256; nothing is
opened whose hash differs, so a decision can always be traced to the exact nets that made it.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.errors import ArtefactError
from app.vision.runtime import ort

SHIPPED = Path(__file__).parents[1] / "artefacts"


@dataclass(frozen=True, slots=True)
class Card:
    """What is known about a net. `parameters` is the part that the runtime reads, by role; the rest is for people."""

    name: str
    version: str
    role: str  # detector | face_finder | embedder
    files: dict[str, str]  # file name -> SHA-256
    input: dict[str, Any]
    parameters: dict[str, Any]

    @property
    def id(self) -> str:
        """Name and short hash over all files: stored with every template and event."""
        joined = "".join(self.files[name] for name in sorted(self.files))
        return f"{self.name}@{hashlib.sha256(joined.encode()).hexdigest()[:12]}"


class Artefact:
    """A verified folder, whose nets are opened on demand."""

    def __init__(self, folder: Path) -> None:
        """Read the card and check every file.

        Raises:
            ArtefactError: the card is unreadable, or a file is missing or differs from its hash.
        """
        self.folder = folder
        try:
            raw = json.loads((folder / "card.json").read_text())
            files = {name: entry["sha256"] for name, entry in raw["files"].items()}
            self.card = Card(raw["name"], raw["version"], raw["role"], files, raw["input"], raw["parameters"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtefactError(f"{folder}: the card cannot be read ({error!r})") from error
        for name, expected in files.items():
            self._verify(name, expected)

    def _verify(self, name: str, expected: str) -> None:
        try:
            actual = hashlib.sha256((self.folder / name).read_bytes()).hexdigest()
        except OSError as error:
            raise ArtefactError(f"{self.folder.name}/{name} is missing; restore it or build it again") from error
        if actual != expected:
            raise ArtefactError(f"{self.folder.name}/{name} has hash {actual[:12]}, its card says {expected[:12]}")

    def open(self, name: str, one_shape: bool = False) -> "Net":
        """Open one ONNX file of this artefact for one thread per call; see `Net`."""
        return Net(self.folder / name, one_shape)


class Net:
    """An ONNX Runtime session; any number of threads may call it at once, each call uses one core."""

    def __init__(self, path: Path, one_shape: bool = False) -> None:
        """Open it.

        Args:
            one_shape: all batches will have one shape, so the memory of a call may be kept for the next one. Else the
                largest batch ever seen would stay resident.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = one_shape
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self.outputs = [output.name for output in self._session.get_outputs()]

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        """Run on a float32 NCHW batch and return the outputs in the order of `outputs`."""
        return list(self._session.run(None, {self._input: batch}))


def shipped(role: str) -> Artefact:
    """Open the artefact of this role that comes with the package.

    Raises:
        ArtefactError: none or several are shipped for this role, or it is damaged.
    """
    cards = sorted(SHIPPED.glob("*/card.json"))
    folders = [card.parent for card in cards if json.loads(card.read_text()).get("role") == role]
    if len(folders) != 1:
        raise ArtefactError(f"expected one shipped {role}, found {len(folders)}; run: cardea models starter")
    return Artefact(folders[0])


def former(role: str) -> list[Artefact]:
    """Open the artefacts of this role that earlier versions shipped: templates of theirs may still be in use.

    Raises:
        ArtefactError: one is damaged.
    """
    cards = sorted(SHIPPED.glob("former/*/card.json"))
    return [Artefact(card.parent) for card in cards if json.loads(card.read_text()).get("role") == role]
