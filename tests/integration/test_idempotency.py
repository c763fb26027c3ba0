"""Requests that are sent twice and done once: over REST, and the rows behind it on both databases."""

import hashlib
import socket
import threading
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from fixtures_api import Api, add_person, problem_of
from fixtures_redis import wait_until
from sqlalchemy import text, update

from app.store import idempotency
from app.store.clock import now
from app.store.engine import Store
from app.store.idempotency import Refused, Reply
from app.store.tables import IdempotentReply

PERSONS = "/v1/buildings/main/persons"
FINGERPRINT = "f" * 64
REPLY = Reply(201, {"content-type": "application/json", "location": "/v1/x"}, b'{"secret": "hush-hush"}')


def posted(client: httpx2.Client, key: str, path: str = PERSONS, **more: Any) -> httpx2.Response:
    body = more or {"json": {"name": "Zoë"}}
    return client.post(path, headers={"Idempotency-Key": key}, **body)


def test_a_request_sent_twice_is_done_once(operator: httpx2.Client) -> None:
    first, second = posted(operator, "one"), posted(operator, "one")
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.content == second.content
    for name in ("location", "etag", "content-type"):
        assert first.headers[name] == second.headers[name]
    assert second.headers["idempotent-replayed"] == "true" and "idempotent-replayed" not in first.headers
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    posted(operator, "two")
    assert len(operator.get(PERSONS).json()["items"]) == 2


def test_a_key_belongs_to_one_request_of_one_caller(api: Api, operator: httpx2.Client) -> None:
    posted(operator, "one")
    assert problem_of(posted(operator, "one", json={"name": "Eve"})) == (422, "idempotency-key-reused")
    assert problem_of(posted(operator, "one", f"{PERSONS}?x=1", json={"name": "Zoë"})) == (
        422,
        "idempotency-key-reused",
    )
    assert posted(api.client(), "one", json={"name": "Eve"}).status_code == 201
    assert posted(operator, "one", "/v1/buildings", json={"id": "tower", "name": "Zoë"}).status_code == 201


def test_a_new_key_s_secret_is_shown_again_to_its_maker_alone_and_stored_sealed(api: Api) -> None:
    operator, body = api.client(), {"name": "gate", "scope": "device", "building": None}
    secret = posted(operator, "one", "/v1/api-keys", json=body).json()["secret"]
    again = posted(operator, "one", "/v1/api-keys", json=body)
    assert again.json()["secret"] == secret and again.headers["cache-control"] == "no-store"
    with api.services.store.reading() as session:
        rows = str(session.execute(text("SELECT * FROM idempotent_replies")).all())
    assert secret not in rows and "gate" not in rows


def test_what_was_refused_or_only_asked_is_not_kept(operator: httpx2.Client) -> None:
    body = {"id": "tower", "name": "Tower"}
    operator.post("/v1/buildings", json=body)
    assert problem_of(posted(operator, "one", "/v1/buildings", json=body)) == (409, "conflict")
    operator.delete("/v1/buildings/tower")
    assert posted(operator, "one", "/v1/buildings", json=body).status_code == 201
    assert problem_of(posted(operator, "two", json={"name": 5})) == (422, "invalid-request")
    assert posted(operator, "two").status_code == 201


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ä"])
def test_a_malformed_key_is_refused(lasting_operator: httpx2.Client, key: str) -> None:
    headers = {b"Idempotency-Key": key.encode("latin-1")}
    answer = lasting_operator.post(PERSONS, json={"name": "Zoë"}, headers=headers)
    assert problem_of(answer) == (400, "invalid-idempotency-key")
    twice = lasting_operator.post(PERSONS, json={"name": "Zoë"}, headers=[("Idempotency-Key", "a")] * 2)
    assert problem_of(twice) == (400, "invalid-idempotency-key")


def test_an_upload_counts_by_its_content_not_by_its_boundary(
    operator: httpx2.Client, portrait_files: dict[str, bytes]
) -> None:
    path = f"{PERSONS}/{add_person(operator)}/photos"
    photo, other = list(portrait_files.values())[:2]
    first, second = (posted(operator, "one", path, files={"photo": ("me.jpg", photo)}) for _ in range(2))
    assert first.status_code == 201, first.text
    assert first.request.headers["content-type"] != second.request.headers["content-type"]
    assert second.headers["idempotent-replayed"] == "true" and second.json() == first.json()
    reused = posted(operator, "one", path, files={"photo": ("me.jpg", other)})
    assert problem_of(reused) == (422, "idempotency-key-reused")
    assert len(operator.get(path).json()["items"]) == 1


def test_the_second_of_two_at_once_is_told_to_wait(
    api: Api, operator: httpx2.Client, portrait_files: dict[str, bytes]
) -> None:
    path = f"{PERSONS}/{add_person(operator)}/photos"
    photo = {"photo": ("me.jpg", next(iter(portrait_files.values())))}
    answers: list[httpx2.Response] = []
    busy = api.services.turnstile
    client = api.bearing(operator.headers["Authorization"].removeprefix("Bearer "))
    first = threading.Thread(target=lambda: answers.append(posted(client, "one", path, files=photo)))
    with busy.turn(), busy.turn():  # so that the first one has to wait
        first.start()
        wait_until(lambda: claims(api) == 1)
        second = posted(operator, "one", path, files=photo)
    first.join()
    assert problem_of(second) == (409, "request-in-progress") and second.headers["retry-after"] == "1"
    assert answers[0].status_code == 201
    assert posted(operator, "one", path, files=photo).headers["idempotent-replayed"] == "true"


def claims(api: Api) -> int:
    with api.services.store.reading() as session:
        return int(session.execute(text("SELECT count(*) FROM idempotent_replies")).scalar_one())


def test_a_body_that_never_ends_costs_no_memory_with_a_key_either(lasting_api: Api) -> None:
    address = urlsplit(lasting_api.address)
    head = f"POST {PERSONS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {lasting_api.key()}\r\nIdempotency-Key: k\r\n"
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as connection:
        connection.sendall((head + "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n").encode())
        for _ in range(20):
            connection.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 413")


def test_a_claim_is_completed_or_released(store: Store) -> None:
    with store.session() as session:
        mark = idempotency.claim(session, "r", FINGERPRINT)
        assert isinstance(mark, str) and not isinstance(mark, Refused)
        assert idempotency.claim(session, "r", FINGERPRINT) is Refused.RUNNING
        assert idempotency.claim(session, "r", "0" * 64) is Refused.OTHER_REQUEST
        idempotency.release(session, "r", mark)
        mark = idempotency.claim(session, "r", FINGERPRINT)
        assert isinstance(mark, str)
        idempotency.complete(session, "r", mark, "/v1/x", REPLY)
    with store.session() as session:
        assert idempotency.claim(session, "r", FINGERPRINT) == REPLY
        assert idempotency.claim(session, "r", "0" * 64) is Refused.OTHER_REQUEST
        stored = session.get_one(IdempotentReply, "r").reply
        assert stored is not None and b"hush" not in stored


def aged(store: Store, seconds: float) -> None:
    """Let every claim have been made so long ago."""
    with store.session() as session:
        session.execute(update(IdempotentReply).values(created_at=now(session) - timedelta(seconds=seconds)))


def test_a_claim_whose_process_died_is_taken_over(store: Store) -> None:
    with store.session() as session:
        dead = idempotency.claim(session, "r", FINGERPRINT)
    aged(store, 61)
    with store.session() as session:
        mark = idempotency.claim(session, "r", FINGERPRINT)
        assert isinstance(mark, str) and isinstance(dead, str) and mark != dead
        idempotency.complete(session, "r", dead, "/v1/x", REPLY)  # it was not dead after all: too late
        idempotency.release(session, "r", dead)
        assert idempotency.claim(session, "r", FINGERPRINT) is Refused.RUNNING


def test_one_of_many_at_once_has_the_claim(store: Store) -> None:
    got: list[object] = []
    start = threading.Barrier(5)

    def run() -> None:
        start.wait()
        with store.session() as session:
            got.append(idempotency.claim(session, "r", FINGERPRINT))

    threads = [threading.Thread(target=run) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 5 and got.count(Refused.RUNNING) == 4


def kept(store: Store, resource: str) -> None:
    request = hashlib.sha256(resource.encode()).hexdigest()
    with store.session() as session:
        mark = idempotency.claim(session, request, FINGERPRINT)
        assert isinstance(mark, str)
        idempotency.complete(session, request, mark, resource, REPLY)


def test_the_replies_about_a_person_are_forgotten(store: Store) -> None:
    person = f"{PERSONS}/per_1"
    for resource in (person, f"{person}/photos/pho_1", f"{PERSONS}/per_11", PERSONS, f"{PERSONS}/perx1/photos/pho_2"):
        kept(store, resource)
    with store.session() as session:
        assert idempotency.forget(session, person) == 2
        assert idempotency.forget(session, person) == 0


def test_replies_are_kept_for_a_day(store: Store) -> None:
    kept(store, "/v1/x")
    aged(store, 23 * 3600)
    with store.session() as session:
        assert idempotency.purge(session, now(session) - idempotency.KEPT) == 0
    aged(store, 25 * 3600)
    with store.session() as session:
        request = hashlib.sha256(b"/v1/x").hexdigest()
        assert isinstance(idempotency.claim(session, request, "0" * 64), str)  # nobody has swept yet
    aged(store, 25 * 3600)
    with store.session() as session:
        assert idempotency.purge(session, now(session) - idempotency.KEPT) == 1


def test_other_methods_pay_no_heed(operator: httpx2.Client) -> None:
    person = add_person(operator)
    for name in ("Ann", "Eve"):
        answer = operator.patch(f"{PERSONS}/{person}", json={"name": name}, headers={"Idempotency-Key": "one"})
        assert answer.json()["name"] == name
