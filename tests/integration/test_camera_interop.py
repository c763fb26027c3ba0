"""Our reader before a camera that is not ours: GStreamer's RTSP server."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures_cameras import FPS, WatchCamera, square

from app.types import CameraState
from workers.simulator.encode import encode

PYTHON = "/usr/bin/python3"  # Debian's, for which the bindings are built
SCRIPT = Path(__file__).parents[1] / "gstreamer_camera.py"
NEEDS = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"


@pytest.fixture(scope="module", params=["h264", "hevc"])
def gstreamer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the port of a camera that plays a clip of three seconds to each client that comes."""
    if not Path(PYTHON).exists() or subprocess.run([PYTHON, "-c", NEEDS], capture_output=True).returncode:
        pytest.skip("GStreamer's RTSP server (Debian: gir1.2-gst-rtsp-server-1.0) is not installed")
    clip = tmp_path_factory.mktemp("gstreamer") / f"{request.param}.mp4"
    encode(square(75), clip, FPS, request.param)
    command = [PYTHON, str(SCRIPT), str(clip), "door", "s3cret"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate(timeout=20)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_the_reader_reads_it_with_digest(gstreamer: str, watch: WatchCamera, transport: str) -> None:
    observed = watch(f"rtsp://door:s3cret@127.0.0.1:{gstreamer}/camera", transport=transport)
    frame = observed.frame(lambda frame: frame.index >= 30)
    assert (frame.picture.width, frame.picture.height) == (320, 176)
    assert (frame.picture.image() > 190).mean() > 0.05
    assert observed.states == [CameraState.ONLINE]


def test_it_refuses_a_wrong_password(gstreamer: str, watch: WatchCamera) -> None:
    observed = watch(f"rtsp://door:wrong@127.0.0.1:{gstreamer}/camera")
    assert observed.state(CameraState.AUTH_FAILED)
