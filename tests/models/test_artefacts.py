"""What every shipped artefact must keep to."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fixtures_starter import take_or_skip

from app.vision.artefact import SHIPPED, Artefact, shipped
from app.vision.boxes import anchors
from models.__main__ import main
from models.measured import FOLDER, measurements
from models.starter.graphdef import float_constants
from models.starter.recipes import EMBEDDER, LEAN, PERSON, RECIPES, SHIPPED_RECIPES, TAUGHT, Recipe
from models.starter.tflite import operators

LARGEST_TOTAL = 25_000_000
each = pytest.mark.parametrize("recipe", SHIPPED_RECIPES, ids=[recipe.role for recipe in SHIPPED_RECIPES])


def card_of(recipe: Recipe) -> dict[str, Any]:
    return json.loads((SHIPPED / recipe.name / "card.json").read_text())


def test_all_together_are_small() -> None:
    assert 0 < sum(path.stat().st_size for path in SHIPPED.rglob("*.*")) <= LARGEST_TOTAL


def test_nothing_else_is_shipped() -> None:
    assert {path.name for path in SHIPPED.iterdir()} - {"former"} == {recipe.name for recipe in SHIPPED_RECIPES}


@each
def test_files_and_card_agree(recipe: Recipe) -> None:
    card = card_of(recipe)
    present = {path.name for path in (SHIPPED / recipe.name).iterdir()} - {"card.json", "LICENSE.txt"}
    assert present == set(card["files"]) == set(card["outputs"])
    for name, entry in card["files"].items():
        content = (SHIPPED / recipe.name / name).read_bytes()
        assert entry == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


@each
def test_the_card_says_where_the_net_comes_from(recipe: Recipe) -> None:
    card = card_of(recipe)
    assert card["sources"] == [
        {
            "registry": recipe.source.registry,
            "package": recipe.source.package,
            "version": recipe.source.version,
            "archive_sha256": recipe.source.archive_sha256,
            "file": recipe.source.member,
            "file_sha256": recipe.source.member_sha256,
        }
    ]
    assert card["licence"] == "MIT" and card["training_data"]
    assert recipe.copyright in (SHIPPED / recipe.name / "LICENSE.txt").read_text()
    assert shipped(recipe.role).card.name == recipe.name


@each
def test_the_card_has_what_was_measured_on_these_files(recipe: Recipe) -> None:
    card = card_of(recipe)
    files = Artefact(SHIPPED / recipe.name).card.files
    folders = [FOLDER] if recipe.trained is None else [FOLDER, recipe.trained]
    measured = [measurement for folder in folders for measurement in measurements(recipe.name, files, folder)]
    assert [figure["what"] for figure in card["figures"]] == [
        figure["what"] for measurement in measured for figure in measurement.figures
    ]
    proof = "parity" if recipe.trained is None else "export"
    assert any(proof in figure["command"] for figure in card["figures"])
    assert all({"what", "value", "n", "command", "date"} <= set(figure) for figure in card["figures"])


@each
def test_the_nets_bear_no_trace_of_where_they_were_built(recipe: Recipe) -> None:
    for name in recipe.outputs:
        model = onnx.load(SHIPPED / recipe.name / name)
        assert (model.producer_name, model.producer_version) == ("cardea", "")
        assert not model.metadata_props and not model.doc_string
        assert not any(node.doc_string for node in model.graph.node)
        onnx.checker.check_model(model)


def test_the_card_names_the_files_of_each_precision() -> None:
    precisions = card_of(LEAN)["parameters"]["precisions"]
    assert set(precisions) == {"fp32", "int8"}
    assert all(set(files) == {"stem", "stem_half", "tail"} for files in precisions.values())
    assert {name for files in precisions.values() for name in files.values()} == set(card_of(LEAN)["files"])


def test_the_anchors_are_those_of_the_trained_net() -> None:
    # First and last of 1917; TensorFlow object detection's generator for 300x300, six levels.
    boxes = anchors(**card_of(LEAN)["parameters"]["anchors"])
    assert boxes.shape == (1917, 4)
    first = [[0.026316, 0.026316, 0.1, 0.1], [0.026316, 0.026316, 0.282843, 0.141421]]
    np.testing.assert_allclose(boxes[:2], first, atol=1e-6)
    np.testing.assert_allclose(boxes[2], [0.026316, 0.026316, 0.141421, 0.282843], atol=1e-6)
    np.testing.assert_allclose(boxes[-1], [0.5, 0.5, 0.974679, 0.974679], atol=1e-6)


def test_the_impostor_table_is_a_table() -> None:
    card = card_of(TAUGHT)["parameters"]
    table = card["impostors"]
    columns = [table[name] for name in ("fmr", "similarity", "similarity_low", "similarity_high")]
    assert len({len(column) for column in columns}) == 1
    rates, similarities, low, high = (np.array(column) for column in columns)
    assert (np.diff(rates) < 0).all() and (np.diff(similarities) >= 0).all()
    assert (low <= similarities + 2e-3).all() and (similarities <= high + 2e-3).all()
    assert rates[-1] * table["pairs"] >= 1
    assert table["identities"] >= 100 and table["source"]
    assert card["floor"] in table["similarity"]


def test_the_tail_was_validated_on_other_people() -> None:
    card = card_of(TAUGHT)
    tail, table = card["parameters"]["tail"], card["parameters"]["impostors"]
    assert (tail["start"], tail["share"]) == (table["similarity"][-1], table["fmr"][-1])
    assert tail["least_rate"] == pytest.approx(tail["share"] / 100)
    columns = (tail[name] for name in ("similarity_low", "similarity", "similarity_high"))
    assert all(low <= middle <= high for low, middle, high in zip(*columns, strict=True))
    told = {figure["what"]: figure["value"] for figure in card["figures"]}
    past = [value for what, value in told.items() if "half of the people" in what and "past that table" in what]
    assert past and all(0.5 <= value["times_the_promise"] <= 2 for value in past)
    assert any("strangers let in" in what for what in told) and any("third by quality" in what for what in told)


@pytest.mark.parametrize("name", [*(recipe.role for recipe in SHIPPED_RECIPES), "starter_embedder"])
def test_building_again_gives_the_same_bytes(name: str, packages: Path, tmp_path: Path) -> None:
    recipe = RECIPES[name]
    take_or_skip(recipe.source)
    assert main(["starter", "--only", name, "--cache", str(packages), "--artefacts", str(tmp_path)]) == 0
    committed = (SHIPPED if recipe in SHIPPED_RECIPES else SHIPPED / "former") / recipe.name
    assert {path.name for path in (tmp_path / recipe.name).iterdir()} == {path.name for path in committed.iterdir()}
    for path in (tmp_path / recipe.name).iterdir():
        assert path.read_bytes() == (committed / path.name).read_bytes(), path.name


def test_the_frozen_graph_is_read_whole() -> None:
    constants = float_constants(take_or_skip(PERSON.source))
    assert len(constants) == 477
    assert constants["FeatureExtractor/MobilenetV2/Conv/weights"].shape == (3, 3, 3, 32)
    assert constants["BoxPredictor_0/ClassPredictor/biases"].shape == (6,)
    trained = ("weights", "gamma", "beta", "biases")
    # What SSDLite on MobileNetV2 with two classes has by its definition.
    assert sum(value.size for name, value in constants.items() if name.endswith(trained)) == 3_045_126


def test_the_tflite_file_is_read_whole() -> None:
    steps = operators(take_or_skip(EMBEDDER.source))
    names = [step.name for step in steps]
    assert (len(names), names.count("convolution"), names.count("depthwise"), names.count("abs")) == (230, 35, 17, 33)
    assert [step.stride for step in steps if step.name in ("convolution", "depthwise")].count(2) == 4
    assert [step.constants[0].shape for step in steps if not step.same and step.name == "depthwise"] == [(1, 7, 7, 512)]
