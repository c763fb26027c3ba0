"""Requests that no operation can make sense of, and troubles of the server's own: problems that tell nothing else."""

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from fixtures_api import Api, add_person, problem_of
from fixtures_store import access_event, claimed_camera
from sqlalchemy import text

from app.api.problem_types import PROBLEM_TYPES
from app.store import events

PERSONS = "/v1/buildings/main/persons"
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", (422, "invalid-request")),
        (b"{", (400, "malformed-json")),
        (b'{"name": "a" "b"}', (400, "malformed-json")),
        (b'{"name": "\xff"}', (400, "malformed-request")),
        (b"[]", (422, "invalid-request")),
        (b'"Anna"', (422, "invalid-request")),
        (b"null", (422, "invalid-request")),
        (b'{"name": "\\ud800"}', (422, "invalid-request")),
        (b"[" * 100_000, (400, "malformed-request")),
        (b'{"name": ' + b"9" * 5000 + b"}", (400, "malformed-request")),
    ],
)
def test_a_body_that_is_no_object(lasting_operator: httpx2.Client, content: bytes, expected: tuple[int, str]) -> None:
    answer = lasting_operator.post(PERSONS, content=content, headers=JSON)
    assert problem_of(answer) == expected


def test_a_body_of_another_form(lasting_operator: httpx2.Client) -> None:
    body = b'{"name": "Anna"}'
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "application/xml"):
        answer = lasting_operator.post(PERSONS, content=body, headers={"Content-Type": media_type})
        assert problem_of(answer) == (415, "unsupported-media-type"), media_type
    merged = lasting_operator.patch(
        f"{PERSONS}/{add_person(lasting_operator)}",
        content=body,
        headers={"Content-Type": "application/merge-patch+json"},
    )
    assert merged.json()["name"] == "Anna"


@pytest.mark.parametrize(
    "request_body",
    [
        {"json": {"photo": "here"}},
        {"data": {"photo": "here"}},
        {"files": {"picture": ("me.jpg", b"here")}},
        {"files": {"photo": (None, b"here")}},
        {},
    ],
)
def test_an_upload_of_another_form(lasting_operator: httpx2.Client, request_body: dict[str, object]) -> None:
    answer = lasting_operator.post(f"{PERSONS}/{add_person(lasting_operator)}/photos", **request_body)  # type: ignore[arg-type]
    assert problem_of(answer) in {(422, "invalid-request"), (415, "unsupported-media-type")}


def test_a_broken_form(lasting_operator: httpx2.Client) -> None:
    path = f"{PERSONS}/{add_person(lasting_operator)}/photos"
    for media_type in ("multipart/form-data", "multipart/form-data; boundary=x"):
        answer = lasting_operator.post(path, content=b"--y\r\nnot a form", headers={"Content-Type": media_type})
        assert problem_of(answer) in {(400, "malformed-request"), (422, "invalid-request")}


def test_paths_and_methods_that_do_not_exist(lasting_operator: httpx2.Client) -> None:
    assert problem_of(lasting_operator.get("/v2/buildings")) == (404, "not-found")
    answer = lasting_operator.put("/v1/buildings", json={})
    assert problem_of(answer) == (405, "method-not-allowed")
    assert answer.headers["allow"] == "GET, POST"
    assert lasting_operator.put(f"{PERSONS}/per_1").headers["allow"] == "DELETE, GET, PATCH"
    for identity in ("%00", "a%20b", "..%2f..%2fetc", "%c3%a9", "x" * 201, "'; DROP TABLE persons; --"):
        for path in (
            PERSONS,
            "/v1/buildings",
            "/v1/buildings/main/cameras",
            "/v1/buildings/main/events",
            "/v1/api-keys",
        ):
            assert problem_of(lasting_operator.get(f"{path}/{identity}"))[0] in (404, 422), identity


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize(("media_type", "size"), [("application/json", 1_100_000), ("multipart/form-data", 10_200_000)])
def test_a_body_past_its_limit_is_cut_off(lasting_api: Api, announced: bool, media_type: str, size: int) -> None:
    path = PERSONS if media_type == "application/json" else f"{PERSONS}/{add_person(lasting_api.client())}/photos"
    head = b'--x\r\nContent-Disposition: form-data; name="photo"; filename="x"\r\n\r\n'
    whole = (b'{"name": "' if media_type == "application/json" else head) + bytes(size)

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(whole), 65_536):
            yield whole[start : start + 65_536]

    headers = {"Content-Type": f"{media_type}; boundary=x"}
    answer = lasting_api.client().post(path, content=whole if announced else pieces(), headers=headers)
    assert problem_of(answer) == (413, "upload-too-large")


def test_a_body_without_end_costs_no_memory(lasting_api: Api) -> None:
    """The server answers in the middle of a body that goes on and on, whatever the client sends after that."""
    address = urlsplit(lasting_api.address)
    head = f"POST {PERSONS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {lasting_api.key()}\r\n"
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as connection:
        connection.sendall((head + "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n").encode())
        for _ in range(20):
            connection.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert response.status == 413


@pytest.mark.parametrize("code", PROBLEM_TYPES)
def test_every_type_of_problem_has_a_page(lasting_operator: httpx2.Client, code: str) -> None:
    page = lasting_operator.get(f"/problems/{code}").json()
    assert page["type"] == f"/problems/{code}" and page["status"] == PROBLEM_TYPES[code].status
    assert page["title"].endswith(".") and page["advice"].endswith(".")


def test_an_unknown_type_has_none(lasting_operator: httpx2.Client) -> None:
    assert problem_of(lasting_operator.get("/problems/unheard-of")) == (404, "not-found")


def test_a_store_that_is_away_is_a_problem_that_passes(api: Api, operator: httpx2.Client) -> None:
    add_person(operator)
    file = api.services.store.engine.url.database
    assert file is not None
    api.services.store.engine.dispose()
    kept = Path(file).rename(f"{file}.away")
    Path(file).mkdir()
    answer = operator.get(PERSONS)
    assert problem_of(answer) == (503, "store-unavailable") and answer.headers["retry-after"]
    assert file not in answer.text
    Path(file).rmdir()
    kept.rename(file)
    assert len(operator.get(PERSONS).json()["items"]) == 1


def test_a_defect_of_the_server_tells_only_its_id(
    api: Api, operator: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    camera = claimed_camera(api.services.store)
    with api.services.store.session() as session:
        events.add(session, access_event(camera, 1))
        session.execute(text("UPDATE events SET detail = '{}'"))  # as no version of ours ever wrote it
    answer = operator.get("/v1/buildings/main/events", headers={"X-Request-Id": "from-the-proxy"})
    assert problem_of(answer) == (500, "internal-error")
    assert answer.json()["request_id"] == "from-the-proxy"
    assert "KeyError" not in answer.text and "KeyError" in caplog.text and "from-the-proxy" in caplog.text
    assert problem_of(operator.get("/nowhere", headers={"X-Request-Id": "x" * 65}))[0] == 404
