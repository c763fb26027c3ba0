"""Turns a trained detector into its float ONNX files, stem and tail, and proves that they agree with the net.

A card lies beside them, so that they can be measured before they are shipped (`evaluate detection --detector folder:`).
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.errors import SetupError
from app.types import Image
from app.vision.runtime import ort
from models.detection.onnx_writer import expanded, face_branch, finished_block, heads, layer, trunk
from models.detection.priors import face_priors
from models.measured import Measurement, compact_json, record
from models.nets.blocks import InvertedResidual
from models.nets.face_branch import LeanWithFaces
from models.nets.lean_weights import PIXEL
from models.nets.ssdlite import STEM_CHANNELS, STEM_STRIDE, SSDLite
from models.pictures import as_batch, shrunk
from models.precisions import STEM, TAIL
from models.run import Plan, load
from models.starter.graph import Graph, Map
from models.starter.person import PARAMETERS, SIDE
from models.starter.recipes import LEAN_DETECTOR
from models.training.detector import HELD, detector

TOLERANCE = 1e-4  # share of an output's largest value by which ONNX may differ from torch


def export_detector(run: Path, folder: Path, pictures: Iterable[Image]) -> float:
    """Write ``stem.onnx`` and ``tail.onnx`` of a run's best weights into `folder`; return by how much they differ.

    What is known of them goes into a measurement beside them, for the card of the artefact that they become part of.

    Args:
        run: folder of a run of the task ``persons`` or ``detector``.
        folder: made when it does not exist.
        pictures: BGR (H, W, 3) of any size, on which net and files are compared.

    Raises:
        SetupError: the run has no weights, or the files disagree with the net.
    """
    net, state, shown = detector(Plan.read(run / "run.toml").task), load(run / "best.pt"), list(pictures)
    net.load_state_dict(state["net"])
    nets = written(net.eval())
    difference = disagreement(net, nets, shown)
    if difference > TOLERANCE:
        raise SetupError(f"the ONNX files of {run.name} differ from the net by {difference:.1e}, over {TOLERANCE}")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in nets.items():
        (folder / name).write_bytes(content)
    figures = [
        {
            "what": "outputs, torch against ONNX, share of the largest value",
            "value": float(f"{difference:.3g}"),
            "n": len(shown),
            "of": "pictures",
        },
        {
            "what": f"average precision in validation, which chose step {state['step']} of {run.name}",
            "value": round(float(state["score"]), 4),
            "n": HELD,
            "of": "pictures at most",
        },
    ]
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in nets.items()}
    record(LEAN_DETECTOR, hashes, "export", Measurement("cardea models export", figures), folder)
    (folder / "card.json").write_text(compact_json(card(run.name, hashes, isinstance(net, LeanWithFaces))))
    return difference


def card(name: str, hashes: dict[str, str], faces: bool) -> dict[str, Any]:
    """Return what the float nets of a run need to be run and measured."""
    found = {"face_anchors": face_priors(SIDE, SIDE).parameters()} if faces else {}
    return {
        "name": name,
        "version": "1",
        "role": "detector",
        "files": {file: {"sha256": sha256} for file, sha256 in hashes.items()},
        "input": {"size": [SIDE, SIDE]},
        "parameters": PARAMETERS | found | {"gate_stem": "cut", "precisions": {"fp32": {"stem": STEM, "tail": TAIL}}},
    }


def written(net: SSDLite) -> dict[str, bytes]:
    """Return the float ONNX files of a net in evaluation mode, by name."""
    stem = Graph("lean stem", {"image": [1, 3, SIDE, SIDE]})
    centred = stem.node("Add", "image", stem.constant(np.float32(-1 / PIXEL)))  # zeros are grey, as padding is
    cells = layer(stem, Map(centred, 3, SIDE, SIDE), net.stem.first, scale=PIXEL)
    for block in net.stem.blocks:
        assert isinstance(block, InvertedResidual)
        cells = finished_block(stem, cells, expanded(stem, cells, block), block)
    stem.node("Identity", cells.name, output="map")
    rows = columns = -(-SIDE // STEM_STRIDE)
    shape: list[int | str] = [1, STEM_CHANNELS, rows, columns]
    return {STEM: stem.model({"map": shape}), TAIL: _tail(net, shape, Map("map", STEM_CHANNELS, rows, columns))}


def _tail(net: SSDLite, shape: list[int | str], cells: Map) -> bytes:
    tail = Graph("lean tail", {"map": shape})
    maps, ends = trunk(tail, cells, net.trunk)
    priors = heads(tail, maps, net.persons)
    outputs: dict[str, list[int | str]] = {"box_codes": [1, priors, 4], "person_logit": [1, priors]}
    if isinstance(net, LeanWithFaces):
        faces = face_branch(tail, ends, net.faces)
        outputs |= {"face_codes": [1, faces, 4], "face_logit": [1, faces], "face_points": [1, faces, 10]}
    return tail.model(outputs)


def disagreement(net: SSDLite, nets: dict[str, bytes], pictures: Sequence[Image]) -> float:
    """Return by how much the ONNX files differ from the net at most, as a share of each output's largest value."""
    stem, tail = (ort.InferenceSession(nets[name], providers=["CPUExecutionProvider"]) for name in (STEM, TAIL))
    worst = 0.0
    for picture in pictures:
        batch = as_batch(shrunk(picture, SIDE, SIDE))
        with torch.no_grad():
            expected = [value.numpy() for value in net(torch.from_numpy(batch))]
        (cells,) = stem.run(["map"], {"image": batch})
        for mine, theirs in zip(tail.run(None, {"map": cells}), expected, strict=True):
            worst = max(worst, float(np.abs(mine - theirs).max() / np.abs(theirs).max()))
    return worst
