"""Upgrades with data: what an installation of the first schema holds is all there afterwards, and sealed."""

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fixtures_store import PostgresServer, store_at, unit_vector
from sqlalchemy import insert, text

from app.store import audit, cameras, events, galleries, migration, people, removal, templates
from app.store.engine import Store
from app.store.tables import AuditRow
from app.types import AccessEvent

MOMENT = datetime(2026, 3, 1, 12, tzinfo=UTC)

# One row of each kind as version 0001 wrote it.
ROWS = {
    "persons": {
        "id": "per_1",
        "building_id": "main",
        "name": "Ada",
        "external_id": "flat-1",
        "groups": '["residents"]',
        "valid_from": None,
        "valid_until": None,
        "revision": 3,
        "created_at": MOMENT,
        "updated_at": MOMENT,
    },
    "photos": {
        "id": "pho_1",
        "person_id": "per_1",
        "media_type": "image/jpeg",
        "width": 640,
        "height": 480,
        "quality": 0.5,
        "image": b"a photo of Ada",
        "created_at": MOMENT,
    },
    "templates": {
        "building_id": "main",
        "person_id": "per_1",
        "photo_id": "pho_1",
        "embedder": "net",
        "vector": unit_vector(1).tobytes(),
    },
    "gallery_changes": {"building_id": "main", "sequence": 1, "person_id": "per_1"},
    "cameras": {
        "id": "cam_1",
        "building_id": "main",
        "name": "Front door",
        "source": "rtsp://user:hush@camera/1",
        "door": "front",
        "groups": "[]",
        "fps": 5.0,
        "transport": "tcp",
        "ca_certificate": None,
        "loop": False,
        "enabled": True,
        "revision": 1,
        "owner": "worker-1",
        "owner_epoch": 7,
        "state": "online",
        "state_detail": "",
        "state_at": MOMENT,
        "created_at": MOMENT,
        "updated_at": MOMENT,
    },
    "events": {
        "id": "cam_1.7.1",
        "kind": "access",
        "building_id": "main",
        "camera_id": "cam_1",
        "owner_epoch": 7,
        "sequence": 1,
        "occurred_at": MOMENT,
        "decision": "granted",
        "person_id": "per_1",
        "person_name": "Ada",
        "detail": json.dumps(
            {
                "door": "front",
                "visit": "v1",
                "reasons": ["matched"],
                "similarity": 0.75,
                "threshold": 0.5,
                "margin": 0.25,
                "quality": 0.5,
                "box": [0.25, 0.25, 0.5, 0.5],
                "nets": {"embedder": "net@0"},
                "captured_at": MOMENT.isoformat(),
                "expires_at": MOMENT.isoformat(),
                "latency_ms": {"embed": 1.0},
            }
        ),
    },
    "snapshots": {"event_id": "cam_1.7.1", "image": b"the whole picture"},
    "outbox": {"event_id": "cam_1.7.1"},
    "api_keys": {
        "id": "key_1",
        "name": "first key",
        "prefix": "cardea_abcde",
        "digest": "0" * 64,
        "scope": "operator",
        "building_id": None,
        "created_at": MOMENT,
        "expires_at": None,
        "revoked_at": None,
    },
}


@pytest.fixture(params=["sqlite", "postgresql"])
def first_release(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A database of the first schema, with one row of each kind."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'old.db'}"
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        server.execute("CREATE DATABASE first_release")
        url = server.url("first_release")
    with contextlib.closing(store_at(url)) as store:
        migration.upgrade(store.engine, store.keyring, "0001")
        with store.engine.begin() as connection:
            for table, row in ROWS.items():
                names = ", ".join(f'"{name}"' for name in row)
                values = ", ".join(f":{name}" for name in row)
                plain = {name: _sqlite(value) if store.sqlite else value for name, value in row.items()}
                connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), plain)
            connection.execute(text("UPDATE buildings SET gallery_sequence = 1"))
        yield store
    if request.param == "postgresql":
        server.execute("DROP DATABASE first_release WITH (FORCE)")


def _sqlite(value: object) -> object:
    """SQLite's driver would warn about a datetime: its text is what the first version wrote."""
    return value.strftime("%Y-%m-%d %H:%M:%S.%f") if isinstance(value, datetime) else value


def test_an_upgrade_from_the_first_release_keeps_everything(first_release: Store) -> None:
    first_release.migrate()
    with first_release.reading() as session:
        person = people.get(session, "main", "per_1")
        assert (person.fields.name, person.fields.groups, person.photos) == ("Ada", {"residents"}, 1)
        assert people.photo_image(session, "main", "per_1", "pho_1") == b"a photo of Ada"
        assert (galleries.changes_since(session, "main", 0, "net").vectors == unit_vector(1)).all()
        assert templates.live(session) == "net"
        camera = cameras.get(session, "main", "cam_1")
        assert (camera.fields.source, camera.owner_epoch) == ("rtsp://user:hush@camera/1", 7)
        record = events.get(session, "main", "cam_1.7.1")
        assert isinstance(record.event, AccessEvent)
        assert (record.event.person_name, record.event.similarity) == ("Ada", 0.75)
        assert events.snapshot(session, "main", "cam_1.7.1") == b"the whole picture"


def test_a_photo_learns_from_which_event_it_came(first_release: Store) -> None:
    migration.upgrade(first_release.engine, first_release.keyring, "0005")
    actor = dict.fromkeys(("actor_kind", "actor_id", "actor_name", "address"), "")
    trail = actor | {"at": MOMENT, "building_id": "main", "action": "photo.added", "target": "per_1"}
    with first_release.engine.begin() as connection:
        for detail in ({"photo": "pho_1", "origin": "event", "event": "cam_1.7.1"}, {"photo": "pho_2"}):
            connection.execute(insert(AuditRow).values(trail | {"detail": detail}))
        connection.execute(text("UPDATE events SET person_id = NULL"))
    first_release.migrate()
    with first_release.session() as session:
        removed = removal.remove_person(session, "main", "per_1", audit.SYSTEM)
        assert session.scalars(text("SELECT subject FROM stream_removals")).all() == ["per_1"]
    assert removed.snapshots == 1


def test_after_an_upgrade_nothing_lies_open(first_release: Store) -> None:
    first_release.migrate()
    with first_release.reading() as session:
        for column, table in (("image", "photos"), ("vector", "templates"), ("image", "snapshots")):
            assert bytes(session.scalars(text(f"SELECT {column} FROM {table}")).one())[0] == 1
        assert b"hush" not in bytes(session.scalars(text("SELECT sealed_source FROM cameras")).one())


def test_an_upgrade_that_breaks_leaves_the_first_release(first_release: Store) -> None:
    with pytest.raises(RuntimeError), migration.migrating(first_release.engine, first_release.keyring) as config:
        migration.command.upgrade(config, "head")
        raise RuntimeError
    with first_release.engine.connect() as connection:
        assert connection.scalar(text("SELECT source FROM cameras")) == "rtsp://user:hush@camera/1"
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "0001"
