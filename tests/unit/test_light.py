"""Which packets are decoded, when the clock, the packets and the analysis are given."""

import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.packet import Packet
from av.video.stream import VideoStream

from app.types import Camera, Frame
from workers.attention import Attention, Judgement
from workers.light import AFTER, CALM, FARTHEST, MOST_CATCH_UP, MOST_PACKETS, REST, Experience, LightDecoding
from workers.mailbox import Mailbox
from workers.packets import TOLD
from workers.patience import Patience
from workers.sampling import Counters, Sampler
from workers.session import Session

FPS, LENGTH = 25, 25  # packets a second and in a group: a key frame each second
LOOKS = 2  # seconds between key frames that are decoded at rest: every second one, by `SPARSE`
IDR, SLICE = b"\0\0\0\1\x65", b"\0\0\0\1\x41"


@dataclass
class Picture:
    """What the decoder says of a picture."""

    key_frame: bool = True
    is_corrupt: bool = False


class Stream:
    """A live stream, and an analysis that sees each decoded packet at once."""

    def __init__(self, codec: str = "h264") -> None:
        self.attention, self.counters = Attention(lambda: self.looked_at), Counters()
        self.experience = Experience(self.attention)
        self.codec = codec
        self.clock = 1000.0
        self.moving = self.people = self.looked_at = False
        self.analysing = True
        self.cost = 0.001  # CPU seconds to decode a packet
        self.pictures = [Picture()]  # that the decoder gives for a key frame
        self.random = np.random.default_rng(0)
        self.length = LENGTH
        self.place = 0
        self.decoded: list[Packet[VideoStream]] = []
        self.due = True
        self.begin()

    def begin(self) -> None:
        """Begin a session."""
        context = av.CodecContext.create(self.codec, "r")
        self.light = LightDecoding(context, self.experience, self.counters, lambda clock: self.due)
        self.place = 0

    def send(self, growth: float = 1.0, key: bool | None = None) -> "list[Packet[VideoStream]]":
        """Send one packet and return those that are decoded for it."""
        key = self.place % self.length == 0 if key is None else key
        self.place = 1 if key else self.place + 1
        size = 20_000 if key else round(500 * growth * np.exp(self.random.normal(0, 0.05)))
        packet = Packet((IDR if key else SLICE) + bytes(size))
        packet.is_keyframe = key
        chosen = self.light.choose(packet, self.clock)
        for one in chosen:
            self.light.decoded(one, self.pictures if one.is_keyframe else [Picture(key_frame=False)], self.cost)
        self.decoded += chosen
        if chosen and self.analysing:
            self.attention.record(self.clock, still=not self.moving, people=self.people)
        self.clock += 1 / FPS
        return chosen

    def run(self, seconds: float, growth: float = 1.0) -> int:
        """Send for so long; return how many packets were decoded."""
        return sum(len(self.send(growth)) for _ in range(round(seconds * FPS)))

    def rest(self) -> "Stream":
        """Go on until only key frames are decoded, at the first packet after one that was."""
        self.run(30)
        while self.place % LENGTH:
            self.send()
        if not self.send():
            self.run(1)  # to the next key frame
        assert self.run(2 * LOOKS) == 2
        return self

    def up_to_a_look(self) -> None:
        """Go on from `rest` until the next packet is a key frame that is decoded."""
        assert self.run(LOOKS - 1 / FPS) == 0


@pytest.fixture
def stream() -> Stream:
    return Stream()


def test_a_judgement_remembers_since_when() -> None:
    attention = Attention()
    attention.record(1.0, still=True, people=False)
    attention.record(2.0, still=True, people=False)
    assert attention.judgement == Judgement(2.0, 1.0, None, False, float("-inf"))
    attention.record(3.0, still=False, people=False)
    attention.record(4.0, still=False, people=True)
    attention.record(5.0, still=False, people=False)
    assert attention.judgement == Judgement(5.0, None, 3.0, True, 4.0)
    attention.record(6.0, still=True, people=False)
    assert attention.judgement == Judgement(6.0, 6.0, None, False, 4.0)


def test_everything_is_decoded_until_stillness_is_known(stream: Stream) -> None:
    assert stream.run(CALM) == CALM * FPS
    assert stream.counters.skipped == 0


def test_only_key_frames_are_decoded_of_a_still_scene(stream: Stream) -> None:
    stream.rest()
    skipped = stream.counters.skipped
    assert stream.run(60) == 60 / LOOKS
    assert stream.counters.skipped == pytest.approx(skipped + 60 * (FPS - 1 / LOOKS), abs=LENGTH)
    assert all(packet.is_keyframe for packet in stream.decoded[-60 // LOOKS :])
    assert stream.counters.woken == stream.counters.missed_by_packets == 0


def test_packets_that_tell_after_a_key_frame_that_was_passed_over_bring_it_along(stream: Stream) -> None:
    stream.rest()
    assert stream.run(1) == 0
    woken: list[Packet[VideoStream]] = []
    while not woken:
        woken = stream.send(growth=3.0)
    assert [packet.is_keyframe for packet in woken] == [True] + [False] * (stream.place - 1)


def test_key_frames_that_are_far_apart_are_all_decoded(stream: Stream) -> None:
    stream.length = 2 * LENGTH
    stream.run(60)
    assert stream.run(20) == 10


def test_larger_packets_wake_with_all_since_the_key_frame_in_order(stream: Stream) -> None:
    stream.rest()
    sent = 8
    stream.run(sent / FPS)
    woken: list[Packet[VideoStream]] = []
    while not woken:
        sent += 1
        woken = stream.send(growth=3.0)
    assert len(woken) == sent <= 12
    assert not any(packet.is_keyframe for packet in woken)
    assert stream.counters.woken == 1
    stream.moving = stream.people = True
    assert stream.run(20, growth=3.0) == 20 * FPS  # as long as somebody is there
    stream.moving = stream.people = False
    assert stream.run(CALM) == CALM * FPS  # and for a while after
    assert stream.run(60) < 80
    assert stream.counters.missed_by_packets == 0


def test_a_false_alarm_is_over_soon(stream: Stream) -> None:
    stream.rest()
    stream.run(0.2, growth=4.0)
    assert stream.counters.woken == 1
    decoded = stream.run(10)
    assert 3 * FPS <= decoded <= 5.1 * FPS


def test_motion_in_a_key_frame_wakes_at_the_next_packet_and_costs_trust(stream: Stream) -> None:
    stream.rest()
    stream.up_to_a_look()
    stream.moving = stream.people = True  # somebody came, and no packet told
    assert len(stream.send()) == 1
    assert len(stream.send()) == 1
    stream.run(AFTER + 1)
    assert (stream.counters.woken, stream.counters.missed_by_packets) == (0, 1)
    stream.moving = stream.people = False
    assert stream.run(60) == 60 * FPS  # decoded whole from now on


@pytest.mark.parametrize(("seconds", "missed"), [(0.0, 0), (0.6, 1)])
def test_packets_that_tell_after_the_key_frame_earn_no_trust(stream: Stream, seconds: float, missed: int) -> None:
    stream.rest()
    stream.up_to_a_look()
    stream.moving = stream.people = True  # he came right before this key frame, or stood still until now
    stream.run(seconds)
    stream.run(AFTER + 1, growth=3.0)
    assert (stream.counters.woken, stream.counters.missed_by_packets) == (0, missed)
    stream.moving = stream.people = False
    stream.run(15)
    assert stream.run(20) == (20 * FPS if missed else 20 / LOOKS)
    assert not stream.experience.trust.given(stream.clock, presumed=False)


def test_trust_comes_back_when_packets_have_told_of_visits(stream: Stream) -> None:
    test_motion_in_a_key_frame_wakes_at_the_next_packet_and_costs_trust(stream)
    for _ in range(TOLD):
        stream.moving = stream.people = True
        stream.run(5, growth=3.0)
        stream.moving = stream.people = False
        assert stream.run(15) == 15 * FPS
    stream.clock += 3600.0
    stream.run(30)
    assert stream.run(20) < 40


def test_a_gate_that_opens_for_nobody_costs_no_trust(stream: Stream) -> None:
    stream.rest()
    stream.up_to_a_look()
    stream.moving = True
    stream.run(2)
    stream.moving = False
    stream.run(REST + 2)
    assert stream.run(20) <= 21
    assert stream.counters.missed_by_packets == 0


def test_a_damaged_or_late_picture_of_a_key_frame_ends_the_rest(stream: Stream) -> None:
    for pictures in ([], [Picture(is_corrupt=True)], [Picture(key_frame=False)]):
        stream.pictures = [Picture()]
        stream.rest()
        stream.pictures = list(pictures)
        stream.up_to_a_look()
        stream.send()
        assert len(stream.send()) == 1
        assert stream.run(10) == 10 * FPS


def test_key_frames_that_stay_away_end_the_rest(stream: Stream) -> None:
    stream.rest()
    late = [len(stream.send(key=False)) for _ in range(round((FARTHEST + 1) * FPS))]
    woken = next(number for number, count in enumerate(late) if count)
    assert woken == pytest.approx(FARTHEST * FPS, abs=2) and late[woken] >= woken
    assert all(count == 1 for count in late[woken + 1 :])
    assert stream.run(2) == 2 * FPS


def test_a_group_that_takes_long_to_decode_is_decoded_at_once(stream: Stream) -> None:
    stream.cost = MOST_CATCH_UP / (LENGTH - 2)
    assert stream.run(60) == 60 * FPS
    stream.cost = MOST_CATCH_UP / (LENGTH + 1)
    stream.rest()


def test_a_longer_group_is_kept_no_longer_than_it_may_take_to_decode(stream: Stream) -> None:
    stream.cost = MOST_CATCH_UP / 40
    stream.rest()
    while not (woken := stream.send(key=False)):
        assert stream.place < 60
    assert len(woken) == pytest.approx(40, abs=1)


def test_no_more_than_so_many_packets_are_kept(stream: Stream) -> None:
    stream.rest()
    before = stream.clock
    while not (woken := stream.send(key=False)):
        stream.clock = min(stream.clock, before + 1)  # a burst
    assert len(woken) == MOST_PACKETS


def test_an_analysis_that_does_not_keep_up_ends_the_rest(stream: Stream) -> None:
    stream.rest()
    stream.analysing = False
    stream.run(3)
    assert stream.run(10) == 10 * FPS


def test_everything_is_decoded_from_the_moment_that_somebody_looks_at_the_camera(stream: Stream) -> None:
    stream.rest()
    stream.run(0.4)
    stream.looked_at = True
    assert len(stream.send()) == 11
    assert stream.run(10) == 10 * FPS
    stream.looked_at = False
    assert stream.run(10) <= 35


def test_experience_outlives_a_session_that_begins_with_everything(stream: Stream) -> None:
    stream.rest()
    stream.begin()
    assert stream.run(7) == 7 * FPS
    assert stream.run(20) <= 50


def test_a_codec_of_key_frames_alone_is_decoded_when_a_picture_is_due() -> None:
    stream = Stream("mjpeg")
    assert stream.run(1) == FPS
    stream.due = False
    assert stream.run(1) == 0
    assert stream.counters.skipped == FPS


def test_the_end_of_a_stream_reaches_the_decoder(stream: Stream) -> None:
    stream.rest()
    end: Packet[VideoStream] = Packet()
    assert stream.light.choose(end, stream.clock) == [end]


def test_the_picture_with_which_a_rest_begins_is_analysed_though_the_rate_would_pass_it_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Key frames two seconds apart fall between those that five frames a second take."""
    length, clock = 2 * FPS + 2, SimpleNamespace(now=0.0)
    film = tmp_path / "still.h264"  # with start codes, as a stream comes
    random = np.random.default_rng(0)
    wall = random.integers(60, 120, (96, 128, 3)).astype(np.float32)
    with av.open(str(film), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "tune": "zerolatency"})
        stream.width, stream.height, stream.codec_context.gop_size = 128, 96, length
        for _ in range(24 * length):
            picture = (wall + random.standard_normal(wall.shape, np.float32) * 1.5).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
    attention, taken, naps = Attention(), list[Frame](), list[float]()

    class Analysis(Mailbox):
        def put(self, frame: Frame) -> None:
            taken.append(frame)
            attention.record(frame.clock, still=True, people=False)

    def tick(seconds: float) -> None:
        clock.now += 1 / FPS

    def nap(seconds: float) -> None:
        naps.append(clock.now)  # the film waits for its reader, so no time passes

    monkeypatch.setattr(
        "workers.session.time", SimpleNamespace(monotonic=lambda: clock.now, thread_time=time.thread_time, sleep=nap)
    )
    camera, counters = Camera("cam-1", "main", "Door", "rtsp://door", fps=5.0), Counters()
    sampler = Sampler(camera, Analysis(Event()), counters)
    session = Session(camera, Patience(), counters, sampler, Event(), tick, lambda: None, Experience(attention))
    with av.open(str(film)) as container:
        session.watch(container)
    looks = [(before, after) for before, after in pairwise(taken) if after.clock - before.clock > 1]
    assert len(looks) >= 3
    assert all(after.index == before.index + 1 for before, after in looks)
    assert len(naps) > counters.skipped / 2 and naps[0] >= looks[0][0].clock, "the reader naps at rest alone"
