"""Light decoding over real RTSP: what is decoded of a still scene, and that nobody is missed or seen differently."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain, pairwise, repeat
from pathlib import Path

import av
import numpy as np
import pytest
from fixtures_cameras import DEADLINE, FPS, SHORT

from app.gallery import Gallery
from app.photos import read_photo
from app.types import AccessEvent, Camera, CameraState, Event, Frame, Image
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder
from workers.attention import Attention
from workers.live import LiveView
from workers.mailbox import Mailbox
from workers.pipeline import CameraPipeline, Nets
from workers.reader import CameraReader
from workers.sampling import Counters
from workers.simulator.clip import Clip
from workers.simulator.encode import encode
from workers.simulator.faults import Fault
from workers.simulator.hosting import RunningCamera, running_camera
from workers.simulator.people import cut_out, hallway, noisy, visit
from workers.watched import Numbering, WatchedCamera

pytestmark = [pytest.mark.timeout(240), pytest.mark.slow]

PATIENT = 90.0  # seconds until a camera rests, with other work beside it
STILL, WALK = 263, 50  # frames; he appears in the middle of a group of ten
GROUPS = "keyint=10:min-keyint=10:scenecut=0"
FORMS = {
    "h264": ("h264", {"crf": "26", "x264-params": GROUPS}),
    "hevc": ("hevc", {"x265-params": f"log-level=none:bframes=0:pools=1:{GROUPS}:crf=26"}),
    "constant": (
        "h264",
        {"b": "500000", "minrate": "500000", "maxrate": "500000", "bufsize": "50000", "nal-hrd": "cbr"}
        | {"x264-params": GROUPS},
    ),
    "mjpeg": ("mjpeg", {}),
}


def walker() -> Iterator[Image]:
    """Yield pictures of a wall under sensor noise, and of somebody bright who crosses it in the end."""
    random = np.random.default_rng(0)
    wall = random.integers(60, 120, (176, 320, 3)).astype(np.float32)
    for step in range(STILL + WALK):
        picture = wall + random.standard_normal(wall.shape, dtype=np.float32) * 1.5
        if step >= STILL:
            x = (step - STILL) * 5
            picture[40:150, x : x + 50] = 220
        yield np.clip(picture, 0, 255).astype(np.uint8)


def shows_walker(image: Image) -> bool:
    return bool((image[40:150] > 190).mean() > 0.02)


def fingerprint(image: Image) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()


@dataclass
class Analysis:
    """Takes the frames of one reader, tells whether the walker is there, and keeps account."""

    reader: CameraReader
    mailbox: Mailbox
    ready: threading.Event
    attention: Attention
    states: list[CameraState]
    seen: list[tuple[Frame, bool, bytes]] = field(default_factory=list)  # and whether the walker is in it
    rested: bool = False  # packets have been passed over
    visits: int = 0  # of the walker, that began when packets had been passed over

    def step(self) -> None:
        """Analyse the newest frame, if there is one."""
        frame = self.mailbox.take()
        if frame is None:
            return
        image = frame.picture.image()
        there = shows_walker(image)
        self.attention.record(frame.clock, still=not there, people=there)
        self.visits += there and self.rested and not self.seen[-1][1]
        self.rested |= self.reader.counters.skipped > 0
        self.seen.append((frame, there, fingerprint(image)))

    @property
    def counters(self) -> Counters:
        return self.reader.counters

    def until(self, condition: Callable[[], bool]) -> None:
        """Go on until something is true."""
        end = time.monotonic() + PATIENT
        while not condition():
            assert time.monotonic() < end, (self.counters, self.states)
            self.ready.wait(0.1)
            self.ready.clear()
            self.step()


def begin(source: str, ready: threading.Event) -> Analysis:
    mailbox, attention, states = Mailbox(ready), Attention(), list[CameraState]()
    camera = Camera("cam-1", "main", "Door", source, fps=5.0)
    reader = CameraReader(camera, mailbox, lambda state, detail: states.append(state), SHORT, attention)
    reader.start()
    return Analysis(reader, mailbox, ready, attention, states)


def end(*analyses: Analysis) -> None:
    for analysis in analyses:
        analysis.reader.stop()
    for analysis in analyses:
        assert analysis.reader.join(DEADLINE)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("films")
    pictures = list(walker())
    for name, (codec, options) in FORMS.items():
        encode(pictures, folder / name, FPS, codec, options)
    return {name: folder / name for name in FORMS}


@pytest.fixture(scope="module")
def watched(films: dict[str, Path]) -> dict[str, Analysis]:
    """All forms at once, until the walker has come to each that rests, and twice to the first."""
    ready = threading.Event()
    with ExitStack() as stack:
        sources = {name: stack.enter_context(running_camera(Clip.load(film))).source for name, film in films.items()}
        analyses = {name: begin(source, ready) for name, source in sources.items()}
        stack.callback(end, *analyses.values())
        deadline = time.monotonic() + PATIENT
        while analyses["h264"].visits < 2 or not analyses["hevc"].visits:
            assert time.monotonic() < deadline, {name: one.counters for name, one in analyses.items()}
            ready.wait(0.1)
            ready.clear()
            for analysis in analyses.values():
                analysis.step()
    return analyses


RESTING = ("h264", "hevc")


@pytest.mark.parametrize("form", RESTING)
def test_a_still_scene_is_hardly_decoded_and_nobody_is_missed(watched: dict[str, Analysis], form: str) -> None:
    analysis = watched[form]
    counters = analysis.counters
    assert analysis.visits >= 1
    assert counters.skipped > 50 and counters.woken >= 1
    assert counters.missed_by_packets == counters.undecodable == counters.damaged == 0
    assert counters.opened == 1 and analysis.states == [CameraState.ONLINE]


@pytest.mark.parametrize("form", RESTING)
def test_pictures_after_waking_are_those_of_a_decoder_that_never_rested(
    watched: dict[str, Analysis], films: dict[str, Path], form: str
) -> None:
    with av.open(str(films[form])) as container:
        whole = {
            fingerprint(frame.reformat(format="bgr24", threads=1).to_ndarray()) for frame in container.decode(video=0)
        }
    seen = watched[form].seen
    assert sum(there for _, there, _ in seen) > 5
    assert all(content in whole for _, _, content in seen)
    assert all(earlier.clock < later.clock for (earlier, *_), (later, *_) in pairwise(seen))


def test_a_constant_bit_rate_is_decoded_whole(watched: dict[str, Analysis]) -> None:
    counters = watched["constant"].counters
    assert counters.skipped == counters.woken == 0
    assert watched["constant"].states == [CameraState.ONLINE]


def test_motion_jpeg_is_decoded_at_the_rate_of_analysis(watched: dict[str, Analysis]) -> None:
    analysis = watched["mjpeg"]
    seconds = analysis.seen[-1][0].clock - analysis.seen[0][0].clock
    assert 0.5 * 5 * seconds < analysis.counters.decoded < 1.2 * 5 * seconds + 2
    assert analysis.counters.skipped > 2 * analysis.counters.decoded
    assert analysis.states == [CameraState.ONLINE]


@pytest.fixture
def resting(films: dict[str, Path], clips: dict[str, Clip]) -> Iterator[tuple[RunningCamera, Analysis]]:
    """A camera of which only key frames are decoded, with another codec to go on with."""
    with running_camera(Clip.load(films["h264"]), clips["hevc"]) as camera:
        analysis = begin(camera.source, threading.Event())
        try:
            analysis.until(lambda: analysis.counters.skipped > 20)
            yield camera, analysis
        finally:
            end(analysis)


def test_a_camera_that_stalls_while_it_rests_is_reported(resting: tuple[RunningCamera, Analysis]) -> None:
    camera, analysis = resting
    camera.inject(Fault.STALL)
    analysis.until(lambda: analysis.states[-1] is CameraState.STALLED)
    camera.inject(Fault.NONE)
    analysis.until(lambda: analysis.states[-1] is CameraState.ONLINE)
    assert analysis.states == [CameraState.ONLINE, CameraState.STALLED, CameraState.ONLINE]


def test_another_codec_while_it_rests_is_opened_anew(resting: tuple[RunningCamera, Analysis]) -> None:
    camera, analysis = resting
    camera.inject(Fault.SWAP)
    analysis.until(lambda: analysis.counters.opened == 2)
    seen = len(analysis.seen)
    analysis.until(lambda: len(analysis.seen) > seen + 5)
    assert CameraState.OFFLINE not in analysis.states


def test_a_real_gate_and_real_visitors(
    portrait_files: dict[str, bytes], face_nets: tuple[FaceFinder, Embedder], tmp_path: Path
) -> None:
    """The whole analysis of a camera: stillness lets it rest, a visitor wakes it, and there is an event about him."""
    image = read_photo(next(iter(portrait_files.values()))).image
    faces = face_nets[0].find(image)
    scene = hallway(640, 480)
    person = cut_out(image, faces.boxes[int(faces.scores.argmax())])
    frames = chain(repeat(scene, 163), visit(person, scene, 5.0, 10.0))
    film = tmp_path / "door.mp4"
    # At this quality the encoder sends nothing of the sensor's noise, as those of cameras that suppress it.
    encode(
        noisy(frames, seed=1), film, 10.0, options={"crf": "28", "x264-params": "keyint=10:min-keyint=10:scenecut=0"}
    )
    published: list[Event] = []
    ready = threading.Event()
    with running_camera(Clip.load(film)) as source:
        camera = Camera("cam-1", "main", "Door", source.source, fps=5.0)
        nets = Nets.open()
        gallery = Gallery(nets.embedder.dimension)
        pipeline = CameraPipeline(camera, nets, lambda: gallery, "cardea")
        live = LiveView("redis://127.0.0.1:1/0", "none", list)
        watched = WatchedCamera(camera, pipeline, Numbering(camera), nets.ids, 5.0, published.append, ready, live)
        watched.reader.start()
        try:
            deadline = time.monotonic() + PATIENT
            while not any(isinstance(event, AccessEvent) for event in published) or not watched.reader.counters.woken:
                assert time.monotonic() < deadline, (watched.reader.counters, published)
                ready.wait(0.1)
                ready.clear()
                watched.step(lambda clock: True)
        finally:
            watched.reader.stop()
            assert watched.reader.join(DEADLINE)
    assert watched.reader.counters.skipped > 0
    assert watched.reader.counters.missed_by_packets == 0
