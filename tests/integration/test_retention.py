"""Retention: what goes, what stays, who is told, and one process at a time."""

import contextlib
import json
from datetime import UTC, datetime, timedelta

import pytest
from fixtures_redis import RedisServer, wait_until
from fixtures_store import access_event, claimed_camera, enrol, silence, store_at
from sqlalchemy import delete, func, select, text

from app import retention
from app.__main__ import main
from app.errors import NotFoundError
from app.retention import RetentionJob, enforce, survey
from app.store import audit, buildings, deliveries, events, people, webhooks
from app.store import retention as rows
from app.store.alone import alone
from app.store.engine import Store
from app.store.records import BuildingFields
from app.store.tables import AuditRow, EventRow, Outbox, Portrait, Snapshot
from app.store.webhooks import WebhookFields
from app.stream_erasure import StreamEraser
from app.types import Camera
from app.webhooks.signature import new_secret

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def limits(store: Store, event_days: int | None, snapshot_days: int | None) -> None:
    with store.session() as session:
        present = buildings.get(session, "main")
        fields = BuildingFields(present.fields.name, event_days, snapshot_days)
        buildings.update(session, "main", fields, present.revision)


def watched(store: Store) -> Camera:
    camera = claimed_camera(store)
    silence(store, "watcher", 60)
    return camera


def happened(store: Store, camera: Camera, sequence: int, days_ago: float, *, sent: bool = True) -> str:
    """Store an event with both pictures that happened so many days before `NOW`."""
    event = access_event(camera, sequence, portrait=b"eyes", decided_at=NOW - timedelta(days=days_ago))
    with store.session() as session:
        events.add(session, event)
        if sent:
            session.execute(delete(Outbox).where(Outbox.event_id == event.id))
    return event.id


def left(store: Store) -> tuple[int, int, int]:
    """Numbers of events, snapshots and portraits."""
    with store.reading() as session:
        counts = [session.scalar(select(func.count()).select_from(table)) for table in (EventRow, Snapshot, Portrait)]
    return counts[0] or 0, counts[1] or 0, counts[2] or 0


def test_events_and_pictures_go_when_their_days_are_over(store: Store) -> None:
    camera = watched(store)
    for sequence, days in enumerate((1, 29, 31, 364, 366), 1):
        happened(store, camera, sequence, days)
    limits(store, 365, 30)
    expected = {"main": {"events": 1, "snapshots": 3, "portraits": 3}}
    assert survey(store, NOW).removed["main"] == expected["main"]
    assert left(store) == (5, 5, 5)
    assert enforce(store, None, NOW).removed["main"] == expected["main"]
    assert left(store) == (4, 2, 2)
    assert enforce(store, None, NOW).removed.get("main") == {}
    with store.reading() as session:
        told = audit.listing(session, 10, building="main", action="retention.enforced").items
    assert [(entry.actor.name, entry.detail) for entry in told] == [("retention", expected["main"])]


def test_nothing_goes_where_no_limit_is_set(store: Store) -> None:
    limits(store, None, None)
    happened(store, watched(store), 1, 4000)
    assert not any(enforce(store, None, NOW).removed.values())
    assert left(store) == (1, 1, 1)


def test_what_is_not_out_yet_stays(store: Store) -> None:
    camera = watched(store)
    happened(store, camera, 1, 99, sent=False)
    owed, delivered = happened(store, camera, 2, 99), happened(store, camera, 3, 99)
    limits(store, 30, None)
    with store.session() as session:
        moment = "'2026-01-01 00:00:00.000000'"
        session.execute(
            text(
                "INSERT INTO webhooks (id, building_id, name, url, types, secrets, enabled, trouble, revision, "
                f"created_at, updated_at) VALUES ('hook', 'main', 'x', 'x', '[]', '', :yes, '', 1, {moment}, {moment})"
            ),
            {"yes": True},
        )
        for event, state in ((owed, "waiting"), (delivered, "delivered")):
            session.execute(
                text(
                    "INSERT INTO deliveries (webhook_id, event_id, state, attempts, next_at, error, created_at) "
                    f"VALUES ('hook', :event, :state, 1, {moment}, '', {moment})"
                ),
                {"event": event, "state": state},
            )
    assert enforce(store, None, NOW).removed["main"] == {"events": 1}
    assert left(store)[0] == 2


def test_what_waits_for_a_webhook_that_is_switched_off_goes_in_time(store: Store) -> None:
    camera = watched(store)
    with store.session() as session:
        hook = webhooks.create(session, "main", WebhookFields("Alarm", "https://alarm.example/"), new_secret())
    happened(store, camera, 1, 99)
    limits(store, 30, None)
    assert not enforce(store, None, NOW).removed.get("main")
    with store.session() as session:
        assert deliveries.any_due(session)
        webhooks.disable(session, hook.id, "it wants no more")
        assert not deliveries.any_due(session)
    assert enforce(store, None, NOW).removed["main"] == {"events": 1}


def test_a_person_is_erased_on_the_day(store: Store) -> None:
    due = enrol(store, "Ada", 1, erase_on=NOW)
    later = enrol(store, "Ben", 2, erase_on=NOW + timedelta(seconds=1))
    assert enforce(store, None, NOW).removed["main"] == {"persons": 1}
    with store.reading() as session:
        assert people.get(session, "main", later.id) == later
        with pytest.raises(NotFoundError):
            people.get(session, "main", due.id)
        entry = audit.listing(session, 1, action="person.erased").items[0]
    assert (entry.actor, entry.target) == (retention.ACTOR, due.id)


def test_a_backlog_goes_in_batches_and_can_be_stopped(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "BATCH", 4)
    camera = watched(store)
    for sequence in range(1, 11):
        happened(store, camera, sequence, 99)
    limits(store, 30, None)
    with store.reading() as session:
        (old,) = [one for one in rows.overdue(session, NOW) if one.kind == "events"]
    assert rows.remove(store, old, lambda: True) == 4
    assert rows.remove(store, old, lambda: False) == 6
    assert left(store)[0] == 0


def test_other_traces_have_their_time(store: Store) -> None:
    with store.session() as session:
        audit.add(session, audit.SYSTEM, "a.b")
        session.flush()
        (row,) = session.scalars(select(AuditRow)).all()
        later = row.at + rows.AUDIT_KEPT
    assert enforce(store, None, later - timedelta(seconds=1)).removed[""] == {}
    assert enforce(store, None, later + timedelta(seconds=1)).removed[""] == {"audit": 1}


def test_one_process_at_a_time(store: Store) -> None:
    with contextlib.closing(store_at(store.engine.url.render_as_string(hide_password=False))) as other:
        with alone(other) as ours:
            assert ours
            assert enforce(store, None, NOW).busy
        assert not enforce(store, None, NOW).busy


def test_the_stream_keeps_no_event_for_longer_than_the_building_that_keeps_them_longest(
    sqlite_url: str, redis_server: RedisServer
) -> None:
    def added(days_ago: float) -> str:
        return f"{int((NOW - timedelta(days=days_ago)).timestamp() * 1000)}-0"

    entries = [added(400), added(366), added(364), added(1)]
    for entry in entries:
        redis_server.client.xadd("s", {"event": "{}"}, id=entry)
    with (
        contextlib.closing(store_at(sqlite_url)) as store,
        contextlib.closing(StreamEraser(redis_server.url, "s")) as stream,
    ):
        limits(store, 30, None)
        for number, (event_days, kept) in enumerate([(None, 4), (380, 3), (365, 2)]):
            with store.session() as session:
                buildings.create(session, f"annex{number}", BuildingFields("Annex", event_days, None))
            enforce(store, stream, NOW)
            assert redis_server.client.xlen("s") == kept
            with store.session() as session:
                buildings.delete(session, f"annex{number}")
        assert [entry for entry, _ in redis_server.client.xrange("s")] == entries[2:]
        enforce(store, stream, NOW)
        assert redis_server.client.xlen("s") == 1
        redis_server.kill()
        assert not enforce(store, stream, NOW).busy


def test_the_side_job_works_by_itself(
    sqlite_url: str, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "LOOK", 0.05)
    with (
        contextlib.closing(store_at(sqlite_url)) as store,
        contextlib.closing(StreamEraser(redis_server.url, "s")) as stream,
    ):
        happened(store, watched(store), 1, 1000)
        limits(store, 365, None)
        job = RetentionJob(store, stream)
        job.start()
        wait_until(lambda: left(store)[0] == 0)
        job.stop()


def test_the_command_counts_first_and_removes_then(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CARDEA_DATABASE_URL", sqlite_url)
    with contextlib.closing(store_at(sqlite_url)) as store:
        camera = watched(store)
        happened(store, camera, 1, 1000)
        limits(store, 365, 30)
        for words, events_left in ((["--dry-run"], 1), ([], 0)):
            assert main(["retention", "--json", *words]) == 0
            assert json.loads(capsys.readouterr().out)["removed"]["main"]["events"] == 1
            assert left(store)[0] == events_left
