"""What lies sealed in the database, and which key file fits which database."""

import contextlib
from pathlib import Path

import pytest
from fixtures_store import access_event, claimed_camera, enrol, unit_vector
from sqlalchemy import text

from app.errors import SealError, SetupError
from app.keyring import Keyring
from app.store import events, galleries, people
from app.store.engine import Store


def test_pictures_templates_and_addresses_are_sealed_and_come_back(store: Store) -> None:
    person = enrol(store, "Ada", 1, image=b"a photo of Ada")
    camera = claimed_camera(store)
    with store.session() as session:
        events.add(session, access_event(camera, 1, snapshot=b"whole picture", portrait=b"face alone"))
    with store.reading() as session:
        raw = b"".join(
            bytes(value)
            for column, table in (
                ("image", "photos"),
                ("vector", "templates"),
                ("image", "snapshots"),
                ("image", "portraits"),
                ("sealed_source", "cameras"),
            )
            for value in session.scalars(text(f"SELECT {column} FROM {table}"))
        )
        assert len(raw) > 5 * 33
        for plain in (b"photo of Ada", unit_vector(1).tobytes()[:16], b"whole picture", b"face alone", b"hush"):
            assert plain not in raw
        (photo,) = people.photos(session, "main", person.id)
        assert people.photo_image(session, "main", person.id, photo.id) == b"a photo of Ada"
        assert (galleries.changes_since(session, "main", 0, "net").vectors == unit_vector(1)).all()
        event = f"{camera.id}.1.1"
        assert events.snapshot(session, "main", event) == b"whole picture"
        assert events.portrait(session, "main", event) == b"face alone"
    assert camera.source == "rtsp://user:hush@camera/1"


def test_a_template_moved_to_another_person_is_refused(store: Store) -> None:
    enrol(store, "Ada", 1)
    other = enrol(store, "Bob", 2)
    with store.session() as session:
        session.execute(text("UPDATE templates SET person_id = :other"), {"other": other.id})
    with pytest.raises(SealError), store.reading() as session:
        galleries.changes_since(session, "main", 0, "net")


def test_the_first_start_makes_the_key_file(tmp_path: Path) -> None:
    file = tmp_path / "own" / "keys"
    with contextlib.closing(Store(f"sqlite:///{tmp_path}/a.db", Keyring(file))) as store:
        store.migrate()
        store.migrate()
    assert file.is_file()


def test_a_sealed_database_without_its_key_file_is_refused(sqlite_url: str, tmp_path: Path) -> None:
    file = tmp_path / "elsewhere"
    with contextlib.closing(Store(sqlite_url, Keyring(file))) as store, pytest.raises(SetupError, match="no key file"):
        store.migrate()
    assert not file.exists()


def test_a_key_file_of_another_database_is_refused(sqlite_url: str, tmp_path: Path) -> None:
    strange = Keyring(tmp_path / "strange")
    strange.create()
    with contextlib.closing(Store(sqlite_url, strange)) as store, pytest.raises(SetupError, match="does not hold"):
        store.migrate()
