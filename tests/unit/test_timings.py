"""What early exit saves, by hand: the definition in `app.timings` on figures that can be followed."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from app.store.records import CameraStats
from app.timings import timings

# 100 frames in 20 s, 80 of them still; one that goes on costs 10 + 4 + 1 ms behind the gate.
STATS = CameraStats(
    since=datetime(2026, 1, 1, tzinfo=UTC),
    seconds=20.0,
    fps=5.0,
    lag=0.05,
    decoded=500,
    analysed=100,
    exited=80,
    dropped=25,
    cpu_ms={"decode": 200, "stem": 150, "gate": 50, "tail": 200, "faces": 80, "embed": 20, "other": 100},
)


def test_figures_follow_their_definition() -> None:
    told = timings(STATS)
    assert told.stage_ms == {
        "decode": 2.0, "stem": 1.5, "gate": 0.5, "tail": 2.0, "faces": 0.8, "embed": 0.2, "other": 1.0,
    }  # fmt: skip
    assert told.frame_ms == pytest.approx(8.0)
    assert told.cpu_share == pytest.approx(0.8 / 20)
    assert (told.exit_rate, told.drop_rate) == (0.8, 0.2)
    assert told.saved_ms_per_second == pytest.approx(80 * 15 / 20)
    assert told.saved_share == pytest.approx(1200 / 2000)


def test_nothing_is_said_before_there_is_anything_to_say() -> None:
    nothing = replace(STATS, seconds=0.0, analysed=0, exited=0, dropped=0, cpu_ms=dict.fromkeys(STATS.cpu_ms, 0.0))
    told = timings(nothing)
    assert told.stage_ms == {}
    assert told.frame_ms is told.cpu_share is told.exit_rate is told.drop_rate is None
    assert told.saved_ms_per_second is told.saved_share is None


def test_without_an_open_frame_nobody_knows_what_one_costs() -> None:
    still = replace(STATS, exited=100, cpu_ms=STATS.cpu_ms | {"tail": 0.0, "faces": 0.0, "embed": 0.0})
    told = timings(still)
    assert told.exit_rate == 1.0 and told.saved_ms_per_second is None and told.saved_share is None


def test_a_camera_without_a_still_frame_saves_nothing() -> None:
    told = timings(replace(STATS, exited=0))
    assert told.saved_ms_per_second == 0.0 and told.saved_share == 0.0
