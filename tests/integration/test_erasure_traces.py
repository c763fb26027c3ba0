"""What an erasure leaves in the files of the database and of the stream server: a search for the bytes themselves."""

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from fixtures_redis import STREAM, RedisServer, open_stream, wait_until
from fixtures_store import PostgresServer, access_event, claimed_camera, enrol, store_at, unit_vector
from sqlalchemy import delete, text

from app import retention
from app.errors import StoreUnavailableError
from app.events import EventStream
from app.store import (
    audit,
    corrections,
    erasure,
    events,
    outbox,
    people,
    stream_removals,
    tombstones,
    wiping,
)
from app.store.engine import Store
from app.store.records import CorrectionFields, InStream, NewPhoto, PersonRecord, Receipt, Remains, Verdict
from app.store.tables import EventRow
from app.stream_erasure import StreamEraser
from app.types import Camera, Decision

NAME = "Zerlina Quast-Obermoser"
EXTERNAL = "flat-4711-east"


def folders_with(mark: str, folder: Path) -> list[str]:
    """Files below a folder that hold the text, as far as they can be read."""
    found = subprocess.run(["grep", "-rlaF", "--", mark, str(folder)], capture_output=True, text=True, check=False)
    return sorted(found.stdout.split())


@pytest.fixture
def stream(redis_server: RedisServer) -> Iterator[EventStream]:
    with open_stream(redis_server.url) as opened:
        yield opened


@pytest.fixture
def eraser(redis_server: RedisServer) -> Iterator[StreamEraser]:
    with contextlib.closing(StreamEraser(redis_server.url, STREAM)) as opened:
        yield opened


def visit(store: Store, camera: Camera, sequence: int, person: PersonRecord | None) -> str:
    """Store an event of a person, and return its id."""
    identity = None if person is None else person.id
    event = access_event(camera, sequence, decision=Decision.GRANTED, person=identity, portrait=b"eyes")
    with store.session() as session:
        events.add(session, event)
    return event.id


def send(store: Store, stream: EventStream) -> None:
    with outbox.batch(store, 100) as records:
        for record in records:
            stream.add(record.event, record.has_snapshot)


def erase(store: Store, person: PersonRecord, stream: StreamEraser | None = None) -> Receipt:
    return erasure.erase_person(store, "main", person.id, stream=stream, patience=0)


def sent(server: RedisServer) -> list[dict]:
    return [json.loads(fields["event"]) for _, fields in server.client.xrange(STREAM)]


def test_the_stream_and_its_files_forget(
    store: Store, stream: EventStream, eraser: StreamEraser, redis_server: RedisServer
) -> None:
    ada, ben, camera = enrol(store, NAME, 1), enrol(store, "Ben", 2), claimed_camera(store)
    for sequence, person in enumerate((ada, ben, None, ada), 1):
        visit(store, camera, sequence, person)
    send(store, stream)
    assert folders_with(NAME, redis_server.folder)
    receipt = erase(store, ada, eraser)
    assert (receipt.stream.entries, receipt.stream.state) == (2, InStream.REMOVED)
    names = [(event["data"]["person"] or {}).get("name") for event in sent(redis_server)]
    assert names == ["Ben", None]
    wait_until(lambda: not folders_with(NAME, redis_server.folder))  # the server unlinks its old files in a thread
    assert stream_removals.clear(store, eraser).entries == 0


def test_the_stream_forgets_events_whose_rows_are_gone(
    store: Store, stream: EventStream, eraser: StreamEraser, redis_server: RedisServer
) -> None:
    ada, ben, camera = enrol(store, NAME, 1), enrol(store, f'"person":{{"id":"{NAME}', 2), claimed_camera(store)
    for sequence, person in enumerate((ada, ben, None), 1):
        visit(store, camera, sequence, person)
    send(store, stream)
    with store.session() as session:
        session.execute(delete(EventRow))  # their days are over, the stream's trimming has not come so far
    receipt = erase(store, ada, eraser)
    assert (receipt.removed.events, receipt.stream.entries, receipt.stream.state) == (0, 1, InStream.REMOVED)
    assert [(event["data"]["person"] or {}).get("id") for event in sent(redis_server)] == [ben.id, None]


def test_whoever_loses_the_lease_stops(
    store: Store, stream: EventStream, eraser: StreamEraser, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, camera, lock = enrol(store, NAME, 1), claimed_camera(store), f"{STREAM}:erasing"
    visit(store, camera, 1, ada)
    send(store, stream)
    scan = eraser._scan

    def robbed(**words: Any) -> Any:
        redis_server.client.set(lock, "somebody else")
        return scan(**words)

    monkeypatch.setattr(eraser, "_scan", robbed)
    assert erase(store, ada, eraser).stream.state == InStream.PENDING
    assert redis_server.client.get(lock) in ("somebody else", b"somebody else") and len(sent(redis_server)) == 1
    redis_server.client.delete(lock)
    monkeypatch.undo()
    assert stream_removals.clear(store, eraser).entries == 1


def test_a_stream_that_is_away_is_cleared_later(
    store: Store, stream: EventStream, eraser: StreamEraser, redis_server: RedisServer
) -> None:
    ada, camera = enrol(store, NAME, 1), claimed_camera(store)
    visit(store, camera, 1, ada)
    send(store, stream)
    redis_server.kill()
    assert erase(store, ada, eraser).stream.state == InStream.PENDING
    assert stream_removals.clear(store, None).state == InStream.PENDING
    redis_server.start()
    done = stream_removals.clear(store, eraser)
    assert (done.entries, done.state, sent(redis_server)) == (1, InStream.REMOVED, [])


def test_an_event_in_the_hands_of_a_sender_is_found_when_it_was_sent(
    store: Store, stream: EventStream, eraser: StreamEraser, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_removals, "SENDING_SECONDS", 0.1)
    ada, camera = enrol(store, NAME, 1), claimed_camera(store)
    visit(store, camera, 1, ada)
    with outbox.batch(store, 10) as records:  # the sender has read the name
        assert erase(store, ada, eraser).stream.state == InStream.PENDING
        stream.add(records[0].event, True)
    assert [event["data"]["person"]["name"] for event in sent(redis_server)] == [NAME]
    assert stream_removals.clear(store, eraser).state == InStream.REMOVED
    assert sent(redis_server) == []


def test_an_event_that_was_sent_without_the_name_stays(
    store: Store, stream: EventStream, eraser: StreamEraser, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_removals, "SENDING_SECONDS", 0.1)
    ada, camera = enrol(store, NAME, 1), claimed_camera(store)
    event = visit(store, camera, 1, ada)
    assert erase(store, ada, eraser).stream.state == InStream.PENDING
    send(store, stream)
    assert stream_removals.clear(store, eraser).entries == 0
    assert [(message["id"], message["data"]["person"]) for message in sent(redis_server)] == [(event, None)]


def test_a_server_that_refuses_to_rewrite_is_told_of(
    store: Store, stream: EventStream, eraser: StreamEraser, redis_server: RedisServer
) -> None:
    ada, camera = enrol(store, NAME, 1), claimed_camera(store)
    visit(store, camera, 1, ada)
    send(store, stream)
    redis_server.client.execute_command("ACL", "SETUSER", "default", "-bgrewriteaof")
    receipt = erase(store, ada, eraser)
    assert (receipt.stream.entries, receipt.stream.state) == (1, InStream.UNTIL_REWRITE)
    redis_server.client.execute_command("ACL", "SETUSER", "default", "+bgrewriteaof")
    assert eraser.rewrite(10)
    wait_until(lambda: not folders_with(NAME, redis_server.folder))


def test_consumers_go_on_reading_where_they_were(
    sqlite_url: str, stream: EventStream, eraser: StreamEraser, redis_server: RedisServer
) -> None:
    client = redis_server.client
    with contextlib.closing(store_at(sqlite_url)) as store:
        ada, ben, camera = enrol(store, NAME, 1), enrol(store, "Ben", 2), claimed_camera(store)
        for sequence, person in enumerate((ada, ben, ben), 1):
            visit(store, camera, sequence, person)
        send(store, stream)
        client.xgroup_create(STREAM, "doors", id="0")
        client.xgroup_create(STREAM, "late", id="0")
        taken = client.xreadgroup("doors", "one", {STREAM: ">"}, count=3)[0][1]
        client.xack(STREAM, "doors", taken[2][0])
        with ThreadPoolExecutor(1) as pool, redis.Redis.from_url(redis_server.url, protocol=2) as other:
            waiting = pool.submit(other.xreadgroup, "doors", "two", {STREAM: ">"}, 1, 10_000)
            wait_until(lambda: client.info("clients")["blocked_clients"] == 1)
            assert erase(store, ada, eraser).stream.state == InStream.REMOVED
            visit(store, camera, 4, ben)
            send(store, stream)
            assert len(waiting.result()[0][1]) == 1
        pending = client.xpending_range(STREAM, "doors", "-", "+", 10)
        assert [(one["message_id"], one["consumer"]) for one in pending][:1] == [(taken[1][0], "one")]
        assert len(pending) == 2
        assert len(client.xreadgroup("late", "one", {STREAM: ">"})[0][1]) == 3
        beside = {key.removeprefix(f"{STREAM}:") for key in client.keys(f"{STREAM}:*")}
        assert {name for name in beside if not name.startswith("sent:")} == {"marker"}


def test_a_corrected_event_loses_its_pictures_too(store: Store) -> None:
    ada, ben, camera = enrol(store, NAME, 1), enrol(store, "Ben", 2), claimed_camera(store)
    strangers, bens = visit(store, camera, 1, None), visit(store, camera, 2, ben)
    with store.session() as session:
        note = f"this was {NAME}"
        corrections.put(session, "main", strangers, CorrectionFields(Verdict.IS_PERSON, ada.id, note), "operator")
    removed = erase(store, ada).removed
    assert (removed.events, removed.snapshots, removed.portraits, removed.corrections) == (0, 1, 1, 1)
    with store.reading() as session:
        record = events.get(session, "main", strangers)
        assert record.correction is not None
        assert (record.correction.person, record.correction.note) == (None, "")
        assert (record.has_snapshot, record.has_portrait) == (False, False)
        assert events.get(session, "main", bens).has_portrait


def test_the_picture_of_a_photo_that_was_erased_before_goes_too(store: Store) -> None:
    ada, camera = enrol(store, NAME, 1), claimed_camera(store)
    strangers, others = visit(store, camera, 1, None), visit(store, camera, 2, None)
    new = NewPhoto(b"eyes", "image/jpeg", 112, 112, 0.8, origin="event", event=strangers)
    with store.session() as session:
        photo = people.add_photo(session, "main", ada.id, new, embedder="net", vector=unit_vector(2))
        detail = {"photo": photo.id, "origin": "event", "event": strangers}
        audit.add(session, audit.SYSTEM, "photo.added", building="main", target=ada.id, detail=detail)
    erasure.erase_photo(store, "main", ada.id, photo.id, patience=0)
    removed = erase(store, ada).removed
    assert (removed.snapshots, removed.portraits) == (1, 1)
    with store.reading() as session:
        assert [events.get(session, "main", event).has_portrait for event in (strangers, others)] == [False, True]


def test_postgresql_keeps_the_name_in_its_log_alone(postgres_server: PostgresServer, postgres_url: str) -> None:
    data = postgres_server.folder / "data"
    with contextlib.closing(store_at(postgres_url)) as store:
        ada = enrol(store, NAME, 1, external_id=EXTERNAL, consent_note=f"{NAME} signed")
        for number in range(40):
            enrol(store, f"{NAME} {number}", number, external_id=f"other-{number}")
        with store.session() as session:
            session.execute(text("ANALYZE"))
        postgres_server.execute_in("cardea", "CHECKPOINT")
        heap = [file for file in folders_with(EXTERNAL, data) if "pg_wal" not in file]
        assert len(heap) == 2, heap  # the table and its unique index
        assert erase(store, ada).remains == Remains.UNTIL_LOG_TURNS
        postgres_server.execute_in("cardea", "CHECKPOINT")
        assert [file for file in folders_with(EXTERNAL, data) if "pg_wal" not in file] == []
        assert [file for file in folders_with(f"{NAME} signed", data) if "pg_wal" not in file] == []


def test_a_long_transaction_keeps_dead_rows_of_postgresql_until_the_next_round(
    postgres_server: PostgresServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiping, "VACUUM_SECONDS", 0.2)
    mark = "tower-0815-west"
    with contextlib.closing(store_at(postgres_url)) as store:
        ada = enrol(store, NAME, 1, external_id=mark)
        with store.reading() as session:
            session.execute(text("SELECT count(*) FROM buildings"))
            assert erase(store, ada).remains == Remains.UNTIL_VACUUM
        retention.enforce(store, None, datetime.now(UTC))
    postgres_server.execute_in("cardea", "CHECKPOINT")
    assert [file for file in folders_with(mark, postgres_server.folder / "data") if "pg_wal" not in file] == []


def test_a_server_that_goes_away_while_tables_are_written_anew_is_told_of(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    with (
        contextlib.closing(store_at(postgres_url)) as store,
        ThreadPoolExecutor(1) as pool,
        store.session() as session,
    ):
        session.execute(text("LOCK TABLE persons"))
        wiped = pool.submit(wiping.wipe, store, ("persons",))
        time.sleep(0.2)
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'VACUUM%'"
        postgres_server.execute(ended)
        with pytest.raises(StoreUnavailableError):
            wiped.result(timeout=10)


def test_the_ledger_is_beside_the_keys_and_is_completed(store: Store, tmp_path: Path) -> None:
    ledger = tombstones.ledger_of(store.keyring)
    before = set(tombstones.read_ledger(store.keyring))
    ada, ben = enrol(store, NAME, 1), enrol(store, "Ben", 2)
    erase(store, ada)
    assert set(tombstones.read_ledger(store.keyring)) - before == {ada.id}
    assert ledger.stat().st_mode & 0o777 == 0o600 and NAME not in ledger.read_text()
    ledger.write_text(ledger.read_text()[:-20])  # a crash in the middle of a line
    erase(store, ben)
    assert set(tombstones.read_ledger(store.keyring)) - before == {ada.id, ben.id}
