"""Constants of the gate chosen with each scene left out: the choice is blind to that scene, and the runtime's stay."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from app.vision import gate_noise, gate_settling
from models.__main__ import main
from models.evaluate.counts import Counts
from models.evaluate.scenes import NOISES, Outcome, Setting, choose

COUNTS = Counts(100, 60, 60, 60, 60, 40, 40, 0, 0, 0, 0)
BAD, GOOD, LAX = (5.0, 6.0, 1.0), (7.5, 7.0, 1.1), (9.0, 8.0, 1.25)


def outcomes(scene: str, *, exited: int = 60, opened: int = 40, slowest: float = 0.0) -> list[Outcome]:
    counts = replace(COUNTS, exited=exited, opened=opened)
    return [Outcome(scene, noise, counts, slowest) for noise in NOISES]


def test_a_scene_has_no_say_in_what_is_chosen_for_it() -> None:
    done: dict[Setting, list[Outcome]] = {
        BAD: outcomes("hall") + outcomes("mall", exited=30),
        GOOD: outcomes("hall", exited=50) + outcomes("mall", exited=50),
    }
    assert choose(done, "mall") == BAD  # the mall would know better
    assert choose(done, "hall") == GOOD


@pytest.mark.parametrize("fault", [{"opened": 39}, {"slowest": 10.1}, {"slowest": float("inf")}])
def test_who_misses_people_or_never_exits_is_not_chosen(fault: dict[str, float]) -> None:
    faulty = outcomes("hall", **fault)  # type: ignore[arg-type]
    assert choose({LAX: faulty, GOOD: outcomes("hall", exited=20)}, "mall") == GOOD


def test_of_equals_the_most_careful_is_chosen() -> None:
    eager, longer = (5.0, 7.0, 1.1), (9.0, 7.0, 1.1)
    assert choose({eager: outcomes("hall"), longer: outcomes("hall"), GOOD: outcomes("hall")}, "mall") == longer
    assert choose({eager: outcomes("hall"), longer: outcomes("hall", exited=59)}, "mall") == eager


def test_every_scene_is_answered_for(visits: list[tuple[Path, Path]], capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--clip", *(str(video) for video, _ in visits), "--masks", *(str(archive) for _, archive in visits)]
    before = (gate_settling.DWELL, gate_noise.SIGMAS, gate_settling.LONE)
    assert main(["evaluate", "scenes", *files, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert before == (gate_settling.DWELL, gate_noise.SIGMAS, gate_settling.LONE)
    assert set(told["chosen_without"]) == {"lamp", "plain"}
    assert tuple(told["shipped"][name] for name in ("dwell", "sigmas", "lone")) == before
    for noise in NOISES:
        assert told["held_out"][noise]["open_rate_moving"]["of"] == 40
        assert 0 < told["held_out"][noise]["exit_rate_still"]["rate"] <= 1


def test_one_scene_cannot_be_left_out(visits: list[tuple[Path, Path]], capsys: pytest.CaptureFixture[str]) -> None:
    video, archive = visits[1]
    assert main(["evaluate", "scenes", "--clip", str(video), "--masks", str(archive)]) == 1
    assert "give clips of more than one" in capsys.readouterr().err
