"""Turns the recipes into artefact folders: ONNX files and their card."""

import hashlib
import tempfile
from pathlib import Path
from typing import Any

from app.packages import take
from app.vision.artefact import Artefact
from models.measured import FOLDER, compact_json, measurements, with_measurements
from models.starter.recipes import Recipe

VERSION = "1"
LICENCE = Path(__file__).parent / "licence.txt"

# Until impostor pairs were measured on these very files no similarity is enough: nobody is ever granted by mistake.
UNMEASURED: dict[str, Any] = {"impostors": {"fmr": [1.0], "similarity": [1.0]}, "floor": 1.0}


def build(recipe: Recipe, cache: Path, artefacts: Path) -> Path:
    """Fetch the source into `cache`, write the artefact's folder under `artefacts` and return it.

    The same recipe and the same measurements give the same bytes.

    Raises:
        SetupError: the package cannot be fetched or is not the pinned one.
    """
    folder = artefacts / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in recipe.build(take(recipe.source, cache)).items():
        (folder / name).write_bytes(content)
    (folder / "LICENSE.txt").write_text(LICENCE.read_text().format(copyright=recipe.copyright))
    write_card(recipe, folder)
    return folder


def built(recipe: Recipe, cache: Path) -> Artefact:
    """Return the artefact of a recipe, shipped or not, built within the cache; the same bytes are kept once.

    Raises:
        SetupError: see `build`.
    """
    kept = cache / "artefacts"
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept) as folder:
        made = build(recipe, cache, Path(folder))
        place = kept / Artefact(made).card.id.replace("@", "-")
        if not place.exists():
            made.rename(place)  # whole or not at all: several processes may do this at once
    return Artefact(place)


def write_card(recipe: Recipe, folder: Path) -> None:
    """Write the card of the files that lie in the folder, with what was measured on them."""
    contents = {name: (folder / name).read_bytes() for name in sorted(recipe.outputs)}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    card = {
        "name": recipe.name,
        "version": VERSION,
        "role": recipe.role,
        "files": {name: {"sha256": hashes[name], "bytes": len(content)} for name, content in contents.items()},
        "input": recipe.input,
        "outputs": recipe.outputs,
        "parameters": recipe.parameters | (UNMEASURED if recipe.role == "embedder" else {}),
        "licence": "MIT",
        "training_data": recipe.training_data,
        "sources": [_source(recipe)],
    }
    folders = [FOLDER] if recipe.trained is None else [FOLDER, recipe.trained]
    measured = [measurement for known in folders for measurement in measurements(recipe.name, hashes, known)]
    (folder / "card.json").write_text(compact_json(with_measurements(card, measured)))


def _source(recipe: Recipe) -> dict[str, str]:
    source = recipe.source
    return {
        "registry": source.registry,
        "package": source.package,
        "version": source.version,
        "archive_sha256": source.archive_sha256,
        "file": source.member,
        "file_sha256": source.member_sha256,
    }
