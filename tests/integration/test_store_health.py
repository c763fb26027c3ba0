"""`cardea db check`: what it finds wrong, and that it finds nothing wrong with what is well."""

import contextlib
import json
from pathlib import Path

import pytest
from fixtures_store import claimed_camera, enrol, store_at
from sqlalchemy import text

from app.__main__ import main
from app.errors import SetupError
from app.keyring import Keyring
from app.store import embedders
from app.store.audit import SYSTEM
from app.store.engine import Store
from app.store.health import Finding, check


def findings(store: Store) -> dict[str, Finding]:
    return {finding.name: finding for finding in check(store, ["net"])}


def test_a_sound_database_has_nothing_to_do(store: Store) -> None:
    enrol(store, "Ada", 1)
    claimed_camera(store)
    found = findings(store)
    assert all(finding.ok for finding in found.values())
    assert found["templates"].found == "1 of net"
    assert found["photos.image"].found == "1 of 1 looked at can be opened"


def test_templates_of_a_net_that_is_not_at_hand_are_told(store: Store) -> None:
    enrol(store, "Ada", 1)
    found = {finding.name: finding for finding in check(store, ["newer", "older"])}
    assert found["templates"].found == "1 of net, which this version cannot use: it has newer, older"
    assert "run `cardea gallery reembed`" in found["templates"].advice


def test_persons_without_a_template_of_the_live_net_are_told(store: Store) -> None:
    enrol(store, "Ada", 1)
    with store.session() as session:
        assert len(embedders.switch(session, "newer", SYSTEM, force=True)) == 1
    found = {finding.name: finding for finding in check(store, ["newer", "net"])}
    assert found["templates"].found == "0 of newer; 1 persons have photos and none of it"
    assert "`cardea gallery reembed --to newer`" in found["templates"].advice


def test_altered_bytes_are_told(store: Store) -> None:
    enrol(store, "Ada", 1)
    with store.session() as session:
        session.execute(text("UPDATE photos SET image = :junk"), {"junk": b"\x01" + bytes(60)})
    assert [name for name, finding in findings(store).items() if not finding.ok] == ["photos.image"]


def test_a_missing_key_is_told(sqlite_url: str, tmp_path: Path) -> None:
    with contextlib.closing(Store(sqlite_url, Keyring(tmp_path / "none"))) as store:
        assert "CARDEA_KEY_FILE" in findings(store)["keys"].advice


def test_a_database_of_a_newer_version_is_left_alone(store: Store) -> None:
    with store.session() as session:
        newest = session.scalar(text("SELECT version_num FROM alembic_version"))
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    try:
        assert [finding.ok for finding in check(store, ["net"])] == [False]
        with pytest.raises(SetupError, match="newer version"):
            store.migrate()
    finally:
        with store.session() as session:
            session.execute(text("UPDATE alembic_version SET version_num = :newest"), {"newest": newest})


def test_the_command_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path}/cardea.db"
    monkeypatch.setenv("CARDEA_DATABASE_URL", url)
    assert main(["db", "check"]) == 1
    assert "FAIL schema: empty" in capsys.readouterr().out
    with contextlib.closing(store_at(url)) as store:
        store.migrate()
    assert main(["db", "check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
