"""The net that the published rule judges, cut where the text says; the rule is `app.vision.gate_published`."""

import hashlib
import json
from pathlib import Path

from app.packages import take
from app.vision.artefact import Artefact
from models.starter.person import PersonNet
from models.starter.recipes import PERSON

BLOCKS = tuple(f"b{number:02d}" for number in range(1, 13))  # where the net can be cut
FILES = {"stem": "stem.onnx", "stem_half": None, "tail": "tail.onnx"}  # no stem of half size


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
