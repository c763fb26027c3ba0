"""Changing the keys of a database: while others work on it, after an interruption, and when a key may go."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures_store import access_event, claimed_camera, enrol, unit_vector

from app.__main__ import main
from app.errors import SealError, SetupError
from app.keyring import Keyring
from app.store import audit, cameras, embedders, events, galleries, people, rotation
from app.store.engine import Store
from app.store.tables import Base

ACTOR = audit.Actor("command", name="keys")


@pytest.fixture
def own(store_url: str, tmp_path: Path) -> Iterator[Store]:
    """A store with a key file of this test alone."""
    keyring = Keyring(tmp_path / "own" / "encryption.keys")
    keyring.create()
    with contextlib.closing(Store(store_url, keyring)) as made:
        with made.session() as session:
            session.execute(Base.metadata.tables["encryption_keys"].delete())
        made.migrate()
        yield made
        with made.session() as session:
            session.execute(Base.metadata.tables["encryption_keys"].delete())


def fill(store: Store) -> str:
    camera = claimed_camera(store)
    for number in range(3):
        enrol(store, f"Ada {number}", number)
        with store.session() as session:
            (photo,) = embedders.unfinished(session, "newer")
            embedders.add_template(session, photo, "newer", unit_vector(number))
            events.add(session, access_event(camera, number + 1, portrait=b"eyes"))
    return camera.id


def opens(store: Store, camera: str) -> None:
    """Read something of every sealed column."""
    with store.reading() as session:
        for person in people.listing(session, "main", 100).items:
            photo = people.photos(session, "main", person.id)[0]
            assert people.photo_image(session, "main", person.id, photo.id) == b"picture"
        for record in events.listing(session, "main", 100).items:
            assert events.snapshot(session, "main", record.event.id) == b"snapshot"
            assert events.portrait(session, "main", record.event.id) == b"eyes"
        assert "hush" in cameras.get(session, "main", camera).fields.source
        for embedder in ("net", "newer"):
            galleries.changes_since(session, "main", 0, embedder)


def test_everything_is_sealed_anew_and_the_old_key_may_go(own: Store) -> None:
    camera, old = fill(own), own.keyring.current
    with pytest.raises(SetupError, match="seals what is written now"):
        rotation.retire(own, frozenset({old}), ACTOR)
    new = rotation.rotate(own, ACTOR)
    before, after = rotation.uses(own)[::-1]
    assert (before.id, before.current, before.rows) == (old, False, 0)
    assert (after.id, after.current, after.rows) == (new, True, 3 + 6 + 3 + 3 + 1)
    opens(own, camera)
    rotation.retire(own, frozenset({old}), ACTOR)
    assert own.keyring.ids == (new,)
    opens(own, camera)
    own.migrate()  # nothing asks for the old key


def test_a_rotation_that_was_interrupted_goes_on(own: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "BATCH", 2)
    camera, old = fill(own), own.keyring.current

    def stop(place: str, rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rotation.rotate(own, ACTOR, stop)
    counts = {use.id: use.rows for use in rotation.uses(own)}
    assert counts[old] == 16 - 2
    opens(own, camera)
    with pytest.raises(SetupError, match="14 rows need key"):
        rotation.retire(own, frozenset({old}), ACTOR)
    assert rotation.reseal(own) == 14
    assert rotation.reseal(own) == 0
    opens(own, camera)


def test_others_read_and_write_meanwhile(own: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "BATCH", 2)
    camera, stopping, failed = fill(own), threading.Event(), []
    url = own.engine.url.render_as_string(hide_password=False)

    def work() -> None:
        with contextlib.closing(Store(url, Keyring(own.keyring.path))) as other:
            number = 100
            while not stopping.is_set():
                try:
                    enrol(other, f"Ben {number}", number)
                    opens(other, camera)
                except SealError as error:
                    failed.append(error)
                number += 1

    worker = threading.Thread(target=work)
    worker.start()
    old = own.keyring.current
    for _round in range(3):
        rotation.rotate(own, ACTOR)
    stopping.set()
    worker.join()
    rotation.reseal(own)
    assert not failed
    rotation.retire(own, frozenset(own.keyring.ids[1:]), ACTOR)
    assert old not in own.keyring.ids
    opens(own, camera)


def test_a_key_that_is_missing_is_listed(own: Store) -> None:
    fill(own)
    old, new = own.keyring.current, own.keyring.add()
    own.keyring.retire(frozenset({old}))  # somebody edited the file
    assert [(use.id, use.here, use.rows) for use in rotation.uses(own)] == [(new, True, 0), (old, False, 16)]


def test_the_commands(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "own" / "encryption.keys"
    with contextlib.closing(Store(sqlite_url, Keyring(file))) as store:
        store.keyring.create()
        with store.session() as session:
            session.execute(Base.metadata.tables["encryption_keys"].delete())
        enrol(store, "Ada", 1)
    monkeypatch.setenv("CARDEA_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("CARDEA_KEY_FILE", str(file))
    old = Keyring(file).current

    def cardea(*words: str) -> str:
        assert main(["keys", *words]) == 0
        return capsys.readouterr().out

    assert cardea("list").split()[:4] == [old, "seals", "2", "rows"]
    assert [line.split()[1:3] for line in cardea("rotate").splitlines()] == [["seals", "2"], ["opens", "0"]]
    assert old not in cardea("retire", old)


def test_each_sealed_column_is_known(store: Store) -> None:
    named = {f"{place.column.class_.__tablename__}.{place.column.key}" for place in rotation.PLACES}
    binary = {
        f"{table.name}.{column.name}"
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if column.type.python_type is bytes
    }
    assert named == binary
