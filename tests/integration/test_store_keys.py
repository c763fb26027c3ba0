"""API keys."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from app.errors import NotFoundError
from app.store import buildings, keys
from app.store.engine import Store
from app.store.records import BuildingFields, Scope


def test_a_key_is_known_by_its_secret_alone(store: Store) -> None:
    with store.session() as session:
        record, secret = keys.create(session, "Front desk", Scope.VIEWER, "main")
    assert secret.startswith("cardea_") and len(secret) > 40
    assert secret.startswith(record.prefix) and len(record.prefix) < 16
    with store.reading() as session:
        assert keys.verify(session, secret) == record == keys.get(session, record.id)
        for wrong in ("", secret[:-1], secret + "x", secret.upper(), record.id, "é"):
            assert keys.verify(session, wrong) is None
    assert (record.name, record.scope, record.building) == ("Front desk", Scope.VIEWER, "main")


def test_the_secret_is_not_stored(store: Store) -> None:
    with store.session() as session:
        _, secret = keys.create(session, "Front desk", Scope.VIEWER)
        rows = session.execute(text("SELECT * FROM api_keys")).all()
    assert secret not in str(rows) and secret[12:] not in str(rows)


def test_expired_and_revoked_keys_are_refused_and_still_listed(store: Store) -> None:
    moment = datetime.now(UTC)
    with store.session() as session:
        valid, good = keys.create(session, "good", Scope.DEVICE, expires_at=moment + timedelta(hours=1))
        expired, late = keys.create(session, "late", Scope.DEVICE, expires_at=moment - timedelta(seconds=1))
        revoked, gone = keys.create(session, "gone", Scope.DEVICE)
        ended = keys.revoke(session, revoked.id)
        assert ended.revoked_at is not None
        assert keys.revoke(session, revoked.id) == ended
        with pytest.raises(NotFoundError):
            keys.revoke(session, "key_none")
    with store.reading() as session:
        assert keys.verify(session, good) == valid
        assert keys.verify(session, late) is None and keys.verify(session, gone) is None
        first = keys.listing(session, 2)
        rest = keys.listing(session, 2, first.next_token)
        assert {key.id for key in [*first.items, *rest.items]} == {valid.id, expired.id, revoked.id}
        assert rest.next_token is None


def test_a_key_needs_its_building(store: Store) -> None:
    with store.session() as session:
        with pytest.raises(NotFoundError):
            keys.create(session, "lost", Scope.VIEWER, "nowhere")
        buildings.create(session, "tower", BuildingFields("Tower"))
        assert keys.create(session, "tower", Scope.VIEWER, "tower")[0].building == "tower"


def test_the_first_key_is_made_once_in_a_life(store: Store) -> None:
    made: list[str | None] = []
    start = threading.Barrier(4)

    def run() -> None:
        start.wait()
        with store.session() as session:
            made.append(keys.ensure_first_key(session))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    secrets = [secret for secret in made if secret is not None]
    assert len(made) == 4 and len(secrets) == 1
    with store.session() as session:
        record = keys.verify(session, secrets[0])
        assert record is not None and (record.scope, record.building) == (Scope.OPERATOR, None)
        keys.revoke(session, record.id)
        assert keys.ensure_first_key(session) is None
