"""Clips with truth: what is read of masks and events, and what is refused; what is shown of them."""

import json
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fixtures_visits import AFTER, FRAMES, HEIGHT, STILL, WALK, WIDTH, masks_at, replay_of, truth

from app.errors import SetupError
from models.evaluate.counts import seconds_to_exit
from models.evaluate.noise import through_jpeg, with_seed_noise
from models.evaluate.visits import CUT, NEAR, Span, VisitClip, components, read_clips

FPS = 10
SIZE = np.array([WIDTH, HEIGHT, WIDTH, HEIGHT], np.float32)


def test_truth_is_read(clips_with_truth: list[VisitClip]) -> None:
    lamp, plain = clips_with_truth
    assert np.flatnonzero(lamp.moving).tolist() == list(range(STILL, STILL + WALK))
    assert np.flatnonzero(lamp.still).tolist() == list(range(5, STILL))  # the rest is judged by the time to exit
    assert lamp.permanent == (Span("lamp", STILL + WALK, FRAMES),)
    assert lamp.standing == (Span("stands_still", STILL + 10, STILL + WALK),)
    assert plain.fps == FPS
    assert np.flatnonzero(plain.still).tolist() == [*range(5, STILL), *range(STILL + WALK, FRAMES)]
    assert (plain.permanent, plain.standing) == ((), ())


def test_a_cut_is_a_change_or_not(visits: list[tuple[Path, Path]], tmp_path: Path) -> None:
    video, archive = visits[0]
    facts: dict[str, Any] = truth()
    facts["events"][2]["type"] = CUT
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes())
    (tmp_path / "cut.json").write_text(json.dumps(facts))
    (clip,) = read_clips([tmp_path / "cut.mp4"], [archive])
    assert (clip.still.sum(), clip.still_with_cuts.sum()) == (STILL - 5, STILL - 5 + AFTER)


def told_of(clip: Path, folder: Path, **facts: object) -> Path:
    """Copy a clip and write what is said of it beside."""
    (folder / "told.mp4").write_bytes(clip.read_bytes())
    (folder / "told.json").write_text(json.dumps(truth() | facts))
    return folder / "told.mp4"


def test_finds_count_near_people(clips_with_truth: list[VisitClip], tmp_path: Path) -> None:
    archive = masks_at(tmp_path / "late.zip", f"{FRAMES - 2:06d}.png")
    (late,) = read_clips([clips_with_truth[1].path], [archive])
    assert np.flatnonzero(late.near).tolist() == list(range(FRAMES - 2 - NEAR, FRAMES))
    archive = masks_at(tmp_path / "early.zip", "000000.png")
    (early,) = read_clips([clips_with_truth[1].path], [archive])
    assert np.flatnonzero(early.near).tolist() == list(range(5, NEAR + 1))


def test_an_event_may_begin_where_another_ends(visits: list[tuple[Path, Path]], tmp_path: Path) -> None:
    events = [
        {"type": "light", "start": 10, "end": 19, "permanent": True},
        {"type": "chair", "start": 20, "end": 20, "permanent": True},
        {"type": "people", "start": STILL, "end": STILL + WALK - 1},
    ]
    (clip,) = read_clips([told_of(visits[0][0], tmp_path, events=events)], [visits[0][1]])
    assert clip.permanent == (Span("light", 20, 20), Span("chair", 20, STILL))
    assert seconds_to_exit(clip, replay_of([False] * FRAMES)) == {"light": None, "chair": 0.0}


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"still": 5}, "not iterable"),
        ({"still": [[0]]}, "not enough values"),
        ({"still": [[0, 10], [3, "x"]]}, "3 to x are no frames"),
        ({"still": [[-3, 10]]}, "-3 to 10 are no frames"),
        ({"still": [[10, 5]]}, "10 to 5 are no frames"),
        ({"still": [[0, FRAMES]]}, f"0 to {FRAMES} are no frames of 0 to {FRAMES - 1}"),
        ({"events": [{"type": "lamp", "start": FRAMES}]}, "are no frames"),
        ({"frames": FRAMES + 1}, f"says {FRAMES + 1} frames and the video has {FRAMES}"),
        ({"fps": float("inf")}, "does not say its frame rate"),
    ],
)
def test_what_is_said_of_a_clip_is_checked(
    visits: list[tuple[Path, Path]], tmp_path: Path, facts: dict[str, object], said: str
) -> None:
    with pytest.raises(SetupError, match=said):
        read_clips([told_of(visits[0][0], tmp_path, **facts)], [visits[0][1]])


@pytest.mark.parametrize(("names", "said"), [((), "holds none"), (("-00003.png",), "-00003 is no number of a frame")])
def test_masks_are_checked(visits: list[tuple[Path, Path]], tmp_path: Path, names: tuple[str, ...], said: str) -> None:
    with pytest.raises(SetupError, match=said):
        read_clips([visits[1][0]], [masks_at(tmp_path / "masks.zip", *names)])


def test_people_are_boxes_and_small_ones_are_ignored(clips_with_truth: list[VisitClip], tmp_path: Path) -> None:
    np.testing.assert_allclose(clips_with_truth[0].people[STILL].boxes * SIZE, [[20, 50, 105, 220]], atol=1e-4)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:30, 10:14] = 255  # 8 % of the height
    mask[100:140, 200:220] = 255
    mask[143:180, 200:220] = 255  # the same person behind a rail
    mask[100:180, 100:140] = 128  # nobody
    assert len(components(mask)[1]) == 2
    path = tmp_path / "small_masks.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("masks/000007.png", cv2.imencode(".png", mask)[1].tobytes())
    (clip,) = read_clips([clips_with_truth[1].path], [path])
    np.testing.assert_allclose(clip.people[7].boxes * SIZE, [[200, 100, 220, 180]], atol=1e-4)
    np.testing.assert_allclose(clip.people[7].ignored * SIZE, [[10, 10, 14, 30]], atol=1e-4)
    assert not clip.still[7] and clip.moving[7]


def test_a_frame_with_a_tiny_mask_counts_as_neither(clips_with_truth: list[VisitClip], tmp_path: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:12, :12] = 255  # .19 %
    path = tmp_path / "tiny_masks.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("000007.png", cv2.imencode(".png", mask)[1].tobytes())
    (clip,) = read_clips([clips_with_truth[1].path], [path])
    assert not clip.still[7] and not clip.moving[7] and clip.still[8]


def test_frames_are_left_out_evenly(clips_with_truth: list[VisitClip]) -> None:
    assert [index for index, _ in clips_with_truth[0].frames(4)][:5] == [0, 2, 5, 8, 10]
    assert sum(1 for _ in clips_with_truth[0].frames()) == sum(1 for _ in clips_with_truth[0].frames(60)) == FRAMES


def test_what_does_not_fit_is_refused(visits: list[tuple[Path, Path]], tmp_path: Path) -> None:
    (video, archive), (other, _) = visits
    with pytest.raises(SetupError, match="2 clips and 1 mask files"):
        read_clips([video, other], [archive])
    with pytest.raises(SetupError, match="different names: lamp"):
        read_clips([video, video], [archive, archive])
    with pytest.raises(SetupError, match="cannot be opened as a video"):
        read_clips([archive], [archive])
    with pytest.raises(SetupError, match="no zip file of masks"):
        read_clips([video], [video])
    late = tmp_path / "late.zip"
    with zipfile.ZipFile(late, "w") as masks:
        masks.writestr("000900.png", cv2.imencode(".png", np.zeros((4, 4), np.uint8))[1].tobytes())
    with pytest.raises(SetupError, match=r"frame 900.*belong together"):
        read_clips([video], [late])


def test_seed_noise_is_the_same_every_time() -> None:
    picture = np.full((30, 40, 3), 100, np.uint8)
    noisy = with_seed_noise(picture, "visit", 3)
    np.testing.assert_array_equal(noisy, with_seed_noise(picture, "visit", 3))
    assert not np.array_equal(noisy, with_seed_noise(picture, "visit", 4))
    assert (noisy.min(), noisy.max()) == (0, 255)
    assert not with_seed_noise(np.zeros_like(picture), "visit", 3).any()
    grey = np.repeat(noisy[..., :1], 3, axis=2)  # chroma is halved, so only grey pictures stay as they are
    assert 0 < np.abs(through_jpeg(grey).astype(int) - grey).mean() < 0.3  # at a quality of 98 it is .6
