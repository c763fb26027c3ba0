"""The virtual camera, seen by clients that are not ours: FFmpeg through PyAV, ffprobe, and RTSP by hand."""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from fixtures_cameras import DEADLINE, FPS, Certificate, square

from app.errors import SetupError
from workers.simulator.certificate import server_context
from workers.simulator.clip import Clip
from workers.simulator.encode import encode
from workers.simulator.faults import Fault
from workers.simulator.hosting import RunningCamera, running_camera

Clips = dict[str, Clip]
UDP = "RTP/AVP;unicast;client_port=40000-40001"
TCP = "RTP/AVP/TCP;unicast;interleaved=0-1"


class Client:
    """RTSP by hand."""

    def __init__(self, camera: RunningCamera) -> None:
        self.url = camera.url
        port = int(camera.url.rpartition(":")[2].partition("/")[0])
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
        self._file = self._socket.makefile("rb")
        self.session = ""

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def send(self, text: str) -> None:
        self._socket.sendall(text.encode())

    def ask(self, method: str, path: str = "", **headers: str) -> tuple[int, dict[str, str], str]:
        """Return status, headers and body of the answer; media before it is skipped."""
        lines = [f"{method} {self.url}{path} RTSP/1.0", "CSeq: 7", *(f"{k}: {v}" for k, v in headers.items())]
        if self.session and "Session" not in headers:
            lines.append(f"Session: {self.session}")
        self.send("\r\n".join(lines) + "\r\n\r\n")
        while (first := self._file.read(1)) == b"$":
            self._file.read(int.from_bytes(self._file.read(3)[1:], "big"))
        status = (first + self._file.readline()).decode().split()
        fields = {}
        while line := self._file.readline().decode().strip():
            name, _, value = line.partition(": ")
            fields[name] = value
        assert status[0] == "RTSP/1.0" and fields["CSeq"] == "7"
        return int(status[1]), fields, self._file.read(int(fields.get("Content-Length", 0))).decode()

    def play(self, transport: str = TCP) -> dict[str, str]:
        status, headers, _ = self.ask("SETUP", "/track0", Transport=transport)
        assert status == 200
        self.session = headers["Session"].partition(";")[0]
        status, headers, _ = self.ask("PLAY")
        assert status == 200
        return headers

    def packet(self) -> bytes:
        """Return the next RTP packet."""
        assert self._file.read(2) == b"$\0"
        return self._file.read(int.from_bytes(self._file.read(2), "big"))

    def wait_for_end(self) -> None:
        """Read until the camera closes the connection; a time-out is an error."""
        with contextlib.suppress(ConnectionResetError):
            self._file.read()


def see(camera: RunningCamera, frames: int, transport: str = "tcp") -> list[av.VideoFrame]:
    options = {"rtsp_transport": transport, "analyzeduration": "300000"}
    with av.open(camera.source, "r", options=options, timeout=(DEADLINE, DEADLINE)) as container:
        decoded = container.decode(video=0)
        return [next(decoded) for _ in range(frames)]


def wait_for(viewers: int, camera: RunningCamera) -> None:
    end = time.monotonic() + DEADLINE
    while camera.viewers != viewers:
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("codec", ["h264", "hevc", "mjpeg"])
def test_time_goes_on_over_the_end_of_the_clip(clips: Clips, codec: str, transport: str) -> None:
    with running_camera(clips[codec]) as camera:
        frames = see(camera, 40, transport)  # the clip has 25
    times = [frame.pts for frame in frames[1:]]  # FFmpeg may not know that of the first
    assert {later - earlier for earlier, later in pairwise(times)} == {3600}  # 90 kHz at 25 fps
    assert not any(frame.is_corrupt for frame in frames)


def test_pictures_arrive_as_they_were_in_their_order() -> None:
    sent = list(square(25))
    clip = Clip.from_frames(sent, FPS, options={"bf": "2", "tune": "psnr", "g": "5"})  # B-frames change the order
    assert any(later.timestamp < unit.timestamp for unit, later in pairwise(clip.units))
    with running_camera(clip) as camera:
        seen = [frame.to_ndarray(format="bgr24").astype(int) for frame in see(camera, 40)]
    nearest = [int(np.argmin([np.abs(picture - one).mean() for one in sent])) for picture in seen]
    assert all((later - earlier) % 25 == 1 for earlier, later in pairwise(nearest[5:]))


def test_a_client_that_comes_late_begins_with_a_whole_picture(clips: Clips) -> None:
    with running_camera(clips["h264"]) as camera:
        for pause in (0.3, 0.5):  # the only key frame of the clip is at its start
            time.sleep(pause)
            first = see(camera, 1)[0]
            assert not first.is_corrupt
            assert (first.to_ndarray(format="bgr24") > 190).mean() > 0.05


def test_many_clients_see_the_same_programme(clips: Clips) -> None:
    with running_camera(clips["h264"]) as camera, Client(camera) as one, Client(camera) as other:
        for client in (one, other):
            client.play()
        wait_for(2, camera)
        assert len(see(camera, 10)) == 10
        headers = [client.packet()[:12] for client in (one, other)]
        assert headers[0][8:] != headers[1][8:]  # each has a source identifier of its own
        other.ask("TEARDOWN")
        other.wait_for_end()
        wait_for(1, camera)
        assert len(one.packet()) > 12


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffprobe is not installed")
@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("codec", ["h264", "hevc", "mjpeg"])
def test_ffprobe_sees_what_was_put_in(clips: Clips, codec: str, transport: str) -> None:
    with running_camera(clips[codec], user="door", password="secret") as camera:
        command = ["ffprobe", "-v", "error", "-rtsp_transport", transport, "-show_streams", "-of", "json"]
        done = subprocess.run([*command, camera.source], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    (stream,) = json.loads(done.stdout)["streams"]
    assert (stream["codec_name"], stream["width"], stream["height"]) == (codec, 320, 176)
    assert stream["r_frame_rate"] == "25/1"


def test_the_protocol_is_spoken_as_written(clips: Clips) -> None:
    with running_camera(clips["h264"]) as camera, Client(camera) as client:
        status, headers, _ = client.ask("OPTIONS")
        assert status == 200 and {"DESCRIBE", "SETUP", "PLAY", "TEARDOWN"} <= set(headers["Public"].split(", "))
        status, headers, body = client.ask("DESCRIBE", Accept="application/sdp")
        assert status == 200 and headers["Content-Type"] == "application/sdp"
        assert "a=rtpmap:96 H264/90000\r\n" in body and "sprop-parameter-sets=" in body
        assert client.ask("DESCRIBE", "/other")[0] == 404
        assert client.ask("PLAY")[0] == 455  # before SETUP
        assert client.ask("RECORD")[0] == 501
        assert client.ask("SETUP", "/track0", Transport="RTP/AVP;multicast")[0] == 461
        assert client.ask("SETUP", "/track0", Transport="RTP/AVP;unicast")[0] == 461  # no port
        assert client.ask("SETUP", "/track0", Transport=TCP)[0] == 200
        assert client.ask("PLAY", Session="another")[0] == 454
        information = client.play()["RTP-Info"]
        sequence, timestamp = re.findall(r"seq=(\d+);rtptime=(\d+)", information)[0]
        packet = client.packet()
        assert int.from_bytes(packet[2:4], "big") == int(sequence)
        assert int.from_bytes(packet[4:8], "big") == int(timestamp)
        assert client.ask("GET_PARAMETER")[0] == 200
        assert client.ask("SETUP", "/track0", Transport=TCP)[0] == 455  # while it plays


def test_what_is_not_rtsp_is_shut_out_alone(clips: Clips) -> None:
    with running_camera(clips["h264"]) as camera:
        for junk in ("GET / HTTP/1.1\r\n\r\n", "\0\1\2\r\n\r\n", "x" * 200_000, "OPTIONS\r\n\r\n"):
            with Client(camera) as client:
                client.send(junk)
                client.wait_for_end()
        assert len(see(camera, 3)) == 3


def test_digest_is_asked_for_and_checked(clips: Clips) -> None:
    with running_camera(clips["h264"], user="door", password="secret") as camera, Client(camera) as client:
        assert client.ask("OPTIONS")[0] == 200
        for authorization in ("", "Basic ZG9vcjpzZWNyZXQ=", 'Digest username="door", response=""'):
            status, headers, body = client.ask("DESCRIBE", Authorization=authorization)
            assert status == 401 and not body
            assert headers["WWW-Authenticate"].startswith("Digest realm=")
        assert client.ask("SETUP", "/track0", Transport=TCP)[0] == 401
        assert "secret" not in camera.url and "secret" in camera.source
        assert len(see(camera, 3)) == 3


def test_a_silent_udp_client_is_given_up(clips: Clips) -> None:
    with running_camera(clips["h264"], session_seconds=0.5) as camera, Client(camera) as client:
        client.play(UDP)
        wait_for(1, camera)
        for _ in range(3):  # requests keep it alive
            time.sleep(0.3)
            assert client.ask("GET_PARAMETER")[0] == 200
        client.wait_for_end()
        wait_for(0, camera)


def test_a_silent_tcp_client_stays_as_long_as_its_connection(clips: Clips) -> None:
    with running_camera(clips["h264"], session_seconds=0.2) as camera, Client(camera) as client:
        client.play()
        start = time.monotonic()
        while time.monotonic() < start + 0.8:
            client.packet()
    with running_camera(clips["h264"], session_seconds=0.2) as camera, Client(camera) as client:
        client.wait_for_end()  # one that never plays does not


def sequence_gaps(client: Client, packets: int) -> int:
    numbers = [int.from_bytes(client.packet()[2:4], "big") for _ in range(packets)]
    return sum((later - earlier) & 0xFFFF != 1 for earlier, later in pairwise(numbers))


def test_loss_leaves_gaps_in_the_sequence(clips: Clips) -> None:
    with running_camera(clips["h264"]) as camera, Client(camera) as client:
        client.play()
        assert sequence_gaps(client, 40) == 0
        camera.inject(Fault.LOSS, percent=30)
        assert sequence_gaps(client, 60) > 3
        camera.inject(Fault.NONE)
        client.ask("GET_PARAMETER")
        assert sequence_gaps(client, 40) == 0


def test_faults_do_what_they_say(clips: Clips) -> None:
    with running_camera(clips["h264"], clips["hevc"]) as camera:
        with Client(camera) as client:
            client.play()
            camera.inject(Fault.STALL)
            assert client.ask("GET_PARAMETER")[0] == 200
            camera.inject(Fault.REFUSE)
            with pytest.raises(ConnectionRefusedError):
                Client(camera)
            assert len(client.packet()) > 12  # sessions that are there go on
            camera.inject(Fault.SWAP)
            with Client(camera) as newcomer:
                assert "H265/90000" in newcomer.ask("DESCRIBE")[2]
            camera.inject(Fault.DIE)
            with pytest.raises(ConnectionResetError):
                while client.packet():
                    pass
            with pytest.raises(ConnectionRefusedError):
                Client(camera)
        camera.inject(Fault.NONE)
        assert len(see(camera, 3)) == 3
        assert camera.fault is Fault.NONE


def test_a_swap_needs_another_clip(clips: Clips) -> None:
    with running_camera(clips["h264"]) as camera:
        with pytest.raises(ValueError, match="second clip"):
            camera.inject(Fault.SWAP)
        assert len(see(camera, 3)) == 3


def test_rtsps_hides_the_media(clips: Clips, certificates: tuple[Certificate, Certificate]) -> None:
    ours, _ = certificates
    with running_camera(clips["h264"], tls=server_context(ours.certificate, ours.key)) as camera:
        assert camera.url.startswith("rtsps://")
        options = {"rtsp_transport": "tcp", "tls_verify": "1", "ca_file": str(ours.certificate)}
        with av.open(camera.source, "r", options=options, timeout=(DEADLINE, DEADLINE)) as container:
            assert next(container.decode(video=0)).width == 320


def test_other_codecs_are_encoded_anew(tmp_path: Path) -> None:
    path = tmp_path / "old.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt = 326, 182, "yuv420p"
        for picture in square(12, 326, 182):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    clip = Clip.load(path)
    assert (clip.codec, clip.width, clip.height, len(clip.units)) == ("h264", 320, 176, 12)
    assert clip.seconds == pytest.approx(1)


def test_a_clip_may_be_played_at_another_rate(tmp_path: Path) -> None:
    encode(square(20), tmp_path / "clip.mp4", FPS, options={"bf": "2", "tune": "psnr"})
    own, slow = Clip.load(tmp_path / "clip.mp4"), Clip.load(tmp_path / "clip.mp4", fps=5)
    assert own.seconds == pytest.approx(0.8) and slow.seconds == pytest.approx(4)
    order = [unit.timestamp for unit in own.units], [unit.timestamp for unit in slow.units]
    assert np.array_equal(np.argsort(order[0]), np.argsort(order[1]))


def test_what_cannot_be_played_is_refused_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("this is no video")
    for name in ("text.mp4", "missing.mp4"):
        with pytest.raises(SetupError, match=name):
            Clip.load(tmp_path / name)
    with pytest.raises(ValueError, match="no frames"):
        Clip.from_frames([], FPS)
    with pytest.raises(SetupError, match="steps of 8"):
        Clip.from_frames(square(3, 324, 180), FPS, "mjpeg")


def start_command(*words: str | Path, environment: dict[str, str] | None = None) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "app", "camera", *map(str, words), "--port", "0"]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=None
    )


def test_the_command_plays_and_ends_with_a_signal(tmp_path: Path) -> None:
    encode(square(25), tmp_path / "a.mp4", FPS)
    encode(square(25), tmp_path / "b.mp4", FPS, "hevc")
    (tmp_path / "password").write_text("hunter2\n")
    words = ["--user", "door", "--password-file", tmp_path / "password", "--fault", "swap@0.1", "--fault", "none@0.2"]
    tls = ["--tls", "--certificate", tmp_path / "c.pem", "--key", tmp_path / "c.key"]
    with start_command(tmp_path / "a.mp4", tmp_path / "b.mp4", *words, *tls) as process:
        assert process.stdout is not None and process.stderr is not None
        url = process.stdout.readline().strip()
        assert re.fullmatch(r"rtsps://127\.0\.0\.1:\d+/camera", url)
        assert str(tmp_path / "c.pem") in process.stderr.readline()
        assert "swap" in process.stderr.readline()
        options = {"rtsp_transport": "tcp", "tls_verify": "1", "ca_file": str(tmp_path / "c.pem")}
        source = url.replace("://", "://door:hunter2@")
        with av.open(source, "r", options=options, timeout=(DEADLINE, DEADLINE)) as container:
            assert container.streams.video[0].codec_context.name == "hevc"
            next(container.decode(video=0))
        assert (tmp_path / "c.key").stat().st_mode & 0o077 == 0
        process.terminate()
        output, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0 and output == ""
    assert "hunter2" not in errors and "Traceback" not in errors


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["missing.mp4"], "missing.mp4"),
        (["missing.mp4", "--fault", "fire"], "one of none, stall"),
        (["missing.mp4", "--fault", "loss=300"], "0..100"),
        (["missing.mp4", "--fps", "0"], "0..1000"),
    ],
)
def test_the_command_says_what_is_wrong(words: list[str], reason: str) -> None:
    with start_command(*words) as process:
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 2 and output == ""
    assert reason in errors and "Traceback" not in errors


def test_the_command_wants_a_password_for_a_user_and_a_clip_for_a_swap(tmp_path: Path) -> None:
    encode(square(5), tmp_path / "a.mp4", FPS)
    for words, reason in ((["--user", "door"], "CARDEA_CAMERA_PASSWORD"), (["--fault", "swap"], "second clip")):
        with start_command(tmp_path / "a.mp4", *words) as process:
            _, errors = process.communicate(timeout=60)
        assert process.returncode == 2 and reason in errors
