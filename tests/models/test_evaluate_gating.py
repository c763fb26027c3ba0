"""The evaluation of gates: counts and figures, on generated clips whose truth is known."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from fixtures_starter import take_or_skip
from fixtures_visits import FRAMES, HEIGHT, STILL, WALK, WIDTH, masks_at, replay_of

from app.types import Detections, Image
from app.vision.picture import ArrayPicture
from models.__main__ import main
from models.evaluate.counts import Counts, auc, compare, count, first_exit, precision, seconds_to_exit
from models.evaluate.decoy import Figure, make_decoy
from models.evaluate.modes import MODES, Wanted, plain_net, prepare
from models.evaluate.noise import as_published
from models.evaluate.visits import Span, VisitClip, video_frames
from models.starter.recipes import LEAN, PERSON

FPS = 10
SIZE = np.array([WIDTH, HEIGHT, WIDTH, HEIGHT], np.float32)
KEYS = {
    "frames",
    "still_frames",
    "exit_rate_still",
    "exit_rate_still_with_cuts",
    "open_rate_moving",
    "missed",
    "auc",
    "ap50",
    "still_fp_per_frame",
    "ms_mean",
    "ms_full",
    "seconds_to_exit",
}


# --- counts


def test_counts_are_those_of_the_truth(clips_with_truth: list[VisitClip]) -> None:
    opened = [False] * FRAMES
    opened[:10] = [True] * 10  # five of these are left out
    opened[STILL + 1 : STILL + WALK + 7] = [True] * (WALK + 6)
    replay = replay_of(opened)
    replay.finds = {index: Detections.empty() for index in range(5, FRAMES, 2)}
    counts = count(clips_with_truth[0], replay, {7: 2, STILL + 1: 5})
    assert counts == Counts(
        frames=FRAMES,
        still=STILL - 5,
        exited=STILL - 10,
        still_with_cuts=STILL - 5,
        exited_with_cuts=STILL - 10,
        moving=WALK,
        opened=WALK - 1,
        standing=10,
        stood=10,
        looked_at=18,
        false_on_figure=2,
    )
    assert seconds_to_exit(clips_with_truth[0], replay) == {"lamp": 0.7}


def test_two_changes_of_one_kind_are_told_apart(clips_with_truth: list[VisitClip]) -> None:
    twice = replace(clips_with_truth[0], permanent=(Span("lamp", 20, 40), Span("lamp", 60, FRAMES)))
    assert seconds_to_exit(twice, replay_of([index < 62 for index in range(FRAMES)])) == {"lamp": None, "lamp 2": 0.2}


@pytest.mark.parametrize(
    ("closed", "expected"),
    [([], None), (range(30), 0.0), (range(5, 12), None), ([*range(5, 9), *range(11, 30)], 1.1), ([29], None)],
)
def test_an_exit_lasts_a_second(closed: list[int], expected: float | None) -> None:
    opened = np.ones(30, bool)
    opened[list(closed)] = False
    assert first_exit(np.arange(30) / FPS, opened) == expected


@pytest.mark.parametrize(("fps", "frames"), [(1, 1), (5, 5), (10, 10), (12.5, 12), (25, 24)])
def test_a_clip_may_end_with_the_second(fps: float, frames: int) -> None:
    clock = np.arange(20 + frames) / fps
    for closed, expected in ((frames, round(20 / fps, 2)), (frames - 1, None)):
        opened = np.arange(20 + frames) < 20 + frames - closed
        assert first_exit(clock, opened) == expected


def test_auc_is_the_share_of_pairs_in_order(clips_with_truth: list[VisitClip]) -> None:
    scores: list[float | None] = [0.0] * FRAMES
    scores[STILL : STILL + WALK] = [1.0] * WALK
    assert auc(clips_with_truth[0], replay_of([True] * FRAMES, scores)) == 1
    scores[STILL : STILL + 5] = [0.0] * 5  # a quarter of the moving frames ties with the still ones
    assert auc(clips_with_truth[0], replay_of([True] * FRAMES, scores)) == pytest.approx(0.875)
    assert auc(clips_with_truth[0], replay_of([True] * FRAMES)) is None


def test_precision_sees_frames_without_people_too(clips_with_truth: list[VisitClip]) -> None:
    replay = replay_of([True] * FRAMES)
    box = (clips_with_truth[0].people[STILL].boxes * SIZE).astype(np.float32)
    replay.finds = {STILL: Detections(box, np.array([0.9], np.float32))}
    assert precision([compare(clips_with_truth[0], replay, WIDTH, HEIGHT)]) == 1
    replay.finds[10] = Detections(box, np.array([0.95], np.float32))
    assert precision([compare(clips_with_truth[0], replay, WIDTH, HEIGHT)]) == 0.5
    assert precision([compare(clips_with_truth[0], replay_of([True] * FRAMES), WIDTH, HEIGHT)]) is None


# --- the command


def measured(visits: list[tuple[Path, Path]], capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    files = ["--clip", *(str(video) for video, _ in visits), "--masks", *(str(archive) for _, archive in visits)]
    assert main(["evaluate", "gating", *files, *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gives_the_same_figures(
    mode: str, visits: list[tuple[Path, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    if mode == "published":
        take_or_skip(PERSON.source)
    result = measured(visits, capsys, "--mode", mode)
    assert (result["mode"], result["noise"]) == (mode, "none")
    chosen = plain_net(None).precision
    assert result["precision"] == ("fp32" if mode == "published" else chosen)
    name = PERSON.name if mode == "published" else LEAN.name
    assert result["artefact"]["id"].startswith(name) and result["artefact"]["sha256"]
    assert list(result["clips"]) == ["lamp", "plain"]
    for figures in (result["pooled"], *result["clips"].values()):
        assert set(figures) >= KEYS
    pooled = result["pooled"]
    assert pooled["frames"] == 2 * FRAMES and pooled["open_rate_moving"] > 0.9 and pooled["ap50"] > 0.9
    assert pooled["exit_rate_still"] == 0 if mode == "off" else pooled["exit_rate_still"] > 0.7
    assert pooled["missed"] == round((1 - pooled["open_rate_moving"]) * 2 * WALK)
    assert pooled["intervals"]["exit_rate_still"]["of"] == pooled["still_frames"]
    if mode in ("off", "published", "diff"):
        assert pooled["seconds_to_exit"] == {"lamp/lamp": 0.1 if mode == "diff" else None}
    assert pooled["ms_full"] > 0 and pooled["ms_mean"] > 0


@pytest.mark.parametrize("mode", ["cardea", "mse", "off"])
def test_mode_and_plain_net_run_in_one_precision(mode: str, person: Image) -> None:
    room = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    room[50:220, 100:185] = person
    scores = []
    for wanted in ("int8", "fp32"):
        contest = prepare(Wanted(mode, Path(), precision=wanted))
        assert contest.whole.precision == wanted
        player, picture = contest.make(), ArrayPicture(room)
        player.judge(picture, 0.0)
        found, whole = player.detect(), contest.whole.finish(contest.whole.look(picture))
        np.testing.assert_array_equal(found.scores[0], whole.scores[0])
        scores.append(float(whole.scores[0]))
    assert scores[0] != scores[1]


def test_a_figure_deceives_the_net_and_not_the_rule(
    visits: list[tuple[Path, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    take_or_skip(PERSON.source)
    plain = measured(visits, capsys, "--mode", "off", "--precision", "fp32", "--decoy")
    published = measured(visits, capsys, "--mode", "published", "--cut", "b02", "--decoy")
    assert {name: one["decoy"]["from"] for name, one in plain["clips"].items()} == {"lamp": "plain", "plain": "lamp"}
    assert plain["pooled"]["still_fp_per_frame"] > 0.9
    assert published["pooled"]["still_fp_per_frame"] < 0.1
    assert published["pooled"]["ap50"] >= plain["pooled"]["ap50"]


def test_a_figure_stands_where_few_walk_and_hides_what_is_behind(
    clips_with_truth: list[VisitClip], person: Image
) -> None:
    shape = np.ones((170, 85), bool)
    shape[:20, :20] = False
    figures = [
        Figure(picture, shape, clip, 0, score)
        for picture, clip, score in ((person, "lamp", 0.9), (person[:, ::-1].copy(), "plain", 0.8))
    ]
    net = plain_net("fp32")
    decoy = make_decoy(clips_with_truth[0], figures, net, partial(as_published, "none"))
    assert (decoy.figure.clip, decoy.figure.alpha.shape) == ("plain", (HEIGHT // 2, 60))
    assert decoy.x >= 200 and decoy.score > 0.5  # on the right side, where the walk ends
    room = np.full((HEIGHT, WIDTH, 3), 77, np.uint8)
    pasted = decoy.pasted(room)
    assert (room == 77).all() and (pasted != 77).any(axis=2).sum() <= decoy.figure.alpha.sum()
    x1, y1, x2, y2 = decoy.box.astype(int)
    np.testing.assert_array_equal(pasted[y1:y2, x1:x2][decoy.figure.alpha], decoy.figure.image[decoy.figure.alpha])
    assert (
        make_decoy(clips_with_truth[0], figures[:1], net, partial(as_published, "none")).figure.clip == "lamp"
    )  # no other


def test_noise_and_frame_rate_are_said(visits: list[tuple[Path, Path]], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--mode", "mse", "--noise", "seed", "--fps", "5", "--threshold", "65025"]
    result = measured(visits[:1], capsys, *words)
    assert (result["noise"], result["fps"], result["parameters"]) == ("seed", 5, {"threshold": 65025})
    assert result["pooled"]["frames"] == FRAMES / 2 and result["pooled"]["missed"] == WALK / 2
    assert "clips95" not in result["pooled"]["intervals"]["exit_rate_still"]


def test_a_sweep_draws_a_line_for_each_block(
    visits: list[tuple[Path, Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    take_or_skip(PERSON.source)
    plot = tmp_path / "sweep.svg"
    video, archive = (str(path) for path in visits[0])
    words = ["--cut", "b02", "b06", "--threshold", "0.1", "0.9", "--fps", "5", "--plot", str(plot), "--json"]
    assert main(["evaluate", "sweep", "--clip", video, "--masks", archive, *words]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["cut"], row["threshold"]) for row in rows] == [("b02", 0.1), ("b02", 0.9), ("b06", 0.1), ("b06", 0.9)]
    assert all(row["ap50"] is not None and row["ms_mean"] > 0 for row in rows)
    drawn = ElementTree.parse(plot)
    assert len(drawn.findall(".//{*}polyline")) == 4
    assert {"AP50", "b02", "b06", "threshold"} <= {text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")}


def test_what_cannot_be_measured_is_told(
    visits: list[tuple[Path, Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video, archive = (str(path) for path in visits[0])
    words = ["evaluate", "gating", "--clip", video, "--masks", archive]
    assert main([*words, "--mode", "cardea", "--threshold", "1"]) == 1
    assert "has no threshold" in capsys.readouterr().err
    assert main([*words, "--mode", "published", "--precision", "int8"]) == 1
    assert "fp32 alone" in capsys.readouterr().err
    nobody = masks_at(tmp_path / "nobody.zip", "000007.png")  # where she is said to be there is but wall
    assert main([*words[:-1], str(nobody), "--mode", "off", "--decoy"]) == 1
    assert "whole, upright person" in capsys.readouterr().err
    words[1] = "sweep"
    assert main([*words, "--plot", str(tmp_path / "absent" / "sweep.svg")]) == 1
    assert "absent is no folder" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--fps", "0"], ["--fps", "-5"], ["--fps", "nan"], ["--threshold", "nan"]])
def test_what_is_out_of_range_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "gating", "--clip", "a.mp4", "--masks", "a.zip", "--mode", "mse", *words])
    assert "must be a number above 0" in capsys.readouterr().err


def test_pictures_are_of_the_clip(visits: list[tuple[Path, Path]], person: Image) -> None:
    frames = dict(video_frames(visits[0][0], FPS, FPS))
    assert np.abs(frames[STILL][50:220, 20:105].astype(int) - person).mean() < 12
