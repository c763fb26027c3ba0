"""Logging in to the dashboard: who may, for how long, and what another site cannot do."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from fixtures_api import Api
from fixtures_redis import wait_until
from fixtures_store import store_at
from fixtures_web import Visitor
from sqlalchemy import update

from app.store import audit, keys, sessions
from app.store.clock import now
from app.store.engine import Store
from app.store.records import Scope
from app.store.tables import LoginSession
from app.web.visitor import COOKIE

Visit = Callable[..., Visitor]


def trail(api: Api, action: str) -> list[audit.AuditRecord]:
    with api.services.store.reading() as session:
        return audit.listing(session, 50, None, None, action).items


def test_a_key_becomes_a_cookie_that_scripts_and_other_sites_do_not_get(api: Api) -> None:
    answer = api.bearing(None).post("/login", data={"key": api.key(), "next": "/buildings/main/events"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/buildings/main/events")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and "path=/" in cookie and "secure" not in cookie
    (entry,) = trail(api, "login.accepted")
    assert entry.actor.kind == "session" and entry.actor.address == "127.0.0.1"


def test_over_https_the_cookie_is_for_https_alone(api: Api) -> None:
    answer = api.bearing(None).post("/login", data={"key": api.key()}, headers={"X-Forwarded-Proto": "https"})
    assert "secure" in answer.headers["set-cookie"].lower()


def test_every_refused_login_is_in_the_trail(api: Api) -> None:
    refused = {"unknown": "cardea_nonsense", "device": api.key(Scope.DEVICE), "revoked": revoked(api)}
    for secret in refused.values():
        answer = api.bearing(None).post("/login", data={"key": secret})
        assert answer.status_code == 403 and "set-cookie" not in answer.headers and secret not in answer.text
    wait_until(lambda: len(trail(api, "login.refused")) == len(refused))
    entries = trail(api, "login.refused")
    assert [entry.detail["reason"] for entry in entries] == list(refused)[::-1]
    assert not any(secret in str(entries) for secret in refused.values())


def revoked(api: Api) -> str:
    secret = api.key()
    with api.services.store.session() as session:
        found, _ = keys.examine(session, secret)
        assert found is not None
        keys.revoke(session, found.id)
    return secret


def test_nobody_tries_keys_one_after_the_other(api: Api) -> None:
    client = api.bearing(None)
    answers = [client.post("/login", data={"key": f"cardea_{number}"}).status_code for number in range(11)]
    assert answers == [403] * 10 + [429]
    assert client.post("/login", data={"key": api.key()}).status_code == 303  # others may share the address
    wait_until(lambda: len(trail(api, "login.refused")) == 11)


def test_a_session_ends_with_its_key(api: Api, visit: Visit) -> None:
    secret = api.key()
    visitor = visit(key=secret)
    assert visitor.get("/buildings/main").status_code == 200
    with api.services.store.session() as session:
        found, _ = keys.examine(session, secret)
        assert found is not None
        keys.revoke(session, found.id)
    answer = visitor.get("/buildings/main")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Fbuildings%2Fmain")


def test_logging_out_ends_the_session_whoever_kept_the_cookie(api: Api, visit: Visit) -> None:
    visitor = visit()
    kept = visitor.client.cookies[COOKIE]
    assert visitor.post("/logout").headers["location"] == "/login"
    assert visitor.get("/", Cookie=f"{COOKIE}={kept}").headers["location"] == "/login"
    assert len(trail(api, "login.ended")) == 1


@pytest.mark.parametrize(
    ("column", "ago"), [("seen_at", sessions.IDLE), ("expires_at", timedelta(0))], ids=["idle", "a week"]
)
def test_a_session_ends_by_itself(store_url: str, column: str, ago: timedelta) -> None:
    with_store = store_at(store_url)
    try:
        secret = _begun(with_store)
        with with_store.reading() as session:
            assert sessions.find(session, secret) is not None
        with with_store.session() as session:
            session.execute(update(LoginSession).values({column: now(session) - ago - timedelta(seconds=1)}))
        with with_store.reading() as session:
            assert sessions.find(session, secret) is None
        _begun(with_store)
        with with_store.reading() as session:  # the next log-in sweeps it out
            assert session.query(LoginSession).count() == 1
    finally:
        with_store.close()


def _begun(store: Store) -> str:
    with store.session() as session:
        key, _ = keys.create(session, "somebody", Scope.OPERATOR)
        return sessions.begin(session, key.id, "192.0.2.1")


def test_a_session_that_is_used_goes_on(api: Api, visit: Visit) -> None:
    visitor = visit()
    with api.services.store.session() as session:
        session.execute(update(LoginSession).values(seen_at=now(session) - sessions.IDLE / 2))
    assert visitor.get("/buildings/main").status_code == 200
    with api.services.store.reading() as session:
        (row,) = session.query(LoginSession).all()
        assert now(session) - row.seen_at < timedelta(minutes=1)


def test_a_form_of_another_site_is_refused_even_with_the_token(api: Api, visit: Visit) -> None:
    visitor = visit()
    form = {"csrf": visitor.token(), "name": "Mallory"}
    foreign = [{"Sec-Fetch-Site": site} for site in ("cross-site", "same-site")]
    foreign += [{"Origin": origin} for origin in ("https://elsewhere.example", "null")]
    for headers in foreign:
        answer = visitor.client.post("/buildings/main/persons", data=form, headers=headers)
        assert answer.status_code == 403 and "too old" in answer.text, headers
        assert visitor.client.post("/login", data={"key": api.key()}, headers=headers).status_code == 403, headers
    with api.services.store.reading() as session:
        assert not audit.listing(session, 9, None, None, "person.").items


def test_a_form_without_the_token_of_the_session_is_refused(visit: Visit) -> None:
    visitor, other = visit(), visit()
    for token in ({}, {"csrf": ""}, {"csrf": "x"}, {"csrf": "ä"}, {"csrf": other.token()}):
        answer = visitor.client.post("/buildings/main/persons", data={"name": "Mallory"} | token)
        assert answer.status_code == 403, token


def test_nobody_is_sent_to_another_site_after_the_login(api: Api) -> None:
    for target in ("https://elsewhere.example", "//elsewhere.example", "/\\elsewhere.example", ""):
        answer = api.bearing(None).post("/login", data={"key": api.key(), "next": target})
        assert (answer.status_code, answer.headers["location"]) == (303, "/"), target


def test_a_link_on_another_site_leads_through_our_own_page(visit: Visit) -> None:
    visitor = visit()
    visitor.client.cookies.clear()  # as a browser does with a strict cookie
    answer = visitor.get("/buildings/main/events", **{"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200 and 'http-equiv="refresh"' in answer.text


def test_every_answer_has_the_headers_of_a_page(api: Api, visit: Visit) -> None:
    visitor = visit()
    for path in ("/login", "/buildings/main", "/buildings/nowhere", "/buildings/main/persons/per_none", "/"):
        headers = visitor.get(path).headers
        assert headers["cache-control"] == "no-store", path
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "same-origin"
    script = visitor.get("/static/page.js")
    assert "javascript" in script.headers["content-type"] and script.headers["cache-control"] == "no-cache"
