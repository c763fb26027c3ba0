"""How often a key may ask who somebody is, and where video files may lie that are added as cameras."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fixtures_api import Api, api_at, problem_of

from app.api.limits import CALLERS, LIMITS, RateLimiter

CAMERAS = "/v1/buildings/main/cameras"


def test_a_key_may_identify_so_often_in_a_minute(api: Api, operator: httpx2.Client) -> None:
    path = "/v1/buildings/main/identifications"
    left = []
    for _ in range(60):
        answer = operator.post(path, files={"photo": ("me.jpg", b"")})
        assert problem_of(answer) == (422, "empty-upload")
    for place in (path, "/v1/buildings/main/face-checks", "/v1/buildings/main/persons/per_1/verifications"):
        answer = operator.post(place, files={"photo": ("me.jpg", b"")})
        assert problem_of(answer) == (429, "too-many-requests"), place
        assert int(answer.headers["retry-after"]) in range(1, 61)
        assert answer.headers["ratelimit-policy"] == '"identify";q=60;w=60'
        left.append(answer.headers["ratelimit"])
    assert all(told.startswith('"identify";r=0;t=') for told in left)
    assert problem_of(api.client().post(path, files={"photo": ("me.jpg", b"")})) == (422, "empty-upload")
    assert operator.get("/v1/buildings").status_code == 200


def test_the_window_moves() -> None:
    clock = [0.0]
    limiter = RateLimiter(lambda: clock[0])
    for second in range(10):
        clock[0] = float(second)
        assert limiter.take("login", "192.0.2.1").remaining == 9 - second
    refused = limiter.take("login", "192.0.2.1")
    assert not refused.allowed and refused.wait == 52
    assert limiter.take("login", "192.0.2.2").allowed and limiter.take("identify", "192.0.2.1").allowed
    clock[0] = 60.5  # the first one is out of the window, the second is not
    assert limiter.take("login", "192.0.2.1").allowed and not limiter.take("login", "192.0.2.1").allowed


def test_many_callers_take_no_memory_for_ever() -> None:
    clock = [0.0]
    limiter = RateLimiter(lambda: clock[0])
    for number in range(CALLERS + 1):
        limiter.take("refused-key", str(number))
    clock[0] = LIMITS["refused-key"].seconds + 1.0
    limiter.take("refused-key", "last")
    assert len(limiter._taken) == 1


@pytest.fixture
def videos(sqlite_url: str, face_nets: Any, tmp_path: Path) -> Iterator[tuple[httpx2.Client, Path]]:
    """A client of a server that has a folder of videos."""
    folder = tmp_path / "videos"
    (folder / "hall").mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path)
    with api_at(sqlite_url, "redis://127.0.0.1:1/0", face_nets, videos=folder) as api:
        yield api.client(), folder


def test_a_video_file_is_a_camera_only_inside_the_folder_of_videos(videos: tuple[httpx2.Client, Path]) -> None:
    client, folder = videos
    camera = client.post(CAMERAS, json={"name": "Hall", "source": f"{folder}/hall/noon.mp4"})
    assert camera.status_code == 201, camera.text
    for source in (
        "/etc/passwd",
        "hall/noon.mp4",
        f"{folder}/../noon.mp4",
        f"{folder}/link/noon.mp4",
        f"{folder}-more/noon.mp4",
    ):
        assert problem_of(client.post(CAMERAS, json={"name": "Hall", "source": source})) == (422, "invalid-request")
        changed = client.patch(f"{CAMERAS}/{camera.json()['id']}", json={"source": source})
        assert problem_of(changed) == (422, "invalid-request"), source
    assert client.patch(f"{CAMERAS}/{camera.json()['id']}", json={"name": "Noon"}).status_code == 200


def test_without_such_a_folder_no_file_is_a_camera(lasting_operator: httpx2.Client, tmp_path: Path) -> None:
    answer = lasting_operator.post(CAMERAS, json={"name": "Hall", "source": f"{tmp_path}/noon.mp4"})
    assert problem_of(answer) == (422, "invalid-request")
    assert "CARDEA_VIDEOS" in answer.json()["detail"]
