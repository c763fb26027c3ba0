"""Settings come from the environment; what was once a value stays one."""

import pytest
from pydantic import ValidationError

from app.api.buildings import BuildingCreate
from app.settings import Settings
from app.vision.gate import make_gate


@pytest.mark.parametrize(
    ("said", "meant"),
    [("cardea", "cardea"), ("published", "published"), ("off", "off"), ("adaptive", "cardea"), ("open", "off")],
)
def test_a_gate_of_an_old_configuration_is_understood(said: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARDEA_GATE", said)
    gate = Settings().gate
    assert gate == meant
    assert make_gate(gate)


def test_a_gate_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARDEA_GATE", "ajar")
    with pytest.raises(ValidationError, match="gate"):
        Settings()


@pytest.mark.parametrize(("said", "meant"), [(None, 1e-3), ("0.0002", 2e-4), ("1e-9", 1e-6)])
def test_a_target_of_an_old_configuration_is_what_buildings_begin_with(
    said: str | None, meant: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CARDEA_TARGET_FPIR", raising=False)
    if said is not None:
        monkeypatch.setenv("CARDEA_TARGET_FPIR", said)
    target = Settings().target_fpir
    assert target == meant
    assert BuildingCreate(id="tower", name="Tower", target_fpir=target).target_fpir == meant


@pytest.mark.parametrize("said", ["0", "-1", "0.2", "nan", "often"])
def test_a_target_that_makes_no_sense_is_refused(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARDEA_TARGET_FPIR", said)
    with pytest.raises(ValidationError, match="target_fpir"):
        Settings()
