"""Webhooks against real HTTP receivers, whose signatures the receivers' own library checks."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from fixtures_redis import wait_until
from fixtures_store import access_event, claimed_camera, enrol
from sqlalchemy import update
from standardwebhooks.webhooks import Webhook as Verifier

from app.store import deliveries, erasure, events, webhooks
from app.store.clock import now
from app.store.engine import Store
from app.store.tables import Delivery, Webhook
from app.store.webhooks import DeliveryRecord, WebhookFields, WebhookRecord
from app.types import Camera, Decision
from app.webhooks.addresses import parse_networks
from app.webhooks.sender import Poster, WebhookSender
from app.webhooks.signature import new_secret

HERE = parse_networks("127.0.0.0/8")


@dataclass
class Receiver:
    """A receiver that answers what it is told to, and keeps what it got."""

    url: str = ""
    answers: list[int] = field(default_factory=list)  # used up one by one; then 204
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    before: Callable[[], object] = lambda: None


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.before()
            receiver.paths.append(self.path)
            receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@contextlib.contextmanager
def sending(store: Store, networks: str = "127.0.0.0/8") -> Iterator[WebhookSender]:
    poster = Poster(parse_networks(networks))
    sender = WebhookSender(store, poster)
    sender.start()
    try:
        yield sender
    finally:
        sender.stop()
        poster.close()


def add(store: Store, url: str, *types: str) -> tuple[WebhookRecord, str]:
    secret = new_secret()
    with store.session() as session:
        return webhooks.create(session, "main", WebhookFields("Alarm centre", url, types), secret), secret


def happen(store: Store, camera: Camera, *numbers: int, **changes: Any) -> None:
    for number in numbers:
        with store.session() as session:
            events.add(session, access_event(camera, number, **changes))


def log(store: Store, webhook: WebhookRecord) -> list[DeliveryRecord]:
    with store.reading() as session:
        return deliveries.listing(session, "main", webhook.id, 100).items


def make_due(store: Store) -> None:
    """Let the pause of every back-off be over, and whatever is in somebody's hands come back."""
    with store.session() as session:
        session.execute(update(Webhook).values(held_until=None))
        session.execute(update(Delivery).values(next_at=now(session) - timedelta(seconds=1)))


def test_events_arrive_once_in_order_and_signed(store: Store, receiver: Receiver) -> None:
    camera, person = claimed_camera(store), enrol(store, "Ada", 1)
    webhook, secret = add(store, receiver.url)
    happen(store, camera, 1, decision=Decision.GRANTED, person=person.id)
    happen(store, camera, 2, 3)
    with sending(store):
        wait_until(lambda: len(receiver.got) == 3 and all(one.state == "delivered" for one in log(store, webhook)))
    headers, body = receiver.got[0]
    told = Verifier(secret).verify(body, headers)
    assert told["type"] == "org.cardea.access.granted.v1"
    assert told["data"]["person"] == {"id": person.id, "name": "Ada"}
    assert headers["content-type"] == "application/cloudevents+json"
    assert [headers["webhook-id"] for headers, _ in receiver.got] == [f"{camera.id}.1.{n}" for n in (1, 2, 3)]
    assert [one.attempts for one in log(store, webhook)] == [1, 1, 1]


def test_a_webhook_gets_only_the_types_it_wants(store: Store, receiver: Receiver) -> None:
    camera = claimed_camera(store)
    webhook, _ = add(store, receiver.url, "access.denied", "camera.state")
    happen(store, camera, 1)
    happen(store, camera, 2, decision=Decision.DENIED)
    assert [one.event for one in log(store, webhook)] == [f"{camera.id}.1.2"]


def test_a_failed_delivery_is_tried_again_under_the_same_id(store: Store, receiver: Receiver) -> None:
    camera = claimed_camera(store)
    webhook, secret = add(store, receiver.url)
    receiver.answers = [500, 302]
    happen(store, camera, 1)
    with sending(store):
        wait_until(lambda: log(store, webhook)[0].attempts == 1)
        first = log(store, webhook)[0]
        assert (first.state, first.status, first.error) == ("waiting", 500, "answered 500")
        make_due(store)
        wait_until(lambda: log(store, webhook)[0].attempts == 2)
        assert log(store, webhook)[0].status == 302
        make_due(store)
        wait_until(lambda: log(store, webhook)[0].state == "delivered")
    assert receiver.paths == ["/hook"] * 3  # a redirect leads nowhere
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    for headers, body in receiver.got:
        Verifier(secret).verify(body, headers)


def test_a_receiver_that_is_down_is_tried_until_the_patience_ends(store: Store) -> None:
    with receiving() as gone:
        url = gone.url
    webhook, _ = add(store, url)
    happen(store, claimed_camera(store), 1)
    with sending(store):
        for attempt in range(1, len(deliveries.BACKOFF) + 2):
            wait_until(lambda attempt=attempt: log(store, webhook)[0].attempts == attempt)  # type: ignore[misc]
            if attempt <= len(deliveries.BACKOFF):
                make_due(store)
    (last,) = log(store, webhook)
    assert (last.state, last.status, last.next_at) == ("given_up", None, None)
    assert last.error


def test_a_receiver_that_is_gone_for_good_is_asked_no_more(store: Store, receiver: Receiver) -> None:
    camera = claimed_camera(store)
    webhook, _ = add(store, receiver.url)
    receiver.answers = [410]
    happen(store, camera, 1)
    with sending(store):
        wait_until(lambda: _get(store, webhook).fields.enabled is False)
    assert "410" in _get(store, webhook).trouble
    happen(store, camera, 2)
    assert len(log(store, webhook)) == 1
    with store.session() as session:
        webhooks.update(session, "main", webhook.id, WebhookFields("Again", receiver.url), 2)
    assert _get(store, webhook).trouble == ""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_private_addresses_are_blocked_by_default(store: Store, receiver: Receiver, host: str) -> None:
    webhook, _ = add(store, receiver.url.replace("127.0.0.1", host))
    happen(store, claimed_camera(store), 1)
    with sending(store, networks=""):
        wait_until(lambda: log(store, webhook)[0].attempts == 1)
    assert "private network" in log(store, webhook)[0].error
    assert receiver.got == []


def test_a_receiver_that_drips_is_left_after_a_while() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
                while not ended.wait(0.1):
                    connection.sendall(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        poster = Poster(HERE, 0.5)
        attempt = poster.post(f"http://127.0.0.1:{server.getsockname()[1]}/", [new_secret()], "m", b"{}")
        ended.set()
        thread.join()
        poster.close()
    assert (attempt.delivered, attempt.status) == (False, None)


def test_an_address_that_breaks_a_library_counts_as_an_attempt(store: Store) -> None:
    webhook, _ = add(store, "http://a..example/")
    happen(store, claimed_camera(store), 1)
    with sending(store):
        wait_until(lambda: log(store, webhook)[0].attempts == 1)
    assert log(store, webhook)[0].error


def test_while_secrets_change_both_sign(store: Store, receiver: Receiver) -> None:
    webhook, former = add(store, receiver.url)
    newer = new_secret()
    with store.session() as session:
        webhooks.add_secret(session, "main", webhook.id, newer)
    happen(store, claimed_camera(store), 1)
    with sending(store):
        wait_until(lambda: receiver.got)
    ((headers, body),) = receiver.got
    for secret in (former, newer):
        Verifier(secret).verify(body, headers)


def test_a_slow_receiver_holds_up_nobody_else(store: Store, receiver: Receiver) -> None:
    answered = threading.Event()
    receiver.before = lambda: answered.wait(20)
    with receiving() as quick:
        camera = claimed_camera(store)
        add(store, receiver.url)
        add(store, quick.url)
        happen(store, camera, 1, 2, 3)
        with sending(store):
            wait_until(lambda: len(quick.got) == 3)
            assert receiver.got == []
            answered.set()
            wait_until(lambda: len(receiver.got) == 3)


def test_what_was_sent_but_not_noted_comes_again_under_the_same_id(store: Store, receiver: Receiver) -> None:
    camera = claimed_camera(store)
    webhook, _ = add(store, receiver.url)
    happen(store, camera, 1)
    with store.session() as session:  # a sender takes it and posts it, and dies before it can note that
        (due,) = deliveries.take_due(session, 8, timedelta(seconds=60))
        assert deliveries.take_due(session, 8, timedelta(seconds=60)) == []
    poster = Poster(HERE)
    assert poster.post(due.url, due.secrets, due.record.event.id, b"{}").delivered
    poster.close()
    make_due(store)
    with sending(store):
        wait_until(lambda: log(store, webhook)[0].state == "delivered")
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1


def test_two_processes_do_not_overtake_each_other(store: Store, receiver: Receiver) -> None:
    camera, hold = claimed_camera(store), timedelta(seconds=60)
    add(store, receiver.url)
    happen(store, camera, 1, 2)
    with store.session() as one:
        (first,) = deliveries.take_due(one, 8, hold)
    with store.session() as other:
        assert deliveries.take_due(other, 8, hold) == []  # the second event waits for the first one's answer
    with store.session() as one:
        deliveries.finish(one, first, delivered=True, status=200, error="")
    with store.session() as other:
        (second,) = deliveries.take_due(other, 8, hold)
    assert [first.record.event.sequence, second.record.event.sequence] == [1, 2]


def test_whoever_dies_with_a_delivery_in_hand_holds_it_up_for_a_while(store: Store, receiver: Receiver) -> None:
    camera = claimed_camera(store)
    add(store, receiver.url)
    happen(store, camera, 1, 2)
    with store.session() as session:
        (taken,) = deliveries.take_due(session, 8, timedelta(seconds=0.3))
    with store.session() as session:
        assert deliveries.take_due(session, 8, timedelta(seconds=60)) == []
    time.sleep(0.4)
    with store.session() as session:
        assert [due.id for due in deliveries.take_due(session, 8, timedelta(seconds=60))] == [taken.id]


def test_an_event_is_kept_while_a_webhook_is_deleted(store: Store, receiver: Receiver) -> None:
    camera = claimed_camera(store)
    webhook, _ = add(store, receiver.url)
    happen(store, camera, 1)
    with ThreadPoolExecutor(1) as pool:
        with store.session() as session:
            webhooks.delete(session, "main", webhook.id)
            stored = pool.submit(happen, store, camera, 2)
            time.sleep(0.3)  # the other one waits for the webhook, or for the only writer
        stored.result(timeout=10)
    with store.reading() as session:
        assert events.get(session, "main", f"{camera.id}.1.2").event.sequence == 2


def test_an_erased_person_is_in_no_later_delivery(store: Store, receiver: Receiver) -> None:
    camera, person = claimed_camera(store), enrol(store, "Ada", 1)
    add(store, receiver.url)
    happen(store, camera, 1, decision=Decision.GRANTED, person=person.id)
    with store.session() as session:
        session.execute(update(Delivery).values(next_at=now(session) + timedelta(hours=1)))
    erasure.erase_person(store, "main", person.id, patience=0)
    make_due(store)
    with sending(store):
        wait_until(lambda: receiver.got)
    ((_, body),) = receiver.got
    assert json.loads(body)["data"]["person"] is None
    assert b"Ada" not in body


def test_sending_an_event_again_starts_anew(store: Store, receiver: Receiver) -> None:
    camera = claimed_camera(store)
    webhook, _ = add(store, receiver.url)
    happen(store, camera, 1)
    with sending(store):
        wait_until(lambda: log(store, webhook)[0].state == "delivered")
        with store.session() as session:
            webhooks.requeue(session, "main", webhook.id, f"{camera.id}.1.1")
        wait_until(lambda: len(receiver.got) == 2)


def test_the_number_of_a_delivery_that_is_gone_means_no_other(store: Store, receiver: Receiver) -> None:
    camera, hold = claimed_camera(store), timedelta(seconds=60)
    deleted, _ = add(store, receiver.url)
    happen(store, camera, 1)
    with store.session() as session:
        (due,) = deliveries.take_due(session, 8, hold)
    with store.session() as session:
        webhooks.delete(session, "main", deleted.id)
    other, _ = add(store, receiver.url)
    happen(store, camera, 2)
    with store.session() as session:  # the attempt for the deleted one ends only now
        deliveries.finish(session, due, delivered=True, status=200, error="")
    assert [one.state for one in log(store, other)] == ["waiting"]


def test_an_event_that_is_asked_for_again_in_the_middle_of_an_attempt_holds_up_nothing(
    store: Store, receiver: Receiver
) -> None:
    camera, hold = claimed_camera(store), timedelta(seconds=60)
    webhook, _ = add(store, receiver.url)
    happen(store, camera, 1, 2)
    with store.session() as session:
        (due,) = deliveries.take_due(session, 8, hold)
    with store.session() as session:
        webhooks.requeue(session, "main", webhook.id, due.record.event.id)
    with store.session() as session:
        deliveries.finish(session, due, delivered=True, status=200, error="")
    with store.session() as session:
        assert [one.record.event.sequence for one in deliveries.take_due(session, 8, hold)] == [2]


def test_two_may_ask_for_an_event_at_once(store: Store, receiver: Receiver) -> None:
    camera = claimed_camera(store)
    webhook, _ = add(store, receiver.url)
    happen(store, camera, 1)

    def ask() -> None:
        with store.session() as session:
            webhooks.requeue(session, "main", webhook.id, f"{camera.id}.1.1")
            time.sleep(0.2)

    with ThreadPoolExecutor(2) as pool:
        for asked in [pool.submit(ask) for _ in range(2)]:
            asked.result(timeout=10)
    assert len(log(store, webhook)) == 1


def test_a_former_secret_signs_for_its_whole_day(store: Store, receiver: Receiver) -> None:
    webhook, first = add(store, receiver.url)
    made = [new_secret() for _ in range(webhooks.SIGNING)]
    with store.session() as session:
        until = webhooks.add_secret(session, "main", webhook.id, made[0])
        webhooks.add_secret(session, "main", webhook.id, made[1])  # asked for twice, because an answer was lost
        assert webhooks.valid_secrets(session, "main", webhook.id) == (made[1], made[0], first)
        for secret in made[2:]:
            webhooks.add_secret(session, "main", webhook.id, secret)
        assert webhooks.valid_secrets(session, "main", webhook.id) == tuple(reversed(made))
    with pytest.MonkeyPatch.context() as patch, store.session() as session:
        patch.setattr(webhooks, "now", lambda _: until + timedelta(hours=1))
        assert webhooks.valid_secrets(session, "main", webhook.id) == (made[-1],)


def test_an_address_that_does_not_answer_leads_to_the_next(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = socket.getaddrinfo

    def resolved(host: str, *more: Any, **named: Any) -> list[Any]:
        hosts = ("127.0.0.2", "127.0.0.1") if host == "two.example" else (host,)  # nobody listens at the first
        return [entry for one in hosts for entry in usual(one, *more, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    poster = Poster(HERE)
    attempt = poster.post(receiver.url.replace("127.0.0.1", "two.example"), [new_secret()], "m", b"{}")
    poster.close()
    assert attempt.delivered and len(receiver.got) == 1


def _get(store: Store, webhook: WebhookRecord) -> WebhookRecord:
    with store.reading() as session:
        return webhooks.get(session, "main", webhook.id)
