"""Settings come from the environment; what was once a value stays one."""

import pytest
from pydantic import ValidationError

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
