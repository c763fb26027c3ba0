"""Compares each shipped net with its source, run by the engine that the source was made for.

The frozen graph and the TFLite file run in TensorFlow, in an interpreter of its own; YuNet in OpenCV. What differs
goes into the cards, and a difference beyond rounding is an error.
"""

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from app.errors import ArtefactError, SetupError
from app.packages import take
from app.portraits import portraits
from app.types import Image
from app.vision.artefact import SHIPPED, Artefact
from app.vision.faces import FaceFinder, align
from models.differences import Difference, embedder_differences, finder_differences, person_differences
from models.measured import Measurement, record
from models.pictures import decoded, patterns, shrunk, variants
from models.precisions import TWINS
from models.starter.build import built, write_card
from models.starter.person import SIDE
from models.starter.recipes import EMBEDDER, FINDER, PERSON, Recipe

SCRIPT = Path(__file__).parent / "starter" / "tensorflow_reference.py"
COMMAND = "python -m models parity --tensorflow-python PYTHON"


def measure_parity(tensorflow_python: Path, cache: Path, say: Callable[[str], None]) -> None:
    """Measure the starter artefacts and write the differences into their cards.

    Raises:
        ArtefactError: a net differs from its source by more than rounding.
        SetupError: the interpreter has no TensorFlow, or a package cannot be fetched.
    """
    pictures = decoded(portraits(cache))
    whole = [shrunk(variant, SIDE, SIDE) for picture in pictures for variant in variants(picture)]
    whole += patterns(SIDE)
    crops = face_crops(pictures)
    say(f"TensorFlow runs the source nets on {len(whole)} pictures and {len(crops)} faces")
    reference = run_tensorflow(tensorflow_python, cache, whole, crops)
    starter = built(PERSON, cache)
    _keep(PERSON, starter, person_differences(starter, take(PERSON.source, cache), whole, reference), say)
    known = built(EMBEDDER, cache)
    _keep(EMBEDDER, known, embedder_differences(known, crops, reference), say)
    finder = finder_differences(take(FINDER.source, cache), pictures)
    _keep(FINDER, Artefact(SHIPPED / FINDER.name), finder, say)


def face_crops(pictures: list[Image]) -> list[Image]:
    """Return the aligned faces of portraits in their variants, and patterns of the same size."""
    finder = FaceFinder(Artefact(SHIPPED / FINDER.name))
    crops = []
    for picture in pictures:
        crop = align(picture, finder.find(picture).landmarks[0])
        crops += variants(crop)
    return crops + patterns(crops[0].shape[0])


def run_tensorflow(python: Path, cache: Path, whole: list[Image], crops: list[Image]) -> dict[str, np.ndarray]:
    """Return what `tensorflow_reference` gives for BGR pictures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "person.pb").write_bytes(take(PERSON.source, cache))
        (folder / "embedder.tflite").write_bytes(take(EMBEDDER.source, cache))
        rgb = {key: np.stack(images)[..., ::-1] for key, images in (("pictures", whole), ("crops", crops))}
        np.savez(folder / "inputs.npz", **rgb)
        files = [folder / file for file in ("person.pb", "embedder.tflite", "inputs.npz", "outputs.npz")]
        done = subprocess.run([python, SCRIPT, *files], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SetupError(f"{python} cannot run the source nets: {done.stderr.strip().splitlines()[-1]}")
        with np.load(folder / "outputs.npz") as outputs:
            return dict(outputs)


def _keep(recipe: Recipe, artefact: Artefact, differences: list[Difference], say: Callable[[str], None]) -> None:
    """Check the differences and put them into the card."""
    for difference in differences:
        say(f"{recipe.name}: {difference.what}: {difference.value:.3g} of {difference.n} {difference.of}")
    wrong = [difference.what for difference in differences if not difference.n or difference.value > difference.limit]
    if wrong:
        raise ArtefactError(f"{recipe.name} differs from its source beyond rounding: {'; '.join(wrong)}")
    figures = [difference.figure() for difference in differences]
    files = {name: sha256 for name, sha256 in artefact.card.files.items() if name not in TWINS.values()}
    record(recipe.name, files, "parity", Measurement(COMMAND, figures))
    write_card(recipe, artefact.folder)
