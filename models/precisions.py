"""The two precisions of an artefact: its float nets, and a twin of each in 8-bit integers.

Ranges of the starter's maps are kept in `measured/` for the exact float nets: a build then needs no pictures and gives
the same bytes on every processor, which float arithmetic does not.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from app.errors import SetupError
from app.types import Image
from app.vision.runtime import ort
from models.measured import FOLDER, compact_json
from models.pictures import as_batch, shrunk
from models.quantise import Range, Ranges, calibrate, convolutions, quantised

FEATURES = "features"
STEM, HALF_STEM, TAIL = "stem.onnx", "stem_half.onnx", "tail.onnx"
EMBEDDER_NET = "embedder.onnx"
TWINS = {STEM: "stem.int8.onnx", TAIL: "tail.int8.onnx"}
# How many convolutions at the beginning of a net stay in float32. Of a stem it is the first one and the block behind
# it: three channels, and edges found by weights that nearly cancel out, lose most by rounding and gain no time.
LEADING = {STEM: 3, TAIL: 0}
# For the cards: which file is the embedder, and which files make the detector, in each precision. The gate's stem gains
# no time from integers.
EMBEDDER_PRECISIONS = {"fp32": EMBEDDER_NET, "int8": "embedder.int8.onnx"}
PRECISIONS = {
    "fp32": {"stem": STEM, "stem_half": HALF_STEM, "tail": TAIL},
    "int8": {"stem": TWINS[STEM], "stem_half": HALF_STEM, "tail": TWINS[TAIL]},
}
Size = tuple[int, int]  # width and height in pixels


def with_twins(nets: dict[str, bytes], ranges: dict[str, Ranges]) -> dict[str, bytes]:
    """Return float nets by file name, and the twins of those that there are ranges of."""
    return nets | {TWINS[name]: quantised(nets[name], ranges[name], in_float(name, nets)) for name in ranges}


def in_float(name: str, nets: dict[str, bytes]) -> list[str]:
    """Return the convolutions of a float net that stay in float32 in its twin, by the names of their outputs.

    They are the leading ones, and those that make the gate's features, which live from small differences.
    """
    every = convolutions(nets[name])
    return [output for row, output in enumerate(every) if row < LEADING[name] or output == FEATURES]


def detector_ranges(nets: dict[str, bytes], pictures: Iterable[Image], sizes: dict[str, Size]) -> dict[str, Ranges]:
    """Return the ranges of the nets of a detector, by file name.

    Args:
        nets: the float nets by file name; the tail takes the stem's ``map``.
        pictures: a hundred varied ones, BGR (H, W, 3) of any size, none of a test set.
        sizes: of the input of each stem there is.
    """
    shown = list(pictures)
    inputs = {name: [as_batch(shrunk(picture, *size)) for picture in shown] for name, size in sizes.items()}
    stem = ort.InferenceSession(nets[STEM], providers=["CPUExecutionProvider"])
    image = stem.get_inputs()[0].name
    inputs[TAIL] = [stem.run(["map"], {image: batch})[0] for batch in inputs[STEM]]
    return {name: calibrate(nets[name], batches, in_float(name, nets)) for name, batches in inputs.items()}


def keep_ranges(name: str, nets: dict[str, bytes], ranges: dict[str, Ranges], folder: Path = FOLDER) -> None:
    """Keep the ranges of an artefact's float nets."""
    kept = {
        file: {
            "sha256": hashlib.sha256(nets[file]).hexdigest(),
            "ranges": {key: _as_json(one) for key, one in found.items()},
        }
        for file, found in ranges.items()
    }
    (folder / f"{name}.ranges.json").write_text(compact_json(kept))


def kept_ranges(name: str, nets: dict[str, bytes], folder: Path = FOLDER) -> dict[str, Ranges]:
    """Return the ranges that were found on these float nets of an artefact.

    Raises:
        SetupError: there are none for these exact nets.
    """
    path = folder / f"{name}.ranges.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    for file, net in nets.items():
        if kept.get(file, {}).get("sha256") != hashlib.sha256(net).hexdigest():
            raise SetupError(f"{path.name} knows no ranges of this {file}; run: cardea models calibrate")
    return {
        file: {key: Range(one["low"], one["high"], tuple(one["means"])) for key, one in kept[file]["ranges"].items()}
        for file in nets
    }


def _as_json(found: Range) -> dict[str, object]:
    """Return a range with so many digits as a hundred pictures are good for."""
    return {"low": round(found.low, 5), "high": round(found.high, 5), "means": [round(one, 3) for one in found.means]}
