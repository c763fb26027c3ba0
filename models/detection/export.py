"""Turns a trained run into an artefact: stem and tail in both precisions, their card, and the proof that they agree."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.errors import SetupError
from app.types import Array, Image
from app.vision.runtime import ort
from models.detection.finding import OVERLAPS
from models.detection.onnx_writer import stem_model, tail_model
from models.detection.priors import VARIANCES, face_priors, person_priors
from models.measured import compact_json
from models.nets.early_exit import HEIGHT, WIDTH, EarlyExitDetector, gate_features
from models.nets.ssdlite import STEM_CHANNELS, STEM_STRIDE
from models.pictures import as_batch, shrunk
from models.precisions import FEATURES, STEM, TAIL, TWINS
from models.quantise import calibrate, float_convolutions, quantised
from models.run import Plan, load
from models.starter.build import LICENCE

NAME = "detector-early-exit"
TOLERANCE = 1e-4  # share of an output's largest value by which ONNX may differ from torch
COMPARED = 16  # pictures that show it
SCORE_FLOOR = 0.3
TRAINING_DATA = (
    "The sets {sets}: their own boxes, and those that the shipped nets and CenterFace agree on. The run started from: "
    "{start}; the starter net, which may have taught too, is of PASCAL VOC 2007 and 2012 and COCO. The pictures show "
    "people from the web and from cameras under many terms; check yours."
)


def export(run: Path, folder: Path, pictures: Iterable[Image], say: Callable[[str], None]) -> None:
    """Write the artefact of a run's best weights into `folder`.

    Args:
        run: folder of a run of the task ``detector``.
        folder: made when it does not exist.
        pictures: a hundred varied ones to calibrate the 8-bit nets on, none of a test set.
        say: told about progress.

    Raises:
        SetupError: the run has no weights, is one of another task, or the ONNX files disagree with the net or would
            not run on integers.
    """
    plan = Plan.read(run / "run.toml")
    if plan.task != "detector":
        raise SetupError(f"{run.name} trains a {plan.task}; export a run of the task detector")
    state = load(run / "best.pt")
    net = EarlyExitDetector()
    net.load_state_dict(state["net"])
    nets = written(net.eval())
    known = list(pictures)
    difference = disagreement(net, nets, known[:COMPARED])
    say(f"ONNX differs from torch by {difference:.1e} of the largest value")
    if difference > TOLERANCE:
        raise SetupError(f"the ONNX files of {run.name} differ from the net by {difference:.1e}, over {TOLERANCE}")
    files = nets | {TWINS[TAIL]: integer_tail(nets, known)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "LICENSE.txt").write_text(LICENCE.read_text().format(copyright="2018 cftang; 2026 the Cardea authors"))
    figures = [
        _figure("outputs, torch against ONNX, share of the largest value", difference, COMPARED, "pictures"),
        _figure("mean average precision in validation, the figure that chose the weights", state["score"], 1, "run"),
    ]
    (folder / "card.json").write_text(compact_json(card(files, plan, int(state["step"]), figures)))


def written(net: EarlyExitDetector) -> dict[str, bytes]:
    """Return the float ONNX files of a net in evaluation mode, by name."""
    rows, columns = HEIGHT // STEM_STRIDE, WIDTH // STEM_STRIDE
    return {
        STEM: stem_model(net.stem, WIDTH, HEIGHT),
        TAIL: tail_model(net.tail, STEM_CHANNELS, rows, columns),
    }


def disagreement(net: EarlyExitDetector, nets: dict[str, bytes], pictures: Sequence[Image]) -> float:
    """Return by how much the ONNX files differ from the net at most, as a share of each output's largest value.

    The gate's features are among the outputs.
    """
    (stem, tail), worst = (_opened(nets[name]) for name in (STEM, TAIL)), 0.0
    for picture in pictures:
        batch = _batch(picture)
        with torch.no_grad():
            cells = net.stem(torch.from_numpy(batch))
            expected = [value.numpy() for value in (gate_features(cells), *net.tail(cells))]
        features, seen = stem.run([FEATURES, "map"], {"image": batch})
        for mine, theirs in zip([features, *tail.run(None, {"map": seen})], expected, strict=True):
            worst = max(worst, float(np.abs(mine - theirs).max() / np.abs(theirs).max()))
    return worst


def integer_tail(nets: dict[str, bytes], pictures: Iterable[Image]) -> bytes:
    """Return the tail in 8 bits, calibrated on pictures of any size.

    Raises:
        SetupError: ONNX Runtime would run a part of it in floats.
    """
    tail = quantised(nets[TAIL], calibrate(nets[TAIL], maps(nets, pictures)))
    if left := float_convolutions(tail):
        raise SetupError(f"the 8-bit tail would run {', '.join(left)} in floats")
    return tail


def maps(nets: dict[str, bytes], pictures: Iterable[Image]) -> Iterator[Array]:
    """Yield the stem's map (1, 24, h / 4, w / 4) of pictures of any size."""
    stem = _opened(nets[STEM])
    for picture in pictures:
        yield stem.run(["map"], {"image": _batch(picture)})[0]


def card(files: dict[str, bytes], plan: Plan, step: int, figures: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what is known about the net; `parameters` is what the runtime reads."""
    return {
        "name": NAME,
        "version": "1",
        "role": "detector",
        "files": {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for name, content in sorted(files.items())
        },
        "input": {"colour": "BGR", "layout": "NCHW", "range": [0, 255], "size": [WIDTH, HEIGHT]},
        "outputs": {
            "stem": "map (1, 24, 60, 80) for the tail; features (1, 24, 15, 20), its 4x4 averages, for the gate",
            "tail": "box_codes (1, 1554, 4) as ty tx th tw, person_logit (1, 1554); face_codes (1, 3160, 4), "
            "face_logit (1, 3160), face_points (1, 3160, 10) as x y of eye left, eye right, nose, mouth left, right",
        },
        "parameters": {
            "anchors": person_priors(WIDTH, HEIGHT).parameters(),
            "face_anchors": face_priors(WIDTH, HEIGHT).parameters(),
            "variances": list(VARIANCES),
            "score_floor": SCORE_FLOOR,
            "nms_iou": OVERLAPS["person"],
            "face_nms_iou": OVERLAPS["face"],
            "gate_stem": "cut",
            "precisions": {
                "fp32": {"stem": STEM, "tail": TAIL},
                "int8": {"stem": STEM, "tail": TWINS[TAIL]},  # the stem takes no longer in float
            },
        },
        "licence": "MIT",
        "training_data": TRAINING_DATA.format(sets=", ".join(plan.sets), start=", ".join(plan.start) or "chance"),
        "training": {"start": plan.start, "sets": plan.sets, "seed": plan.seed, "steps": step},
        "figures": figures,
    }


def _figure(what: str, value: float, n: int, of: str) -> dict[str, Any]:
    date = datetime.now(UTC).date().isoformat()
    return {"what": what, "value": float(f"{value:.3g}"), "n": n, "of": of, "command": "models export", "date": date}


def _batch(picture: Image) -> Array:
    """Return a picture (H, W, 3) of any size as the stem's input (1, 3, h, w)."""
    return as_batch(shrunk(picture, WIDTH, HEIGHT))


def _opened(model: bytes) -> ort.InferenceSession:
    return ort.InferenceSession(model, providers=["CPUExecutionProvider"])
