"""What `cardea bench detector` prints, and where its yardstick comes from. Nothing here asserts a speed."""

import json
import shutil
from pathlib import Path

import pytest
from fixtures_starter import take_or_skip

from app.__main__ import main
from app.cli import bench_detector
from app.vision.artefact import Artefact, shipped
from models.starter.recipes import PERSON

STEPS = {"stem_ms", "gate_ms", "full_ms"}


def test_both_precisions_of_both_detectors_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "detector", "--rounds", "2", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    for name in ("int8", "fp32", "starter_int8", "starter_fp32"):
        assert set(figures[name]) == STEPS
        assert 0 < figures[name]["stem_ms"] < figures[name]["full_ms"]
    assert figures["threads"] == 1 and figures["hardware"]
    card = shipped("detector").card
    assert figures["artefacts"][card.id] == card.files
    assert figures["chosen_here"].startswith(card.id)
    assert (figures["int8"] == figures["starter_int8"]) == (card.name == bench_detector.STARTER)


def test_the_starter_is_built_where_another_detector_is_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_or_skip(PERSON.source)
    folder = tmp_path / "other"
    shutil.copytree(shipped("detector").folder, folder)
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | {"name": "another"}))
    monkeypatch.setattr(bench_detector, "shipped", lambda role: Artefact(folder))
    with bench_detector.starter() as built:
        assert built.folder != folder
        assert built.card.name == bench_detector.STARTER == PERSON.name
        assert built.card.parameters["precisions"] == PERSON.parameters["precisions"]
