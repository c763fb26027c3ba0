"""Keys over REST: replaced with a time of grace, renamed, noted when used, and kept within their building."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from fixtures_api import Api, problem_of
from fixtures_redis import wait_until

from app.store import keys
from app.store.records import Scope

KEYS = "/v1/api-keys"


def made(client: httpx2.Client, **more: Any) -> dict[str, Any]:
    """A new key of "main" as it is answered, with its secret."""
    answer = client.post(KEYS, json={"name": "gate", "scope": "device", "building": "main", **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def works(api: Api, secret: str) -> bool:
    return api.bearing(secret).get("/v1/buildings/main/events").status_code == 200


def test_a_replaced_key_is_good_until_its_grace_ends(api: Api, operator: httpx2.Client) -> None:
    old = made(operator)
    new = made(operator, replaces=old["id"])
    assert new["rotated_from"] == old["id"] and new["secret"] != old["secret"]
    ends = datetime.fromisoformat(operator.get(f"{KEYS}/{old['id']}").json()["expires_at"])
    assert abs(ends - datetime.now(UTC) - timedelta(hours=24)) < timedelta(minutes=1)
    assert works(api, old["secret"]) and works(api, new["secret"])


def test_without_grace_a_replaced_key_ends_at_once_even_ones_own(api: Api) -> None:
    secret = api.key()
    client = api.bearing(secret)
    own = client.get(KEYS).json()["items"][0]["id"]
    new = made(client, scope="operator", building=None, replaces=own, grace_hours=0)
    assert client.get(KEYS).status_code == 401
    assert api.bearing(new["secret"]).get(KEYS).status_code == 200


def test_a_grace_prolongs_no_key(operator: httpx2.Client) -> None:
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    old = made(operator, expires_at=soon)
    made(operator, replaces=old["id"])
    assert operator.get(f"{KEYS}/{old['id']}").json()["expires_at"] == old["expires_at"]


def test_a_key_is_replaced_by_its_like_while_it_lives(operator: httpx2.Client) -> None:
    old = made(operator)
    body = {"name": "gate", "scope": "operator", "building": "main", "replaces": old["id"]}
    assert problem_of(operator.post(KEYS, json=body)) == (422, "invalid-request")
    assert problem_of(operator.post(KEYS, json=body | {"scope": "device", "replaces": "key_none"})) == (
        404,
        "not-found",
    )
    operator.delete(f"{KEYS}/{old['id']}")
    assert problem_of(operator.post(KEYS, json=body | {"scope": "device"})) == (409, "conflict")
    assert len(operator.get(KEYS).json()["items"]) == 2


def test_a_key_is_renamed_and_its_end_moved(api: Api, operator: httpx2.Client) -> None:
    key = made(operator)
    path = f"{KEYS}/{key['id']}"
    assert operator.patch(path, json={"name": "garage"}).json()["name"] == "garage"
    assert works(api, key["secret"])
    ended = operator.patch(path, json={"expires_at": "2020-01-01T00:00:00Z"}).json()
    assert ended["expires_at"].startswith("2020") and ended["name"] == "garage"
    assert not works(api, key["secret"])
    operator.patch(path, json={"expires_at": None})
    assert works(api, key["secret"])
    own = operator.get(KEYS).json()["items"]
    me = next(item["id"] for item in own if item["scope"] == "operator")
    assert problem_of(operator.patch(f"{KEYS}/{me}", json={"expires_at": None})) == (409, "conflict")
    assert operator.patch(f"{KEYS}/{me}", json={"name": "me"}).status_code == 200


def test_a_building_s_operator_manages_the_keys_of_that_building(api: Api, operator: httpx2.Client) -> None:
    operator.post("/v1/buildings", json={"id": "tower", "name": "Tower"})
    local = api.client(Scope.OPERATOR, "tower")
    foreign, own = made(operator), made(local, building="tower")
    path = f"{KEYS}/{foreign['id']}"
    assert problem_of(local.get(path)) == (404, "not-found")
    assert problem_of(local.patch(path, json={"name": "mine"})) == (404, "not-found")
    assert problem_of(local.delete(path)) == (404, "not-found")
    stolen = {"name": "x", "scope": "device", "building": "tower", "replaces": foreign["id"]}
    assert problem_of(local.post(KEYS, json=stolen)) == (404, "not-found")
    for building in (None, "main"):
        body = {"name": "x", "scope": "viewer", "building": building}
        assert problem_of(local.post(KEYS, json=body)) == (403, "other-building")
    assert {item["building"] for item in local.get(KEYS).json()["items"]} == {"tower"}
    assert local.delete(f"{KEYS}/{own['id']}").status_code == 204
    assert works(api, foreign["secret"])


def test_the_last_use_of_a_key_is_noted_once_a_minute(api: Api, operator: httpx2.Client) -> None:
    key = made(operator)
    assert key["last_used_at"] is None

    def last_use() -> str | None:
        used = operator.get(f"{KEYS}/{key['id']}").json()["last_used_at"]
        return None if used is None else str(used)

    assert works(api, key["secret"])
    wait_until(lambda: last_use() is not None)
    first = last_use()
    with api.services.store.session() as session:
        keys.touch(session, key["id"])
    assert last_use() == first


@pytest.mark.parametrize("hours", [-1, 721, "1", None])
def test_a_grace_is_a_sensible_number(operator: httpx2.Client, hours: object) -> None:
    body = {"name": "x", "scope": "viewer", "building": None, "replaces": made(operator)["id"], "grace_hours": hours}
    assert problem_of(operator.post(KEYS, json=body)) == (422, "invalid-request")
