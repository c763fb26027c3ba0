"""How openings of the gate are compared between rounds."""

import argparse
from pathlib import Path

import pytest

from app.cli.bench_still import Round, add_arguments, delays_at_opening, figures, refuse_restless, usual_times
from app.errors import SetupError

PERIOD = 40.0
STAGES = {"decode": 4.0, "stem": 1.0, "other": 5.0, "all": 10.0}


def light(began: float, ended: float) -> Round:
    return Round("light", began, ended, 20.0, STAGES)


def test_openings_of_one_visit_are_one_time() -> None:
    assert usual_times([], PERIOD) == []
    assert usual_times([10.0, 10.2, 10.4, 30.0], PERIOD) == [10.2, 30.0]


def test_a_visit_at_the_seam_of_the_clip_is_one_visit() -> None:
    (seam,) = usual_times([0.1, 0.2, 39.9], PERIOD)
    assert seam % PERIOD == pytest.approx(0.1)


def test_delays_are_from_the_same_time_of_the_clip() -> None:
    openings = {
        "everything": {(0, 1010.0), (1, 1010.2), (0, 1050.1)},  # 10.1 s into the clip
        "light": {(0, 1090.4), (1, 1090.1), (0, 1107.0)},  # the last one is of another thing
    }
    delays, missed = delays_at_opening([light(1080.0, 1120.0)], openings, PERIOD, cameras=2)
    assert sorted(delays) == pytest.approx([0.0, 0.3]) and missed == 0


def test_a_visit_without_an_opening_is_missed_and_one_outside_of_the_round_is_not() -> None:
    openings = {"everything": {(0, 1010.0)}, "light": set[tuple[int, float]]()}
    assert delays_at_opening([light(1080.0, 1120.0)], openings, PERIOD, cameras=1) == ([], 1)
    assert delays_at_opening([light(1095.0, 1120.0)], openings, PERIOD, cameras=1) == ([], 0)


def test_the_earliest_opening_counts() -> None:
    openings = {"everything": {(0, 1010.0)}, "light": {(0, 1091.0), (0, 1090.5)}}
    assert delays_at_opening([light(1080.0, 1120.0)], openings, PERIOD, cameras=1) == ([0.5], 0)


def test_figures_are_medians_of_rounds_with_stillness() -> None:
    rounds = [
        Round("everything", 0.0, 40.0, 10.0, STAGES),
        Round("everything", 40.0, 80.0, 10.0, STAGES | {"all": 30.0}),
        Round("everything", 80.0, 120.0, 0.0, {}),
        light(120.0, 160.0),
    ]
    told = figures(rounds, {"everything": set(), "light": set()}, PERIOD, 1)
    assert told["cpu_ms_per_camera_second"]["everything"]["all"] == 20.0
    assert told["still_seconds"] == {"everything": 20.0, "light": 20.0}
    assert told["delay_at_opening_s"] == {"p50": None, "max": None, "of": 0} and told["visits_missed"] == 0


def test_a_clip_that_never_rests_is_refused() -> None:
    still, restless = Round("everything", 0.0, 40.0, 10.0, STAGES), Round("light", 40.0, 80.0, 0.0, {})
    refuse_restless([still, light(40.0, 80.0)], Path("hall.mp4"))
    with pytest.raises(SetupError, match=r"hall\.mp4 never rests"):
        refuse_restless([still, restless], Path("hall.mp4"))


@pytest.mark.parametrize("words", [["--fps", "0"], ["--rounds", "0"], ["--cameras", "-1"], ["--seconds", "nan"]])
def test_what_is_out_of_range_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(words)
    assert f"argument {words[0]}: {words[1]}: must be" in capsys.readouterr().err
