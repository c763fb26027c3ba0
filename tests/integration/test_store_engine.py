"""Transactions, migrations and errors of the store, the same on both databases."""

import contextlib
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from fixtures_store import PostgresServer, store_at
from sqlalchemy import inspect, text, update
from sqlalchemy.exc import SQLAlchemyError

from app.errors import ConflictError, SetupError, StoreUnavailableError
from app.store import buildings, cameras, migration
from app.store.engine import Store
from app.store.migration import migrating
from app.store.records import BuildingFields, CameraFields
from app.store.tables import Base, Building, CameraRow


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'new' / 'cardea.db'}"
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        server.execute("CREATE DATABASE empty")
        url = server.url("empty")
    with contextlib.closing(store_at(url)) as store:
        yield store
    if request.param == "postgresql":
        server.execute("DROP DATABASE empty WITH (FORCE)")


def test_migrations_make_the_tables_of_the_code(store: Store) -> None:
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_migrating_twice_changes_nothing(store: Store) -> None:
    with store.session() as session:
        buildings.create(session, "tower", BuildingFields("Tower"))
    store.migrate()
    with store.reading() as session:
        assert [one.id for one in buildings.listing(session, 10).items] == ["main", "tower"]


def test_buildings_keep_the_strictness_that_was_set_for_all(
    empty_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def targets() -> dict[str, float]:
        with empty_store.reading() as session:
            return {one.id: one.fields.target_fpir for one in buildings.listing(session, 10).items}

    migration.upgrade(empty_store.engine, empty_store.keyring, "0004")
    monkeypatch.setenv("CARDEA_TARGET_FPIR", "0.00025")
    empty_store.migrate()
    assert targets() == {"main": 0.00025}
    with empty_store.session() as session:
        buildings.update(session, "main", BuildingFields("Main", target_fpir=0.05), 1)
        buildings.create(session, "annex", BuildingFields("Annex"))
    assert targets() == {"annex": 1e-3, "main": 0.05}
    with migrating(empty_store.engine, empty_store.keyring) as config:
        command.downgrade(config, "0004")  # an earlier version has one setting for all
    assert "subject" not in {column["name"] for column in inspect(empty_store.engine).get_columns("stream_removals")}
    assert "target_fpir" not in {column["name"] for column in inspect(empty_store.engine).get_columns("buildings")}
    monkeypatch.delenv("CARDEA_TARGET_FPIR")
    empty_store.migrate()
    assert targets() == {"annex": 1e-3, "main": 1e-3}


def test_a_migration_that_fails_leaves_nothing(empty_store: Store) -> None:
    with pytest.raises(RuntimeError), migrating(empty_store.engine, empty_store.keyring) as config:
        command.upgrade(config, "head")
        raise RuntimeError
    assert inspect(empty_store.engine).get_table_names() == []


def test_processes_that_start_together_migrate_once(empty_store: Store) -> None:
    stores = [store_at(empty_store.engine.url.render_as_string(hide_password=False)) for _ in range(4)]
    threads = [threading.Thread(target=one.migrate) for one in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in stores:
        one.close()
    with empty_store.reading() as session:
        assert session.scalar(text("SELECT count(*) FROM alembic_version")) == 1
        assert session.scalar(text("SELECT count(*) FROM buildings")) == 1


def test_foreign_keys_hold_after_migrating(empty_store: Store) -> None:
    empty_store.migrate()
    with pytest.raises(Exception, match=r"(?i)foreign key"), empty_store.session() as session:
        session.execute(text("INSERT INTO outbox (event_id) VALUES ('nothing')"))


def test_missing_migrations_are_a_clear_error(
    empty_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration, "FOLDER", tmp_path / "elsewhere")
    with pytest.raises(SetupError, match="elsewhere"):
        empty_store.migrate()


def test_session_commits_once_or_rolls_back(store: Store) -> None:
    with store.session() as session:
        buildings.create(session, "kept", BuildingFields("Kept"))
    with pytest.raises(ConflictError), store.session() as session:
        buildings.create(session, "lost", BuildingFields("Lost"))
        buildings.create(session, "kept", BuildingFields("Again"))
    with store.reading() as session:
        assert [one.id for one in buildings.listing(session, 10).items] == ["kept", "main"]


def test_reading_cannot_write(store: Store) -> None:
    with pytest.raises(Exception, match=r"(?i)read-?only"), store.reading() as session:
        buildings.create(session, "tower", BuildingFields("Tower"))
    with store.session() as session:  # the same connection writes again afterwards
        buildings.create(session, "tower", BuildingFields("Tower"))


def test_reading_sees_one_moment(store: Store) -> None:
    with store.reading() as before:
        assert buildings.get(before, "main").gallery_sequence == 0
        with store.session() as session:
            assert buildings.raise_sequence(session, "main", "somebody") == 1
        assert buildings.get(before, "main").gallery_sequence == 0
    with store.reading() as after:
        assert buildings.get(after, "main").gallery_sequence == 1


def test_a_session_sees_what_its_own_statements_wrote(store: Store) -> None:
    with store.session() as session:
        made = cameras.create(session, "main", CameraFields("Door", "clip.mp4"))
        seen = [session.get(Building, "main"), session.get(CameraRow, made.id)]
        session.execute(update(Building).values(name="Tower"))
        session.execute(update(CameraRow).values(door="back"))
        assert buildings.get(session, "main").fields.name == "Tower"
        assert cameras.get(session, "main", made.id).fields.door == "back"
        assert None not in seen  # the session knew both rows all the time


def test_writers_wait_for_each_other_and_leave_no_gap(store: Store) -> None:
    seen: list[int] = []

    def write() -> None:
        for _ in range(10):
            with store.session() as session:
                buildings.get(session, "main")  # reads first: on SQLite a lock upgrade would fail here
                seen.append(buildings.raise_sequence(session, "main", "somebody"))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(1, 41))


def test_sqlite_file_is_private(tmp_path: Path) -> None:
    file = tmp_path / "new" / "cardea.db"
    with contextlib.closing(store_at(f"sqlite:///{file}")) as store:
        store.migrate()
        with store.reading() as session:
            buildings.get(session, "main")
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()}
    assert modes == {"cardea.db": 0o600, "cardea.db-wal": 0o600, "cardea.db-shm": 0o600}
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_sqlite_pragmas(sqlite_url: str) -> None:
    with contextlib.closing(store_at(sqlite_url)) as store, store.reading() as session:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "secure_delete")
        assert [session.scalar(text(f"PRAGMA {name}")) for name in names] == ["wal", 2, 1, 5000, 1]


@pytest.mark.parametrize(
    "url", ["mysql://root:hush@host/db", "sqlite://", "no url with hush", "postgresql://a:hush@b/c"]
)
def test_unusable_urls_are_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(SetupError) as caught:
        store_at(url)
    assert "hush" not in str(caught.value)


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match="cannot be opened"):
        store_at(f"sqlite:///{tmp_path}/file/cardea.db")


def test_a_server_that_is_away_is_an_error_of_ours_without_the_password(tmp_path: Path) -> None:
    with contextlib.closing(store_at(f"postgresql+psycopg://user:hush@/db?host={tmp_path}")) as store:
        assert "hush" not in repr(store.engine)
        with pytest.raises(StoreUnavailableError) as caught:
            store.check()
    assert "hush" not in str(caught.value) and "hush" not in repr(caught.value.__cause__)


def test_a_failing_statement_does_not_show_its_values(store: Store) -> None:
    with store.session() as session:
        camera = cameras.create(session, "main", CameraFields("Door", "rtsp://user:hush@camera/1"))
    with pytest.raises(Exception, match=r"(?i)unique") as caught, store.session() as session:
        statement = text("INSERT INTO cameras SELECT * FROM cameras WHERE id = :id AND door != :door")
        session.execute(statement, {"id": camera.id, "door": "hush"})
    assert "hush" not in str(caught.value)


def test_the_store_returns_when_the_server_does(postgres_server: PostgresServer, postgres_url: str) -> None:
    with contextlib.closing(store_at(postgres_url)) as store:
        store.check()
        postgres_server.stop()
        try:
            with pytest.raises(StoreUnavailableError):
                store.check()
        finally:
            postgres_server.start()
        store.check()
        postgres_server.stop()  # unnoticed this time: the pool still holds a connection
        postgres_server.start()
        store.check()


def test_a_locked_sqlite_file_is_an_error_of_ours(sqlite_url: str) -> None:
    with contextlib.closing(store_at(sqlite_url)) as first, contextlib.closing(store_at(sqlite_url)) as second:
        started = time.monotonic()
        with first.session() as session:
            buildings.create(session, "tower", BuildingFields("Tower"))
            with pytest.raises(StoreUnavailableError, match="locked"), second.session() as other:
                buildings.create(other, "other", BuildingFields("Other"))
    assert time.monotonic() - started >= 4.5


def test_a_query_that_is_wrong_is_no_store_that_is_away(store: Store) -> None:
    with pytest.raises(SQLAlchemyError), store.reading() as session:
        session.execute(text("SELECT colour FROM persons"))
