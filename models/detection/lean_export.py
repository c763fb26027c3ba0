"""Turns a trained lean detector into its ONNX files, and proves that they agree with the net."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from app.errors import SetupError
from app.types import Image
from app.vision.runtime import ort
from models.detection.onnx_writer import expanded, finished_block, heads, layer, trunk
from models.measured import Measurement, record
from models.nets.blocks import InvertedResidual
from models.nets.lean import LEAN
from models.nets.ssdlite import STEM_CHANNELS, STEM_STRIDE, SSDLite
from models.pictures import as_batch, shrunk
from models.precisions import STEM, TAIL
from models.run import load
from models.starter.graph import Graph, Map
from models.starter.person import SIDE
from models.starter.recipes import LEAN_DETECTOR
from models.training.persons import HELD

PIXEL = 2 / 255  # of a pixel's value, as the starter takes it from -1 to 1
TOLERANCE = 1e-4  # share of an output's largest value by which ONNX may differ from torch


def export_persons(run: Path, folder: Path, pictures: Iterable[Image]) -> float:
    """Write ``stem.onnx`` and ``tail.onnx`` of a run's best weights into `folder`; return by how much they differ.

    What is known of them goes into a measurement beside them, for the card.

    Args:
        run: folder of a run of the task ``persons``.
        folder: made when it does not exist.
        pictures: BGR (H, W, 3) of any size, on which net and files are compared.

    Raises:
        SetupError: the run has no weights, or the files disagree with the net.
    """
    net, state, shown = SSDLite(LEAN), load(run / "best.pt"), list(pictures)
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
    return difference


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
    tail = Graph("lean tail", {"map": shape})
    maps, _ = trunk(tail, Map("map", STEM_CHANNELS, rows, columns), net.trunk)
    priors = heads(tail, maps, net.persons)
    outputs: dict[str, list[int | str]] = {"box_codes": [1, priors, 4], "person_logit": [1, priors]}
    return {STEM: stem.model({"map": shape}), TAIL: tail.model(outputs)}


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
