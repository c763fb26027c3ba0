"""A second embedder, and an installation that has both. It is the shipped one, its vectors cut to fewer numbers.

Its vectors cannot be compared with those of the shipped one: they have another length and another id.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from app.photos import enrol, read_photo
from app.store import people
from app.store.engine import Store
from app.store.records import NewPhoto, PersonFields
from app.vision import artefact
from app.vision.artefact import Artefact, shipped
from app.vision.embedder import Embedder
from app.vision.embedders import Embedders
from app.vision.faces import FaceFinder

KEPT = 128  # numbers of a vector of the former embedder


def shortened(net: bytes, numbers: int) -> bytes:
    """The net with only so many numbers of each vector, of unit length again."""
    import onnx  # here, since every run of tests loads this file
    from onnx import helper, numpy_helper

    model = onnx.load_from_string(net)
    graph, (output,) = model.graph, model.graph.output
    for node in graph.node:
        node.output[:] = ["whole" if name == output.name else name for name in node.output]
    for name, value in (("first", 0), ("last", numbers), ("axis", 1)):
        graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), name))
    by_input = model.opset_import[0].version >= 18  # the axes
    inputs, attributes = (["part", "axis"], {}) if by_input else (["part"], {"axes": [1]})
    graph.node.extend(
        [
            helper.make_node("Slice", ["whole", "first", "last", "axis"], ["part"]),
            helper.make_node("ReduceL2", inputs, ["length"], keepdims=1, **attributes),
            helper.make_node("Div", ["part", "length"], [output.name]),
        ]
    )
    output.type.tensor_type.shape.dim[1].dim_value = numbers
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def write_former(folder: Path) -> Path:
    """The artefact of an embedder that is no longer shipped."""
    ours = shipped("embedder").folder
    card = json.loads((ours / "card.json").read_text())
    card["name"], card["parameters"]["dimension"] = "embedder-former", KEPT
    folder.mkdir(parents=True)
    for name in card["files"]:
        net = shortened((ours / name).read_bytes(), KEPT)
        card["files"][name] = {"sha256": hashlib.sha256(net).hexdigest()}
        (folder / name).write_bytes(net)
    (folder / "card.json").write_text(json.dumps(card))
    return folder


@pytest.fixture(scope="session")
def former(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    """An embedder that an earlier version shipped."""
    return Artefact(write_former(tmp_path_factory.mktemp("former") / "embedder-former"))


@pytest.fixture
def at_hand(former: Artefact) -> Embedders:
    """The shipped embedder and the former one."""
    return Embedders(shipped("embedder"), [former])


def lay_out(folder: Path, former: Path) -> Path:
    """A folder of artefacts as after an upgrade: what is shipped, and the former embedder beside it."""
    (folder / "former").mkdir(parents=True)
    for card in artefact.SHIPPED.glob("*/card.json"):
        (folder / card.parent.name).symlink_to(card.parent)
    (folder / "former" / former.name).symlink_to(former)
    return folder


@pytest.fixture
def upgraded(former: Artefact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This installation ships another embedder than before and has kept the former one."""
    monkeypatch.setattr(artefact, "SHIPPED", lay_out(tmp_path / "artefacts", former.folder))


def enrol_photos(store: Store, name: str, photos: list[bytes], finder: FaceFinder, embedder: Embedder) -> str:
    """A person of "main" with photos, enrolled as the API does; the id."""
    with store.session() as session:
        person = people.create(session, "main", PersonFields(name)).id
    for data in photos:
        photo = read_photo(data)
        face = enrol(photo, finder, embedder)
        new = NewPhoto(photo.encoded, photo.media_type, photo.width, photo.height, face.quality.score)
        with store.session() as session:
            people.add_photo(session, "main", person, new, embedder=face.embedder, vector=face.vector)
    return person
