"""How the gate's figures are counted, on a clip with known truth."""

import argparse
import json
import zipfile
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from app.cli import bench_gate
from app.cli.visit_clips import VisitClip, visit_clips, with_seed_noise
from app.errors import SetupError

FPS, STILL, WALK, AFTER = 10, 40, 20, 30
FRAMES = STILL + WALK + AFTER


def write_clip(folder: Path) -> None:
    """A room in which a coloured block appears, moves and leaves; then a lamp stays on."""
    random = np.random.default_rng(5)
    wall = cv2.resize(random.integers(60, 190, (12, 16, 3), dtype=np.uint8), (320, 240))
    with (
        av.open(str(folder / "visit.mp4"), "w") as container,
        zipfile.ZipFile(folder / "visit_masks.zip", "w") as masks,
    ):
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "20", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for index in range(FRAMES):
            picture, mask = wall.copy(), np.zeros((240, 320), np.uint8)
            if STILL <= index < STILL + WALK:
                x = 20 + 10 * (index - STILL)
                mask[60:200, x : x + 60] = 255
                picture[mask > 0] = (20, 30, 220)
                masks.writestr(f"{index:06d}.png", cv2.imencode(".png", mask)[1].tobytes())
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    walk_end = STILL + WALK - 1
    truth = {
        "fps": FPS,
        "frames": FRAMES,
        "still": [[0, STILL - 1], [walk_end + 1, FRAMES - 1]],
        "events": [
            {"type": "people", "start": STILL, "end": walk_end},
            {"type": "stands_still", "start": STILL + 10, "end": walk_end},
            {"type": "people_left", "start": walk_end + 1, "end": walk_end + 1, "permanent": True},
        ],
    }
    (folder / "visit.json").write_text(json.dumps(truth))


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("visits")
    write_clip(folder)
    return folder


@pytest.fixture
def clip(visits: Path) -> VisitClip:
    return visit_clips(visits)[0]


def test_truth_is_read(clip: VisitClip) -> None:
    assert np.flatnonzero(clip.moving).tolist() == list(range(STILL, STILL + WALK))
    assert np.flatnonzero(clip.still).tolist() == list(range(5, STILL))  # the rest is judged by the time to exit
    assert [(span.start, span.end) for span in clip.permanent] == [(STILL + WALK, FRAMES)]
    assert [(span.start, span.end) for span in clip.standing] == [(STILL + 10, STILL + WALK)]


def test_frames_are_left_out_evenly(clip: VisitClip) -> None:
    assert [index for index, _ in clip.pictures(4, "clean")][:5] == [0, 2, 5, 8, 10]
    assert sum(1 for _ in clip.pictures(10, "clean")) == sum(1 for _ in clip.pictures(60, "clean")) == FRAMES


def test_seed_noise_is_the_same_every_time() -> None:
    picture = np.full((30, 40, 3), 100, np.uint8)
    noisy = with_seed_noise(picture, "visit", 3)
    np.testing.assert_array_equal(noisy, with_seed_noise(picture, "visit", 3))
    assert not np.array_equal(noisy, with_seed_noise(picture, "visit", 4))
    assert (noisy.min(), noisy.max()) == (0, 255)


def test_counts_are_those_of_the_truth(clip: VisitClip) -> None:
    indices = np.arange(FRAMES)
    opened = np.zeros(FRAMES, bool)
    opened[:10] = True  # five of these are left out
    opened[STILL + 1 : STILL + WALK + 7] = True
    counts = bench_gate.count(clip, indices, opened)
    assert (counts.still, counts.exited) == (STILL - 5, STILL - 10)
    assert (counts.moving, counts.opened) == (WALK, WALK - 1)
    assert (counts.standing, counts.stood) == (10, 10)
    assert counts.seconds_to_exit == {"people_left": 0.7}


@pytest.mark.parametrize(
    ("closed", "expected"),
    [([], None), (range(30), 0.0), (range(5, 12), None), ([*range(5, 9), *range(11, 30)], 1.1), ([29], None)],
)
def test_an_exit_lasts_a_second(closed: list[int], expected: float | None) -> None:
    opened = np.ones(30, bool)
    opened[list(closed)] = False
    assert bench_gate.seconds_to_exit(np.arange(30) / FPS, opened) == expected


def test_rates_carry_intervals() -> None:
    assert bench_gate.wilson(46, 49) == pytest.approx((0.8348, 0.9790), abs=1e-4)
    pooled = bench_gate.rate([90, 50], [100, 100])
    assert pooled["rate"] == 0.7
    assert pooled["clips95"] == [0.5, 0.9]
    assert bench_gate.rate([10, 10], [10, 10])["wilson95"][0] == pytest.approx(0.8389, abs=1e-4)
    assert bench_gate.rate([0], [0]) == {"rate": None, "of": 0}


def test_the_command_measures_the_whole_folder(visits: Path) -> None:
    parser = argparse.ArgumentParser()
    bench_gate.add_arguments(parser)
    words = ["--visits", str(visits), "--videos", str(visits / "visit.mp4"), "--fps", "5"]
    result = bench_gate.run(parser.parse_args(words))
    assert result["exit_rate_still"]["rate"] >= 0.9
    assert result["open_rate_moving"]["rate"] == 1
    assert result["standing_open"]["of"] == 5
    assert result["seconds_to_exit"]["visit/people_left"] is not None
    assert 0 < result["videos"]["visit.mp4"]["exit_rate"]["rate"] < 1
    assert set(result["cpu_ms"]) == {"half still", "half open", "cut still", "cut open", "no gate"}
    assert result["artefact"].startswith("person-ssdlite-mobilenetv2@")
    json.dumps(result)


def test_a_folder_without_clips_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no clips"):
        visit_clips(tmp_path)
