"""Borders: no key reaches past its building or its scope, on any route of the description; nothing changes or leaks.

The routes come from the OpenAPI document, so a new one is walked from its first day.
"""

import httpx2
import pytest
from fixtures_api import Api, problem_of
from fixtures_routes import HOLDERS, Route, furnish, routes
from sqlalchemy import select

from app.store.records import Scope
from app.store.tables import Base

LISTS = {"list_buildings", "list_api_keys", "list_operations"}  # of what the key may see
NOTED = {"audit", "idempotent_replies"}  # tables that even a refused request may write to


@pytest.fixture
def main(api: Api) -> dict[str, str]:
    """Ids of everything in "main"; there is a building "tower" too."""
    api.client().post("/v1/buildings", json={"id": "tower", "name": "Tower"}).raise_for_status()
    return furnish(api)


def everything(api: Api) -> dict[str, list[str]]:
    """All rows but those that note refusals, without the time of a key's last use."""
    found = {}
    with api.services.store.reading() as session:
        for table in Base.metadata.sorted_tables:
            columns = [column for column in table.columns if column.name != "last_used_at"]
            if table.name not in NOTED:
                found[table.name] = sorted(map(repr, session.execute(select(*columns))))
    return found


def refused(route: Route, client: httpx2.Client, path: str) -> str:
    """Code of the problem that a route answers with, which tells nothing of what is in "main"."""
    headers = {"Idempotency-Key": "border"} if route.method == "POST" else {}
    answer = route.call(client, path, headers=headers)
    told = answer.text.replace(path, "")
    for secret in ("hush", "Hush", "Resident", "rtsp:", "user"):
        assert secret not in told, (route.name, told)
    return problem_of(answer)[1]


def test_an_operator_of_another_building_reaches_nothing(api: Api, main: dict[str, str]) -> None:
    client = api.client(Scope.OPERATOR, "tower")
    before, walked = everything(api), 0
    for route in routes(api):
        if route.scope is None or route.name in LISTS:
            continue
        walked += 1
        if "{building}" in route.path:
            for building in ("main", "nowhere"):  # whether it exists shows in nothing
                path = route.filled(**main | {"building": building})
                assert refused(route, client, path) == "other-building", route.name
        else:
            expected = "not-found" if "{" in route.path else "other-building"
            assert refused(route, client, route.filled(**main)) == expected, route.name
    assert walked >= 45
    assert everything(api) == before


def test_lists_show_what_belongs_to_the_key_s_building(api: Api, main: dict[str, str]) -> None:
    local, all_over = api.client(Scope.OPERATOR, "tower"), api.client()
    for route in routes(api):
        if route.name in LISTS:
            told = local.get(route.path).text
            assert not any(known in told for known in (*main.values(), "hush")), route.name
            assert any(known in all_over.get(route.path).text for known in main.values()), route.name


@pytest.mark.parametrize("building", [None, "main"])
@pytest.mark.parametrize("scope", [Scope.VIEWER, Scope.DEVICE])
def test_a_scope_below_the_one_that_is_needed_reaches_nothing(
    api: Api, main: dict[str, str], scope: Scope, building: str | None
) -> None:
    client = api.client(scope, building)
    before, walked = everything(api), 0
    for route in routes(api):
        if route.scope is not None and scope not in HOLDERS[route.scope]:
            assert refused(route, client, route.filled(**main)) == "scope-too-small", route.name
            walked += 1
    assert walked >= 25
    assert everything(api) == before


def test_every_parameter_of_a_path_leads_to_something_here(api: Api, main: dict[str, str]) -> None:
    """Otherwise a route without a building in its path would be walked with an id that is not there for anybody."""
    reached = {
        route.name: route.call(api.client(), route.filled(**main)).status_code
        for route in routes(api)
        if "{building}" not in route.path and "{" in route.path and route.method == "GET" and route.scope is not None
    }
    assert set(reached.values()) == {200}, reached
