"""The rule of the paper on feature-level background modelling (arXiv 2011.07513), on the net cut where it says.

`app.vision.gate_published` keeps the rule as a camera could use it: in seconds, with two thresholds, on small maps.
Here is the rule of the text, frame by frame on full maps. Only its arithmetic is mended (`app.vision.motion`): a vector
of zeros has a distance, and a box covers at least one cell.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from app.packages import take
from app.types import Array
from app.vision.artefact import Artefact
from app.vision.motion import Motion, cosine_distance
from models.starter.person import PersonNet
from models.starter.recipes import PERSON

BLOCKS = tuple(f"b{number:02d}" for number in range(1, 13))  # where the net can be cut
KEPT = 0.9  # of the background, per still frame
FILES = {"stem": "stem.onnx", "stem_half": None, "tail": "tail.onnx"}  # no stem of half size


class PublishedRule:
    """The gate of one camera. Default threshold: the one in the authors' code."""

    def __init__(self, threshold: float = 0.2) -> None:
        self.threshold = threshold
        self._background: Array | None = None

    def update(self, features: Array) -> Motion:
        """Compare a frame's map (C, h, w) with the background, and learn from it if the frame is still.

        D = 1 - max(0, cosine(F, B)). The frame is still when max D < `threshold`; then B <- 0.9 B + 0.1 F. A box counts
        when its mean D reaches the same threshold. The first frame is the first background.
        """
        if self._background is None:
            self._background = features.copy()
        distance = cosine_distance(features, self._background)
        active = distance >= self.threshold
        is_open = bool(active.any())
        if not is_open:
            self._background += (features - self._background) * np.float32(1 - KEPT)
        return Motion(active, distance, is_open, least_share=0.0, least_mean=self.threshold)


def cut_person_net(block: str, cache: Path, folder: Path) -> Artefact:
    """Write the person net, cut behind a block of `BLOCKS`, into a folder; the gate's features are the whole map.

    Raises:
        SetupError: the net's source is neither in `cache` nor to be had from its registry.
    """
    net = PersonNet(take(PERSON.source, cache), int(block[1:]))
    files = {"stem.onnx": net.stem(pooled=1), "tail.onnx": net.tail()}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    card = {
        "name": f"{PERSON.name}-{block}",
        "version": "1",
        "role": PERSON.role,
        "files": {name: {"sha256": hashlib.sha256(content).hexdigest()} for name, content in files.items()},
        "input": PERSON.input,
        "parameters": PERSON.parameters | {"cut": block, "gate_stem": "cut", "precisions": {"fp32": FILES}},
    }
    (folder / "card.json").write_text(json.dumps(card))
    return Artefact(folder)
