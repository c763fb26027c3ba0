"""A source is tried before it is saved: what comes back, in whose name, and that no password shows anywhere."""

import base64
import contextlib
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import httpx2
import numpy as np
import pytest
from fixtures_api import Api, problem_of
from fixtures_cameras import Certificate
from fixtures_redis import wait_until

from app.camera_check import check_source
from app.store import audit
from app.types import CameraState
from workers.simulator.certificate import server_context
from workers.simulator.clip import Clip
from workers.simulator.faults import Fault
from workers.simulator.hosting import RunningCamera, running_camera

CHECKS = "/v1/buildings/main/camera-checks"
PASSWORD = "hush-hush"


@pytest.fixture
def camera(clips: dict[str, Clip]) -> Iterator[RunningCamera]:
    with running_camera(clips["large"], user="door", password=PASSWORD) as running:
        yield running


def test_a_good_camera_shows_what_it_sends(api: Api, operator: httpx2.Client, camera: RunningCamera) -> None:
    answer = operator.post(CHECKS, json={"source": camera.source})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["reachable"], told["state"], told["advice"], told["secure"]) == (True, "online", "", False)
    assert (told["codec"], told["width"], told["height"]) == ("h264", 640, 352)
    assert told["fps"] == pytest.approx(25, abs=1) and 0 < told["seconds"] < 10
    jpeg = base64.b64decode(told["still"].removeprefix("data:image/jpeg;base64,"))
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None and picture.shape == (352, 640, 3) and picture.std() > 10
    wait_until(lambda: camera.viewers == 0)
    with api.services.store.reading() as session:
        (entry,) = audit.listing(session, 10, building="main", action="camera.checked").items
    assert entry.detail == {"state": "online"} and entry.target == ""
    assert PASSWORD not in answer.text + repr(entry)


def test_a_wrong_password_is_named_and_never_repeated(operator: httpx2.Client, camera: RunningCamera) -> None:
    answer = operator.post(CHECKS, json={"source": camera.source.replace(PASSWORD, "guess-guess")})
    told = answer.json()
    assert (told["reachable"], told["state"], told["still"]) == (True, "auth_failed", None)
    assert told["advice"] and "guess-guess" not in answer.text


def test_a_camera_that_is_not_there_is_offline(operator: httpx2.Client) -> None:
    told = operator.post(CHECKS, json={"source": "rtsp://127.0.0.1:1/live"}).json()
    assert (told["reachable"], told["state"]) == (False, "offline")
    assert told["detail"] == "nothing listens at this address" and told["codec"] is None


def test_a_certificate_must_be_trusted(
    operator: httpx2.Client, clips: dict[str, Clip], certificates: tuple[Certificate, Certificate]
) -> None:
    own, other = certificates
    with running_camera(clips["h264"], tls=server_context(own.certificate, own.key)) as camera:
        good = operator.post(CHECKS, json={"source": camera.source, "ca_certificate": own.pem}).json()
        assert (good["state"], good["secure"]) == ("online", True)
        bad = operator.post(CHECKS, json={"source": camera.source, "ca_certificate": other.pem}).json()
        assert bad["state"] == "offline" and "certificate" in bad["detail"]


def test_a_source_that_makes_no_sense_is_refused(lasting_operator: httpx2.Client) -> None:
    for source in ("rtsp://door:***@camera/1", "http://camera/1", "file:///etc/passwd", ""):
        answer = lasting_operator.post(CHECKS, json={"source": source})
        assert problem_of(answer) == (422, "invalid-request"), source
        assert answer.json()["errors"][0]["pointer"] == "#/source"
    answer = lasting_operator.post(CHECKS.replace("main", "nowhere"), json={"source": "rtsp://127.0.0.1:1/live"})
    assert problem_of(answer) == (404, "not-found")


def lookers() -> dict[int, str]:
    """What anybody on this machine can read of the processes that look at cameras for us."""
    told = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            words = (folder / "cmdline").read_text()
            if f"PPid:\t{os.getpid()}\n" in (folder / "status").read_text() and "check-camera" in words:
                told[int(folder.name)] = words + (folder / "environ").read_text()
    return told


def test_two_are_looked_at_at_a_time_and_few_may_wait(api: Api, camera: RunningCamera) -> None:
    def ask() -> httpx2.Response:
        return api.client().post(CHECKS, json={"source": camera.source})

    with ThreadPoolExecutor(2) as pool:
        with api.services.checks.turn(), api.services.checks.turn():
            waiting = [pool.submit(ask) for _ in range(2)]
            wait_until(lambda: api.services.checks._present._value == 0)
            refused = ask()
            assert problem_of(refused) == (503, "too-busy") and refused.headers["retry-after"]
            assert not lookers()
        wait_until(lambda: len(lookers()) == 2)
        assert PASSWORD not in "".join(lookers().values())
        assert [answer.result().json()["state"] for answer in waiting] == ["online", "online"]


def test_a_look_that_hangs_or_crashes_ends_with_its_process(camera: RunningCamera) -> None:
    camera.inject(Fault.MUTE)
    look = check_source(camera.source, "tcp", None, limit=1.0)
    assert (look.state, look.seconds) == (CameraState.STALLED, 1.0) and not lookers()
    with ThreadPoolExecutor(1) as pool:
        crashing = pool.submit(check_source, camera.source, "tcp", None)
        wait_until(lookers)
        os.kill(next(iter(lookers())), signal.SIGSEGV)
        assert crashing.result().state is CameraState.NO_VIDEO
