"""Webhooks over REST: secrets are shown once, addresses are checked, and the log can be read."""

import httpx2
import pytest
from fixtures_api import Api, problem_of
from fixtures_store import access_event, claimed_camera

from app.store import audit, events

WEBHOOKS = "/v1/buildings/main/webhooks"
HOOK = {"name": "Alarm centre", "url": "https://alarm.example.org/cardea", "types": ["access.granted"]}


def test_a_webhook_goes_through_its_life(api: Api, operator: httpx2.Client) -> None:
    made = operator.post(WEBHOOKS, json=HOOK)
    assert made.status_code == 201
    secret = made.json()["secret"]
    assert secret.startswith("whsec_")
    place = f"{WEBHOOKS}/{made.json()['id']}"
    assert made.headers["location"] == place
    read = operator.get(place)
    assert read.json() == {name: value for name, value in made.json().items() if name != "secret"}
    changed = operator.patch(place, json={"types": [], "enabled": False}, headers={"If-Match": read.headers["etag"]})
    assert (changed.json()["types"], changed.json()["enabled"], changed.json()["name"]) == ([], False, HOOK["name"])
    assert problem_of(operator.patch(place, json={"name": "X"}, headers={"If-Match": '"1"'})) == (
        412,
        "precondition-failed",
    )
    newer = operator.post(f"{place}/secrets")
    assert newer.status_code == 201
    assert newer.json()["secret"] not in (secret, "")
    assert secret not in operator.get(WEBHOOKS).text
    assert operator.delete(place).status_code == 204
    assert problem_of(operator.get(place)) == (404, "not-found")
    with api.services.store.reading() as session:
        told = [entry.action for entry in audit.listing(session, 10, action="webhook.").items]
    assert told == ["webhook.deleted", "webhook.secret_added", "webhook.updated", "webhook.created"]


def test_deliveries_are_logged_and_can_be_sent_again(api: Api, operator: httpx2.Client) -> None:
    place = f"{WEBHOOKS}/{operator.post(WEBHOOKS, json=HOOK | {'types': []}).json()['id']}"
    camera = claimed_camera(api.services.store)
    for number in (1, 2, 3):
        with api.services.store.session() as session:
            events.add(session, access_event(camera, number))
    first = operator.get(f"{place}/deliveries", params={"page_size": 2}).json()
    rest = operator.get(f"{place}/deliveries", params={"page_size": 2, "page_token": first["next_page_token"]}).json()
    log = first["items"] + rest["items"]
    assert [one["event"] for one in log] == [f"{camera.id}.1.{number}" for number in (3, 2, 1)]
    assert {one["state"] for one in log} == {"waiting"}
    assert operator.get(place).json()["waiting"] == 3
    again = operator.post(f"{place}/deliveries", json={"event": f"{camera.id}.1.2"})
    assert (again.status_code, again.json()["attempts"]) == (201, 0)
    assert problem_of(operator.post(f"{place}/deliveries", json={"event": "nothing"})) == (404, "not-found")


@pytest.mark.parametrize(
    "body",
    [
        HOOK | {"url": "http://alarm.example.org/"},
        HOOK | {"url": "https://169.254.169.254/"},
        HOOK | {"url": "https://localhost.:0/"},
        HOOK | {"url": "file:///etc/passwd"},
        HOOK | {"types": ["access.everything"]},
        HOOK | {"secret": "mine"},
        {"url": HOOK["url"]},
    ],
)
def test_what_could_never_work_is_refused(lasting_operator: httpx2.Client, body: dict[str, object]) -> None:
    assert problem_of(lasting_operator.post(WEBHOOKS, json=body)) == (422, "invalid-request")
