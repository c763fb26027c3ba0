"""The audit trail over REST: what was changed, by whom, and every key that was refused, whatever the store does."""

import contextlib
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fixtures_api import Api, problem_of
from fixtures_redis import wait_until
from fixtures_store import store_at
from sqlalchemy import text

from app.api.key_log import ADDRESSES, APART, KeyLog, Refused
from app.store import audit, keys
from app.store.engine import Store
from app.store.records import Refusal, Scope


def trail(client: httpx2.Client, path: str = "/v1/audit", **query: Any) -> list[dict[str, Any]]:
    """Entries, oldest first."""
    return list(reversed(client.get(path, params=query).json()["items"]))


def refusals(client: httpx2.Client, count: int) -> list[dict[str, Any]]:
    """So many entries of refused keys, oldest first."""
    wait_until(lambda: len(trail(client, action="key.refused")) >= count)
    found = trail(client, action="key.refused")
    assert len(found) == count
    return found


def test_changes_name_who_made_them(api: Api, operator: httpx2.Client) -> None:
    operator.post("/v1/buildings", json={"id": "tower", "name": "Tower"})
    operator.patch("/v1/buildings/tower", json={"event_days": 30})
    body = {"name": "gate", "scope": "device", "building": "tower"}
    key = operator.post("/v1/api-keys", json=body).json()
    operator.patch(f"/v1/api-keys/{key['id']}", json={"name": "garage"})
    operator.delete(f"/v1/api-keys/{key['id']}")
    operator.delete("/v1/buildings/tower")
    entries = trail(operator)
    told = [(entry["action"], entry["building"], entry["target"]) for entry in entries]
    of_key = [(f"key.{verb}", "tower", key["id"]) for verb in ("created", "changed", "revoked")]
    of_building = [(f"building.{verb}", "tower", "tower") for verb in ("created", "changed", "deleted")]
    assert told == [*of_building[:2], *of_key, of_building[2]]
    assert {(entry["actor"]["kind"], entry["actor"]["address"]) for entry in entries} == {("key", "127.0.0.1")}
    assert key["secret"] not in str(entries) and "garage" not in str(entries)


def test_the_trail_is_read_in_pages_by_building_and_by_action(api: Api, operator: httpx2.Client) -> None:
    for building in ("tower", "annex"):
        operator.post("/v1/buildings", json={"id": building, "name": building})
        for days in (1, 2):
            operator.patch(f"/v1/buildings/{building}", json={"event_days": days})
    assert len(trail(operator, action="building.")) == 6
    assert len(trail(operator, action="building.changed")) == 4
    first = operator.get("/v1/audit", params={"page_size": 4}).json()
    rest = operator.get("/v1/audit", params={"page_size": 4, "page_token": first["next_page_token"]}).json()
    places = [entry["id"] for entry in first["items"] + rest["items"]]
    assert places == sorted(places, reverse=True) and len(places) == 6 and rest["next_page_token"] == ""
    local = api.client(Scope.OPERATOR, "tower")
    assert {entry["building"] for entry in trail(local, "/v1/buildings/tower/audit")} == {"tower"}
    assert problem_of(local.get("/v1/audit")) == (403, "other-building")
    assert problem_of(operator.get("/v1/buildings/nowhere/audit")) == (404, "not-found")
    for action in ("key", "'; --", "Key.refused", "x" * 100):
        assert problem_of(operator.get("/v1/audit", params={"action": action})) == (422, "invalid-request")


def test_every_refused_key_has_an_entry_with_its_reason(api: Api, operator: httpx2.Client) -> None:
    with api.services.store.session() as session:
        revoked, secret = keys.create(session, "gone", Scope.VIEWER, "main")
        keys.revoke(session, revoked.id)
    viewer = api.key(Scope.VIEWER, "main")
    tries: list[tuple[str | None, str]] = [
        (None, "/v1/buildings"),
        ("cardea_guessed-and-wrong", "/v1/buildings"),
        (viewer[:20], "/v1/buildings"),
        (secret, "/v1/buildings/main"),
        (viewer, "/v1/api-keys"),
        (viewer, "/v1/buildings/tower/persons/per_%00%C3%A9"),
    ]
    for key, path in tries:
        assert api.bearing(key).get(path).status_code in (401, 403), path
    entries = refusals(operator, len(tries))
    reasons = ["missing", "unknown", "unknown", "revoked", "scope-too-small", "other-building"]
    assert [entry["detail"]["reason"] for entry in entries] == reasons
    assert [entry["detail"].get("prefix") for entry in entries] == [
        None,
        None,
        viewer[:12],
        secret[:12],
        *[viewer[:12]] * 2,
    ]
    assert entries[5]["detail"]["path"] == "/v1/buildings/tower/persons/per_%00%C3%A9"
    assert {entry["detail"]["method"] for entry in entries} == {"GET"}
    assert (entries[3]["target"], entries[3]["building"], entries[3]["actor"]["kind"]) == (
        revoked.id,
        "main",
        "anonymous",
    )
    assert entries[4]["actor"]["kind"] == "key" and entries[4]["actor"]["address"] == "127.0.0.1"
    for key in (viewer, secret, "cardea_guessed"):
        assert key[:13] not in str(entries)


def test_a_flood_of_bad_keys_is_one_entry_and_locks_nobody_out(api: Api, operator: httpx2.Client) -> None:
    guesser = api.bearing("cardea_guess")
    answers = [problem_of(guesser.get("/v1/buildings")) for _ in range(100)]
    assert answers == [(401, "unauthenticated")] * 30 + [(429, "too-many-requests")] * 70
    assert int(guesser.get("/v1/buildings").headers["retry-after"]) in range(1, 61)
    elsewhere = guesser.get("/v1/buildings", headers={"X-Forwarded-For": "203.0.113.9"})
    assert problem_of(elsewhere) == (401, "unauthenticated")
    assert operator.get("/v1/buildings").status_code == 200
    assert {entry["actor"]["address"] for entry in refusals(operator, 31)} == {"127.0.0.1", "203.0.113.9"}


def flooded(store: Store, log: KeyLog, addresses: list[str]) -> list[audit.AuditRecord]:
    """The trail after one refusal from each address, oldest first."""
    log.start()
    for address in addresses:
        log.refused(Refused(Refusal.UNKNOWN, address, "GET", "/v1/buildings"))
    log.stop()
    with store.reading() as session:
        return list(reversed(audit.listing(session, 200).items))


def test_the_rest_of_a_flood_is_counted(store: Store) -> None:
    entries = flooded(store, KeyLog(store), ["192.0.2.1"] * 1000 + ["192.0.2.2"])
    assert [entry.actor.address for entry in entries] == ["192.0.2.1"] * APART + ["192.0.2.2", "192.0.2.1"]
    assert entries[-1].detail == {"reason": "flood", "count": 1000 - APART}


def test_a_flood_from_everywhere_fills_neither_memory_nor_disk(sqlite_url: str) -> None:
    addresses = [f"10.0.{number // 256}.{number % 256}" for number in range(2000)]
    with contextlib.closing(store_at(sqlite_url)) as store:
        last = flooded(store, KeyLog(store), addresses)[-1]
        with store.reading() as session:
            rows = session.execute(text("SELECT count(*) FROM audit")).scalar_one()
    assert (last.actor.address, last.detail["count"]) == ("many", 2000 - ADDRESSES) and rows == ADDRESSES + 1


def test_refusals_wait_for_a_store_that_is_away(
    api: Api, operator: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    """What is refused before the store is asked stays a 401, and its entry comes when the store is back."""
    file = Path(str(api.services.store.engine.url.database))
    api.services.store.engine.dispose()
    kept = file.rename(f"{file}.away")
    file.mkdir()
    try:
        assert problem_of(api.bearing(None).get("/v1/buildings")) == (401, "unauthenticated")
        assert problem_of(api.bearing("cardea_guess").get("/v1/buildings"))[0] == 503
        wait_until(lambda: "waits for the database" in caplog.text)
    finally:
        file.rmdir()
        kept.rename(file)
    assert refusals(operator, 1)[0]["detail"]["reason"] == "missing"


def test_the_entries_of_a_stopped_server_are_written(sqlite_url: str) -> None:
    with contextlib.closing(store_at(sqlite_url)) as store:
        assert len(flooded(store, KeyLog(store), ["192.0.2.1"])) == 1


@pytest.mark.parametrize("address", ["203.0.113.5", "unknown"])
def test_a_made_up_address_is_not_believed(api: Api, operator: httpx2.Client, address: str) -> None:
    told = address if address != "unknown" else "'; DROP TABLE audit; --"
    api.bearing(None).get("/v1/buildings", headers={"X-Forwarded-For": told})
    assert refusals(operator, 1)[0]["actor"]["address"] == address
