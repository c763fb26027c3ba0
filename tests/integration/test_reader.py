"""The reader against real RTSP over loopback: what it says and how it comes back."""

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from fixtures_cameras import DEADLINE, FPS, SHORT, Certificate, WatchCamera, square

from app.types import CameraState
from workers.patience import Patience
from workers.simulator.certificate import server_context
from workers.simulator.clip import Clip
from workers.simulator.encode import encode
from workers.simulator.faults import Fault
from workers.simulator.hosting import running_camera

ONLINE, OFFLINE, STALLED = CameraState.ONLINE, CameraState.OFFLINE, CameraState.STALLED
NO_VIDEO, AUTH_FAILED = CameraState.NO_VIDEO, CameraState.AUTH_FAILED
PASSWORD = "s3:cr/et@door"  # with everything that must be written otherwise in an address

Clips = dict[str, Clip]


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("codec", ["h264", "hevc", "mjpeg"])
def test_every_codec_comes_over_every_transport(clips: Clips, watch: WatchCamera, codec: str, transport: str) -> None:
    with running_camera(clips[codec]) as camera:
        observed = watch(camera.source, transport=transport)
        frames = [observed.frame() for _ in range(10)]
        assert observed.states[0] is ONLINE
    assert all(frame.picture.image().shape == (176, 320, 3) for frame in frames)
    assert all(earlier.clock < later.clock for earlier, later in pairwise(frames))
    assert all(earlier.index < later.index for earlier, later in pairwise(frames))
    wall = frames[-1].picture.image()
    assert (wall[40:100] > 190).mean() > 0.1  # the bright square is in the picture
    assert observed.reader.counters.undecodable == 0


def test_digest_lets_the_right_password_in(clips: Clips, watch: WatchCamera) -> None:
    with running_camera(clips["h264"], user="door", password=PASSWORD) as camera:
        observed = watch(camera.source)
        observed.frame()
        assert observed.states[0] is ONLINE


@pytest.mark.parametrize("credentials", ["door:wrong@", "other:secret@", ""])
def test_a_wrong_password_is_told_from_other_faults(clips: Clips, watch: WatchCamera, credentials: str) -> None:
    with running_camera(clips["h264"], user="door", password=PASSWORD) as camera:
        observed = watch(camera.url.replace("://", f"://{credentials}"))
        detail = observed.state(AUTH_FAILED)
    assert detail == "the camera refuses user or password"
    assert observed.reader.decoded == 0


def test_rtsps_is_verified_and_plays(
    clips: Clips, watch: WatchCamera, certificates: tuple[Certificate, Certificate]
) -> None:
    ours, _ = certificates
    tls = server_context(ours.certificate, ours.key)
    with running_camera(clips["h264"], user="door", password=PASSWORD, tls=tls) as camera:
        by_address = watch(camera.source, ca_certificate=ours.pem)
        by_name = watch(camera.source.replace("127.0.0.1", "localhost"), ca_certificate=ours.pem, transport="udp")
        by_address.frame()
        by_name.frame()


def test_an_untrusted_certificate_is_refused_with_the_reason(
    clips: Clips, watch: WatchCamera, certificates: tuple[Certificate, Certificate]
) -> None:
    ours, other = certificates
    tls = server_context(ours.certificate, ours.key)
    with running_camera(clips["h264"], user="door", password=PASSWORD, tls=tls) as camera:
        wrong = watch(camera.source, ca_certificate=other.pem)
        system = watch(camera.source)
        assert "certificate of the camera is not trusted: self-signed" in wrong.state(OFFLINE)
        assert "certificate of the camera is not trusted: self-signed" in system.state(OFFLINE)
    assert not wrong.reader.decoded and not system.reader.decoded


def test_a_certificate_for_another_name_is_refused(
    clips: Clips, watch: WatchCamera, certificates: tuple[Certificate, Certificate]
) -> None:
    ours, _ = certificates
    with running_camera(clips["h264"], host="0.0.0.0", tls=server_context(ours.certificate, ours.key)) as camera:
        observed = watch(camera.source.replace("127.0.0.1", "127.0.0.2"), ca_certificate=ours.pem)
        assert "not trusted: IP address mismatch" in observed.state(OFFLINE)
    assert not observed.reader.decoded


def test_rtsps_to_a_plain_camera_says_so(clips: Clips, watch: WatchCamera) -> None:
    with running_camera(clips["h264"]) as camera:
        observed = watch(camera.source.replace("rtsp://", "rtsps://"))
        assert observed.state(OFFLINE)


def test_a_wrong_path_has_no_video(clips: Clips, watch: WatchCamera) -> None:
    with running_camera(clips["h264"]) as camera:
        assert watch(camera.source + "2").state(NO_VIDEO) == "the camera has no stream at this path"


def test_a_name_that_does_not_resolve_is_named_as_the_reason(watch: WatchCamera) -> None:
    assert "cannot be resolved" in watch("rtsp://door:secret@no.such.host.invalid/live").state(OFFLINE)


def test_what_is_not_rtsp_has_no_video(watch: WatchCamera) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        observed = watch(f"rtsp://127.0.0.1:{server.getsockname()[1]}/live")
        observed.state(NO_VIDEO, OFFLINE)
        server.shutdown(socket.SHUT_RDWR)


def test_a_camera_that_is_not_there_yet_is_found_when_it_comes(clips: Clips, watch: WatchCamera) -> None:
    with running_camera(clips["h264"]) as camera:
        camera.inject(Fault.REFUSE)
        observed = watch(camera.source)
        assert observed.state(OFFLINE) == "nothing listens at this address"
        camera.inject(Fault.NONE)
        observed.frame_from_now()
        assert observed.states[:2] == [OFFLINE, ONLINE]


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_stall_is_seen_and_ends(clips: Clips, watch: WatchCamera, transport: str) -> None:
    with running_camera(clips["h264"]) as camera:
        observed = watch(camera.source, transport=transport)
        observed.frame()
        camera.inject(Fault.STALL)
        assert observed.state(STALLED) == "connected, but no frames come"
        camera.inject(Fault.NONE)
        observed.frame_from_now()
        assert observed.states == [ONLINE, STALLED, ONLINE]


def test_pictures_that_may_have_waited_are_not_taken_for_new(clips: Clips, watch: WatchCamera) -> None:
    """After a silence nobody knows how old the next packets are: the camera is opened anew."""
    with running_camera(clips["h264"]) as camera:
        observed = watch(camera.source, patience=replace(SHORT, read=DEADLINE, silence=0.5))
        observed.frame()
        camera.inject(Fault.STALL)
        time.sleep(1)
        camera.inject(Fault.NONE)
        assert "stood still" in observed.state(OFFLINE)
        observed.state(ONLINE)
        assert observed.reader.counters.opened == 2


def test_a_stall_before_the_first_frame_is_a_stall(clips: Clips, watch: WatchCamera) -> None:
    with running_camera(clips["h264"]) as camera:
        camera.inject(Fault.STALL)
        observed = watch(camera.source)
        observed.state(STALLED)
    assert observed.reader.decoded == 0


def test_a_mute_camera_stalls_then_counts_as_offline(clips: Clips, watch: WatchCamera) -> None:
    with running_camera(clips["h264"]) as camera:
        observed = watch(camera.source)
        observed.frame()
        camera.inject(Fault.MUTE)
        observed.state(STALLED)
        assert observed.state(OFFLINE) == "the camera does not answer"
        camera.inject(Fault.NONE)
        observed.frame_from_now()
        assert observed.states == [ONLINE, STALLED, OFFLINE, ONLINE]


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_camera_that_dies_is_offline_until_it_is_back(clips: Clips, watch: WatchCamera, transport: str) -> None:
    with running_camera(clips["h264"]) as camera:
        observed = watch(camera.source, transport=transport)
        observed.frame()
        camera.inject(Fault.DIE)
        observed.state(OFFLINE)
        camera.inject(Fault.NONE)
        observed.frame_from_now()
        assert observed.states == [ONLINE, OFFLINE, ONLINE]


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_lost_packets_cost_no_more_than_frames(clips: Clips, watch: WatchCamera, transport: str) -> None:
    with running_camera(clips["h264"]) as camera:
        observed = watch(camera.source, transport=transport)
        observed.frame()
        camera.inject(Fault.LOSS, percent=20)
        before = observed.reader.decoded
        end = time.monotonic() + 3
        observed.frame(lambda frame: frame.clock > end)
        assert observed.reader.decoded > before + 10
        camera.inject(Fault.NONE)
        observed.frame_from_now()
        assert observed.reader.counters.opened == 1
        assert observed.states == [ONLINE]


def test_a_new_size_in_mid_session_is_taken_up_without_a_word(clips: Clips, watch: WatchCamera) -> None:
    with running_camera(clips["h264"], clips["large"]) as camera:
        observed = watch(camera.source)
        assert observed.frame().picture.width == 320
        for width, height in ((640, 352), (320, 176)):
            camera.inject(Fault.SWAP)
            picture = observed.frame(lambda frame, width=width: frame.picture.width == width).picture
            assert picture.image().shape == (height, width, 3)
            assert picture.scaled(160, 90).shape == (90, 160, 3)
        assert observed.states == [ONLINE]
        assert observed.reader.counters.opened == 1


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("codecs", [("h264", "hevc"), ("hevc", "mjpeg"), ("mjpeg", "h264")])
def test_a_new_codec_in_mid_session_is_opened_anew(
    clips: Clips, watch: WatchCamera, codecs: tuple[str, str], transport: str
) -> None:
    before, after = codecs
    with running_camera(clips[before], clips[after]) as camera:
        observed = watch(camera.source, transport=transport)
        start = observed.frame().clock
        observed.frame(lambda frame: frame.clock > start + 2 * SHORT.steady)  # so that the camera counts as well
        opened = observed.reader.counters.opened
        camera.inject(Fault.SWAP)
        while observed.reader.counters.opened == opened:
            observed.frame()
        observed.frame_from_now()
        assert observed.state(ONLINE)
        assert OFFLINE not in observed.states


def test_a_well_camera_that_drops_the_line_for_a_moment_is_not_reported(clips: Clips, watch: WatchCamera) -> None:
    with running_camera(clips["h264"]) as camera:
        observed = watch(camera.source)
        start = observed.frame().clock
        observed.frame(lambda frame: frame.clock > start + 2 * SHORT.steady)
        camera.inject(Fault.DIE)
        camera.inject(Fault.NONE)
        while observed.reader.counters.opened < 2:
            observed.frame()
        observed.frame_from_now()
        assert observed.states == [ONLINE]


def test_a_camera_that_drops_the_line_over_and_over_is_reported(clips: Clips, watch: WatchCamera) -> None:
    never_steady = Patience(open=2, read=0.6, steady=60, retry_first=0.2, retry_cap=0.4, hang=3)
    with running_camera(clips["h264"]) as camera:
        observed = watch(camera.source, never_steady)
        for _ in range(2):
            observed.frame_from_now()
            observed.state(ONLINE)
            camera.inject(Fault.DIE)
            camera.inject(Fault.NONE)
            end = time.monotonic() + DEADLINE
            while observed.states.count(OFFLINE) == observed.states.count(ONLINE) - 1:
                assert time.monotonic() < end
                time.sleep(0.01)
        assert observed.states[:3] == [ONLINE, OFFLINE, ONLINE]


def test_frames_come_at_the_rate_of_analysis_and_carry_the_cost_of_all(clips: Clips, watch: WatchCamera) -> None:
    with running_camera(clips["h264"]) as camera:
        observed = watch(camera.source, fps=5)
        observed.frame()
        first, second, third = (observed.frame() for _ in range(3))
    assert 3 <= second.index - first.index <= 7 and 3 <= third.index - second.index <= 7  # five are due
    assert second.decode_ms > 0


def test_the_newest_frame_wins_and_drops_are_counted(clips: Clips, watch: WatchCamera) -> None:
    with running_camera(clips["h264"]) as camera:
        observed = watch(camera.source)
        observed.frame()
        while observed.mailbox.dropped < 10:  # nobody takes
            assert observed.ready.wait(DEADLINE)
            observed.ready.clear()
        frame = observed.mailbox.take()
        assert frame is not None
        assert observed.reader.decoded - frame.index <= 2


def test_a_file_is_played_at_its_own_pace_and_ends(tmp_path: Path, watch: WatchCamera) -> None:
    path = tmp_path / "door at night.mp4"
    encode(square(25), path, FPS)
    started = time.monotonic()
    observed = watch(str(path))
    assert observed.state(OFFLINE) == "end of file"
    assert time.monotonic() - started >= 0.99  # 25 frames, the last of which stands for its time too
    assert observed.states == [ONLINE, OFFLINE]
    assert observed.reader.decoded == 25


def test_a_file_may_loop(tmp_path: Path, watch: WatchCamera) -> None:
    path = tmp_path / "clip.mp4"
    encode(square(10), path, FPS)
    observed = watch(str(path), loop=True)
    assert observed.frame(lambda frame: frame.index > 25)
    assert observed.states == [ONLINE]


def test_a_file_that_comes_late_is_found(tmp_path: Path, watch: WatchCamera) -> None:
    path = tmp_path / "clip.mp4"
    observed = watch(str(path), loop=True)
    assert observed.state(OFFLINE) == "there is no such file"
    path.write_bytes(b"no video at all " * 1000)
    observed.state(NO_VIDEO)
    encode(square(10), tmp_path / "new.mp4", FPS)
    (tmp_path / "new.mp4").replace(path)
    observed.frame()
    assert observed.states == [OFFLINE, NO_VIDEO, ONLINE]


def test_a_damaged_file_gives_the_frames_that_are_whole(tmp_path: Path, watch: WatchCamera) -> None:
    path = tmp_path / "clip.mp4"
    encode(square(50), path, FPS, "mjpeg")
    content = bytearray(path.read_bytes())
    content[20_000:24_000] = bytes(4_000)
    path.write_bytes(content)
    observed = watch(str(path), loop=True)
    observed.frame(lambda frame: frame.index > 60)
    assert observed.reader.counters.undecodable + observed.reader.counters.damaged > 0
    assert observed.states == [ONLINE]


def test_a_playlist_opens_nothing_but_files(tmp_path: Path, watch: WatchCamera) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        path = tmp_path / "list.m3u8"
        target = f"http://127.0.0.1:{server.getsockname()[1]}/x.ts"
        path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n")
        observed = watch(str(path))
        observed.state(OFFLINE, NO_VIDEO, STALLED)
        server.settimeout(0.5)
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_reader_that_hangs_is_replaced(tmp_path: Path, watch: WatchCamera) -> None:
    """Opening a pipe that nobody writes to blocks in the kernel: FFmpeg's time-outs do not end it."""
    path, other_name = tmp_path / "clip.mp4", tmp_path / "pipe"
    os.mkfifo(other_name)
    path.hardlink_to(other_name)
    observed = watch(str(path), Patience(open=0.2, read=0.2, retry_first=0.1, retry_cap=0.2, hang=0.4), loop=True)
    assert observed.state(STALLED) == "reading hangs and was begun anew"
    assert observed.reader.abandoned >= 1
    encode(square(10), tmp_path / "new.mp4", FPS)
    (tmp_path / "new.mp4").replace(path)
    observed.frame()
    hanging = [thread for thread in threading.enumerate() if thread.name == "reader-cam-1"]
    assert len(hanging) == observed.reader.abandoned + 1
    with other_name.open("wb"):  # lets those go that wait for a writer
        pass
    observed.frame_from_now()
    observed.reader.stop()
    for thread in hanging:
        thread.join(DEADLINE)
        assert not thread.is_alive()
        assert observed.states == [STALLED, ONLINE]


def test_a_stopped_reader_says_and_gives_nothing_more(clips: Clips, watch: WatchCamera) -> None:
    with running_camera(clips["h264"]) as camera:
        observed = watch(camera.source)
        observed.frame()
        observed.reader.stop()
        assert observed.reader.join(DEADLINE)
        camera.inject(Fault.DIE)
        observed.mailbox.take()
        assert not observed.ready.wait(0.2) or observed.mailbox.take() is None
        assert observed.states == [ONLINE]


def test_no_password_is_said_logged_or_shown(
    clips: Clips, watch: WatchCamera, caplog: pytest.LogCaptureFixture, certificates: tuple[Certificate, Certificate]
) -> None:
    caplog.set_level(logging.DEBUG)
    ours, other = certificates
    said = ""
    with (
        running_camera(clips["h264"], user="door", password=PASSWORD) as camera,
        running_camera(
            clips["h264"], user="door", password=PASSWORD, tls=server_context(ours.certificate, ours.key)
        ) as secure,
    ):
        for source, state in (
            (camera.source, ONLINE),
            (camera.source + "2", NO_VIDEO),
            (camera.source.replace("door", "window", 1), AUTH_FAILED),
            (camera.source.replace("127.0.0.1", "no.such.host.invalid"), OFFLINE),
            (secure.source, OFFLINE),
            (secure.source.replace("rtsps", "rtsp"), NO_VIDEO),
        ):
            observed = watch(source, ca_certificate=other.pem)
            observed.state(state)
            said += observed.details + repr(observed.reader) + repr(observed.reader._camera)
    said += caplog.text
    for secret in (PASSWORD, "s3%3Acr", "s3:cr", "et%40door", "et@door"):
        assert secret not in said


def test_ffmpeg_prints_no_address(tmp_path: Path) -> None:
    """FFmpeg writes to the file descriptor itself, so only another process can be looked at."""
    code = (
        "import sys, threading, logging\n"
        "from app.types import Camera; from workers.mailbox import Mailbox; from workers.reader import CameraReader\n"
        "logging.basicConfig(level=1)\n"
        "for source in sys.argv[1:]:\n"
        "    told = threading.Event()\n"
        "    camera = Camera('c', 'main', 'Door', source)\n"
        "    reader = CameraReader(camera, Mailbox(threading.Event()), lambda state, detail: told.set())\n"
        "    reader.start(); assert told.wait(20); reader.stop(); assert reader.join(20)\n"
    )
    sources = ["rtsp://door:hunter2@127.0.0.1:1/live", "rtsp://door:hunter2@no.such.host.invalid/live"]
    done = subprocess.run([sys.executable, "-c", code, *sources], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "offline" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
