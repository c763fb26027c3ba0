"""Turns a trained embedder into its ONNX file, and proves that the two agree."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from app.errors import SetupError
from app.types import Array
from app.vision.runtime import ort
from models.coded_weights import with_coded_weights
from models.detection.batches import set_path
from models.measured import Measurement, record
from models.nets.integer import round_everything
from models.nets.mobilefacenet import Activation, MobileFaceNet
from models.precisions import EMBEDDER_NET
from models.quantise import calibrate, quantised
from models.recognition.crops import CropSet
from models.recognition.halfway import best_share
from models.recognition.judging import PEOPLE, RATE
from models.recognition.onnx_writer import embedder_model
from models.recognition.teachers import DIMENSION, open_teachers
from models.run import Plan, load
from models.starter.recipes import TAUGHT_EMBEDDER
from models.training.embedder import open_judges

TOLERANCE = 1e-5  # 1 - the cosine of a face's vectors by torch and by ONNX
ROUNDED_TOLERANCE = 0.05  # the same where both round
CODED_TOLERANCE = 1e-2  # the same where the file rounds weights alone
COMPARED = 64  # faces that show it
ACTIVATIONS: dict[str, Activation] = {"embedder": "prelu", "embedder_relu": "relu", "embedder_integer": "relu"}


def export_embedder(run: Path, folder: Path, cache: Path, folders: Sequence[Path]) -> float:
    """Write ``embedder.onnx`` of a trained run into `folder`; return its `disagreement` with the net.

    A net with PReLUs goes part of the way from its start to the run's end (`halfway`), and its weights are kept as
    8-bit codes; others have the run's best weights. What is known of the file goes into a measurement beside it, for
    the card of the artefact that it becomes part of.

    Args:
        run: folder of a run of a task of `ACTIVATIONS`.
        folder: made when it does not exist.
        cache: of packages, for the teachers.
        folders: of the sets that it was trained on, whose faces both are shown, and of the set that judges.

    Raises:
        SetupError: the run has no weights, a set is missing, or the file disagrees with the net.
    """
    plan = Plan.read(run / "run.toml")
    net = MobileFaceNet(DIMENSION, ACTIVATIONS[plan.task]).eval()
    batch = _faces(plan, folders)
    if plan.task == "embedder":
        chosen = _choose(net, run, cache, folders)
        floats = embedder_model(net)
        _agreeing(run.name, net, floats, batch, TOLERANCE)
        content = with_coded_weights(floats)
        difference = _agreeing(run.name, net, content, batch, CODED_TOLERANCE)
    else:
        rounds = plan.task == "embedder_integer"
        chosen = _best(net, run, rounds)
        content = embedder_model(net)
        # A net that rounds is what the 8-bit twin of the file computes, not the file.
        twin = quantised(content, calibrate(content, [batch])) if rounds else content
        difference = _agreeing(run.name, net, twin, batch, ROUNDED_TOLERANCE if rounds else TOLERANCE)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / EMBEDDER_NET).write_bytes(content)
    told = Measurement("cardea models export", [_figure(difference, len(batch)), chosen])
    record(TAUGHT_EMBEDDER, {EMBEDDER_NET: hashlib.sha256(content).hexdigest()}, "export", told, folder)
    return difference


def _faces(plan: Plan, folders: Sequence[Path]) -> Array:
    """Return some faces of the run's first set, (n, 3, 112, 112)."""
    crops = CropSet(set_path(next(iter(plan.sets)), folders))
    faces = np.stack([crops.face(row) for row in range(min(COMPARED, len(crops)))])
    return np.ascontiguousarray(faces.transpose(0, 3, 1, 2), np.float32)


def _choose(net: MobileFaceNet, run: Path, cache: Path, folders: Sequence[Path]) -> dict[str, Any]:
    """Give the net the weights that the judges choose between the run's start and its end; return the card's figure."""
    judges, _ = open_judges(open_teachers(cache), folders)
    end = load(run / "last.pt")
    share, said = best_share(net, load(run / "start.pt")["net"], end["average"], judges)
    return _judged(f"{share} of the way to step {end['step']} of {run.name}", said["score"])


def _best(net: MobileFaceNet, run: Path, rounds: bool) -> dict[str, Any]:
    """Give the net the run's best weights and return the card's figure."""
    state = load(run / "best.pt")
    if rounds:
        round_everything(net)
    net.load_state_dict(state["net"])
    return _judged(f"step {state['step']} of {run.name}", float(state["score"]))


def _judged(chosen: str, score: float) -> dict[str, Any]:
    what = f"pairs accepted at FMR {RATE} in validation, mean of clean and damaged, which chose {chosen}"
    return {"what": what, "value": round(score, 4), "n": PEOPLE, "of": "people at most"}


def _agreeing(name: str, net: MobileFaceNet, content: bytes, batch: Array, limit: float) -> float:
    """Return the disagreement of net and file.

    Raises:
        SetupError: it is over the limit.
    """
    difference = disagreement(net, content, batch)
    if difference > limit:
        raise SetupError(f"the ONNX file of {name} turns faces by {difference:.1e}, over {limit}")
    return difference


def _figure(difference: float, faces: int) -> dict[str, Any]:
    what = "1 - cosine, torch against ONNX"
    return {"what": what, "value": float(f"{difference:.3g}"), "n": faces, "of": "faces"}


def disagreement(net: MobileFaceNet, content: bytes, batch: Array) -> float:
    """Return 1 - the least cosine between the vectors of net and file over faces (n, 3, 112, 112)."""
    with torch.no_grad():
        expected = functional.normalize(net(torch.from_numpy(batch))).numpy()
    (vectors,) = ort.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"crops": batch})
    return float(1 - (vectors * expected).sum(axis=1).min())
