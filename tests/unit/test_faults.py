import pytest

from workers.simulator.faults import DEFAULT_LOSS, Fault, Injection


@pytest.mark.parametrize(
    ("text", "injection"),
    [
        ("stall", Injection(Fault.STALL, 0.0, DEFAULT_LOSS)),
        ("none@20", Injection(Fault.NONE, 20.0, DEFAULT_LOSS)),
        ("loss=7.5@0.5", Injection(Fault.LOSS, 0.5, 7.5)),
    ],
)
def test_injections_are_read(text: str, injection: Injection) -> None:
    assert Injection.parse(text) == injection


@pytest.mark.parametrize("text", ["", "fire", "stall@", "stall@-1", "@5", "die=5", "loss=0", "loss=101", "loss@1.2.3"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Injection.parse(text)
