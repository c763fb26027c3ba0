"""Backup and restore, from each kind of database into each, and all that may be wrong with the file."""

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures_door import ROOT
from fixtures_store import PostgresServer, access_event, claimed_camera, enrol, silence, store_at, unit_vector
from sqlalchemy import select, text, update

from app.__main__ import main
from app.errors import BackupError, SetupError
from app.keyring import Keyring
from app.store import archive, backup, cameras, embedders, erasure, events, galleries, keys, people, tombstones
from app.store.clock import now
from app.store.engine import Store
from app.store.migration import upgrade
from app.store.records import PersonRecord, Scope
from app.store.restore import restore
from app.store.tables import ApiKey, Base, CameraRow, Photo, StreamRemoval, Template
from app.types import Decision

COMPARED = sorted(
    set(Base.metadata.tables)
    - backup.LEFT_OUT
    - {"cameras", "buildings", "gallery_changes", "audit", "outbox", "tombstones", "stream_removals"}
)


def content(store: Store) -> dict[str, list[Any]]:
    """All rows of the tables that a restore must not change."""
    with store.reading() as session:
        found = {}
        for name in COMPARED:
            table = Base.metadata.tables[name]
            found[name] = session.execute(select(table).order_by(*table.primary_key.columns)).all()
        return found


def fill(store: Store) -> list[PersonRecord]:
    """Two persons, a camera with events of both, and an API key; no worker lives."""
    persons = [enrol(store, "Ada", 1, b"photo of Ada" * 99, external_id="flat-1"), enrol(store, "Ben", 2)]
    with store.session() as session:
        for photo in embedders.unfinished(session, "newer"):
            embedders.add_template(session, photo, "newer", unit_vector(3))
    camera = claimed_camera(store)
    silence(store, "watcher", 60)
    with store.session() as session:
        for sequence, person in enumerate(persons, 1):
            events.add(session, access_event(camera, sequence, decision=Decision.GRANTED, person=person.id))
        keys.create(session, "operator", Scope.OPERATOR)
    return persons


def write(store: Store, path: Path) -> Path:
    backup.write(store, path, "1.0")
    return path


@pytest.fixture
def small(sqlite_url: str) -> Iterator[Store]:
    """A store on SQLite, for what does not depend on the kind."""
    with contextlib.closing(store_at(sqlite_url)) as made:
        yield made


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Store]:
    """A store whose SQLite file is not there yet."""
    with contextlib.closing(store_at(f"sqlite:///{tmp_path / 'new' / 'cardea.db'}")) as made:
        yield made


def test_a_backup_moves_to_the_other_kind_and_back(
    sqlite_url: str, postgres_url: str, empty: Store, tmp_path: Path
) -> None:
    with contextlib.closing(store_at(sqlite_url)) as small, contextlib.closing(store_at(postgres_url)) as large:
        ada, _ = fill(small)
        file = write(small, tmp_path / "first.zip")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600 and list(tmp_path.glob("*.part")) == []
        restore(large, file)
        assert content(large) == content(small)
        restore(empty, write(large, tmp_path / "second.zip"))
        assert content(empty) == content(small)
        for store in (large, empty):
            with store.session() as session:
                photo = people.photos(session, "main", ada.id)[0].id
                assert people.photo_image(session, "main", ada.id, photo) == b"photo of Ada" * 99
                keys.create(session, "another", Scope.VIEWER)
            enrol(store, "Cleo", 3)  # the numbers of new rows go on after the old ones


def test_nothing_readable_of_a_face_lies_in_the_file(small: Store, tmp_path: Path) -> None:
    fill(small)
    with zipfile.ZipFile(write(small, tmp_path / "backup.zip")) as file:
        whole = b"".join(file.read(name) for name in file.namelist())
        names = set(file.namelist())
    assert b"flat-1" in whole
    assert b"photo of Ada" not in whole and b"hush" not in whole
    assert not names & {f"tables/{name}.jsonl" for name in ("sessions", "workers", "idempotent_replies")}


def test_the_erased_stay_erased(store: Store, tmp_path: Path) -> None:
    ada, ben = fill(store)
    file = write(store, tmp_path / "backup.zip")
    erasure.erase_person(store, "main", ada.id, patience=0)
    assert restore(store, file, replace=True).erased_again == 1
    with store.reading() as session:
        assert [person.id for person in people.listing(session, "main", 10).items] == [ben.id]
        for table in (Photo, Template):
            assert set(session.scalars(select(table.person_id))) == {ben.id}
        found = events.listing(session, "main", 10).items
        assert [record.has_snapshot for record in found] == [True, False]
        assert ada.id in tombstones.listing(session)


def test_the_erased_are_not_in_the_files_of_postgresql(
    postgres_server: PostgresServer, postgres_url: str, tmp_path: Path
) -> None:
    mark = "flat-4711-restored"
    with contextlib.closing(store_at(postgres_url)) as store:
        ada = enrol(store, "Ada", 1, external_id=mark)
        file = write(store, tmp_path / "backup.zip")
        erasure.erase_person(store, "main", ada.id, patience=0)
        assert restore(store, file, replace=True).erased_again == 1
    postgres_server.execute_in("cardea", "CHECKPOINT")
    data = postgres_server.folder / "data"
    found = subprocess.run(["grep", "-rlaF", "--", mark, str(data)], capture_output=True, text=True, check=False)
    assert [file for file in found.stdout.split() if "pg_wal" not in file] == []


def test_what_was_still_to_be_taken_out_of_the_stream_is_noted_again(store: Store, tmp_path: Path) -> None:
    fill(store)
    file = write(store, tmp_path / "backup.zip")
    cleo = enrol(store, "Cleo", 3)
    erasure.erase_person(store, "main", cleo.id, patience=0)  # the stream is away
    restore(store, file, replace=True)
    with store.reading() as session:
        assert cleo.id in set(session.scalars(select(StreamRemoval.subject)))


def test_the_ledger_is_enough_when_the_database_is_lost(small: Store, empty: Store, tmp_path: Path) -> None:
    ada, ben = fill(small)
    file = write(small, tmp_path / "backup.zip")
    erasure.erase_person(small, "main", ada.id, patience=0)
    assert restore(empty, file).erased_again == 1
    with empty.reading() as session:
        assert [person.id for person in people.listing(session, "main", 10).items] == [ben.id]


def test_numbers_that_were_used_are_not_used_again(small: Store, tmp_path: Path) -> None:
    ada, _ = fill(small)
    file = write(small, tmp_path / "backup.zip")
    cleo = enrol(small, "Cleo", 3)
    with small.reading() as session:
        before = galleries.sequences(session)["main"]
    epochs = []
    for _round in range(2):
        restore(small, file, replace=True)
        with small.reading() as session:
            epochs.append(session.scalar(select(CameraRow.owner_epoch)))
            changes = galleries.changes_since(session, "main", before, "net")
        assert {ada.id, cleo.id} <= changes.changed and cleo.id not in changes.persons
    assert 1_700_000_000 < epochs[0] < epochs[1]


@pytest.mark.parametrize("column", ["revoked_at", "expires_at"])
def test_a_key_that_was_ended_stays_ended(small: Store, tmp_path: Path, column: str) -> None:
    with small.session() as session:
        key, secret = keys.create(session, "stolen", Scope.OPERATOR)
    file = write(small, tmp_path / "backup.zip")
    with small.session() as session:
        session.execute(update(ApiKey).where(ApiKey.id == key.id).values({column: now(session)}))
    restore(small, file, replace=True)
    with small.reading() as session:
        assert keys.verify(session, secret) is None


def test_a_database_in_use_is_not_replaced_by_chance(store: Store, tmp_path: Path) -> None:
    fill(store)
    file, before = write(store, tmp_path / "backup.zip"), content(store)
    with pytest.raises(SetupError, match="--replace"):
        restore(store, file)
    claimed_camera(store, "north")
    with pytest.raises(SetupError, match="stop all processes"):
        restore(store, file, replace=True)
    assert content(store) == before


def test_tables_of_another_program_are_neither_kept_nor_dropped(store: Store, tmp_path: Path) -> None:
    fill(store)
    with store.session() as session:
        session.execute(text("CREATE TABLE ledger (id INTEGER PRIMARY KEY)"))
        session.execute(text("INSERT INTO ledger VALUES (7)"))
    file = write(store, tmp_path / "backup.zip")
    with pytest.raises(SetupError, match="table ledger that is not Cardea's"):
        restore(store, file, replace=True)
    with store.session() as session:
        assert session.scalar(text("SELECT id FROM ledger")) == 7
        session.execute(text("DROP TABLE ledger"))
    assert restore(store, file, replace=True).rows  # the file holds nothing of it that would be refused


def test_a_backup_of_the_first_schema_is_brought_up_to_date(empty: Store, store: Store, tmp_path: Path) -> None:
    upgrade(empty.engine, empty.keyring, "0001")
    with empty.session() as session:
        row = "INSERT INTO persons (id, building_id, name, groups, revision, created_at, updated_at) VALUES "
        moment = "'2026-01-01 00:00:00.000000'"
        session.execute(text(f"{row} ('per_1', 'main', 'Ada', '[]', 1, {moment}, {moment})"))
    restore(store, write(empty, tmp_path / "backup.zip"), replace=True)
    with store.reading() as session:
        assert people.get(session, "main", "per_1").fields.name == "Ada"


def repacked(file: Path, changes: dict[str, bytes]) -> None:
    """Write the file anew with some members exchanged."""
    with zipfile.ZipFile(file) as old:
        members = {name: old.read(name) for name in old.namelist()} | changes
    with zipfile.ZipFile(file, "w") as new:
        for name, data in members.items():
            new.writestr(name, data)


def newer(file: Path, keyring: Keyring) -> None:
    """Let the file be one of a later schema, well sealed."""
    with zipfile.ZipFile(file) as old:
        lines = old.read(archive.MANIFEST)
    raw = json.loads(lines)
    tables = {name: archive.Member(**member) for name, member in raw["tables"].items()}
    manifest = archive.Manifest(raw["product"], "9999", raw["made_at"], raw["keys"], tables)
    with zipfile.ZipFile(file, "a") as again, pytest.warns(UserWarning):
        archive.Writer(again).finish(manifest, keyring)
    with zipfile.ZipFile(file) as old:
        lines = old.read(archive.MANIFEST)
    repacked(file, {archive.MANIFEST: lines})


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-300])


def flipped(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 0xFF
    file.write_bytes(data)


def with_manifest(file: Path, **changes: Any) -> None:
    with zipfile.ZipFile(file) as old:
        manifest = json.loads(old.read(archive.MANIFEST)) | changes
    repacked(file, {archive.MANIFEST: json.dumps(manifest).encode()})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file, ring: cut(file), "damaged"),
        (lambda file, ring: flipped(file), "damaged|altered"),
        (lambda file, ring: file.write_bytes(b"no backup"), "no backup"),
        (lambda file, ring: repacked(file, {archive.MANIFEST: b"[]"}), "no backup"),
        (lambda file, ring: repacked(file, {"tables/persons.jsonl": b""}), "table persons of the backup was altered"),
        (lambda file, ring: repacked(file, {"more": b""}), "not those that it lists"),
        (lambda file, ring: with_manifest(file, made_at="2020-01-01"), "list of contents was altered"),
        (lambda file, ring: with_manifest(file, seal="AAAA"), "not made with the keys"),
        (lambda file, ring: with_manifest(file, format=2), "newer version"),
        (lambda file, ring: with_manifest(file, keys=["00000000"]), "needs key 00000000"),
        (newer, "newer version"),
    ],
)
def test_a_file_that_is_not_as_it_was_written_is_refused(
    small: Store, tmp_path: Path, damage: Any, message: str
) -> None:
    fill(small)
    file, before = write(small, tmp_path / "backup.zip"), content(small)
    damage(file, small.keyring)
    with pytest.raises((BackupError, SetupError), match=message):
        restore(small, file, replace=True)
    assert content(small) == before


def test_a_backup_of_another_installation_is_refused(sqlite_url: str, empty: Store, tmp_path: Path) -> None:
    with contextlib.closing(store_at(sqlite_url)) as store:
        fill(store)
        file = write(store, tmp_path / "backup.zip")
        with pytest.raises(SetupError, match="already"):
            write(store, file)
    foreign = Keyring(tmp_path / "foreign")
    foreign.create()
    empty.keyring = foreign
    with pytest.raises(SetupError, match="needs key"):
        restore(empty, file)


def test_a_kill_in_the_middle_leaves_what_was_there(store: Store, store_url: str, tmp_path: Path) -> None:
    fill(store)
    file, before = write(store, tmp_path / "backup.zip"), content(store)
    code = (
        "import os, signal, sys; from pathlib import Path; from app.keyring import Keyring; "
        "from app.store.engine import Store; from app.store import restore; "
        "restore._finish = lambda *rest: os.kill(os.getpid(), signal.SIGKILL); "
        "restore.restore(Store(sys.argv[1], Keyring(Path(sys.argv[2]))), Path(sys.argv[3]), replace=True)"
    )
    words = [sys.executable, "-c", code, store_url, os.environ["CARDEA_KEY_FILE"], str(file)]
    assert subprocess.run(words, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert content(store) == before
    with store.reading() as session:
        assert len(cameras.listing(session, "main", 10).items) == 1


def test_the_commands(
    small: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(small)
    monkeypatch.setenv("CARDEA_DATABASE_URL", str(small.engine.url))
    beside = small.keyring.path.parent / f"{tmp_path.name}.zip"

    def cardea(*words: str) -> tuple[int, str]:
        return main([*words]), capsys.readouterr().err

    for words, status, message in (
        (("backup", str(beside)), 0, "WARNING"),
        (("restore", str(beside)), 2, "--replace"),
        (("restore", str(beside), "--replace"), 0, "restored"),
    ):
        found, said = cardea(*words)
        assert (found, message in said) == (status, True), said
