import threading
from datetime import UTC, datetime

import av
import numpy as np
import pytest

from app.types import Camera, Frame
from workers.mailbox import Mailbox
from workers.sampling import Counters, Sampler


def analysed(arrivals: list[float], fps: float) -> list[Frame]:
    """Offer frames that arrive at these times and return those that came through."""
    mailbox = Mailbox(threading.Event())
    counters = Counters()
    sampler = Sampler(Camera("cam-1", "main", "Door", "x.mp4", fps=fps), mailbox, counters)
    picture = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="bgr24")
    frames = []
    for clock in arrivals:
        sampler.offer(picture, datetime.now(UTC), clock)
        frame = mailbox.take()
        if frame is not None:
            frames.append(frame)
    assert counters.decoded == len(arrivals)
    return frames


@pytest.mark.parametrize("jitter", [0.0, 0.015])
@pytest.mark.parametrize(("source", "fps", "expected"), [(25, 5, 5), (30, 5, 5), (12, 5, 5), (5, 5, 5), (3, 5, 3)])
def test_the_rate_is_kept_whatever_the_source_sends(source: int, fps: float, expected: float, jitter: float) -> None:
    random = np.random.default_rng(1)
    arrivals = [step / source + random.uniform(-jitter, jitter) for step in range(20 * source)]
    assert len(analysed(arrivals, fps)) / 20 == pytest.approx(expected, rel=0.06)


def test_frames_are_numbered_as_decoded() -> None:
    assert [frame.index for frame in analysed([step / 25 for step in range(16)], 5)] == [0, 5, 10, 15]


def test_a_gap_is_followed_by_no_burst() -> None:
    after = analysed([0.0, 0.2, 10.0, 10.01, 10.02, 10.03, 10.2], 5)
    assert [frame.clock for frame in after] == [0.0, 0.2, 10.0, 10.2]


def test_decoding_is_charged_to_the_next_frame() -> None:
    assert all(frame.decode_ms >= 0 for frame in analysed([0.0, 0.2, 0.4], 5))


def test_a_frame_that_is_wanted_comes_through_before_its_time() -> None:
    mailbox = Mailbox(threading.Event())
    sampler = Sampler(Camera("cam-1", "main", "Door", "x.mp4", fps=5.0), mailbox, Counters())
    picture = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="bgr24")
    sampler.offer(picture, datetime.now(UTC), 0.0)
    sampler.hurry()
    sampler.offer(picture, datetime.now(UTC), 0.04)
    sampler.offer(picture, datetime.now(UTC), 0.2)
    frame = mailbox.take()
    assert frame is not None and frame.clock == 0.04 and mailbox.dropped == 1, "the grid begins anew"
