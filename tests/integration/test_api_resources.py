"""Buildings, persons, cameras and keys over REST: what goes in comes out, page by page, and no change is lost."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from fixtures_api import Api, add_person, add_photo, problem_of
from fixtures_store import access_event, claimed_camera, silence

from app.store import cameras, events, keys, workers
from app.store.paging import encode
from app.store.records import Scope

PERSONS, CAMERAS = "/v1/buildings/main/persons", "/v1/buildings/main/cameras"
CAMERA = {"name": "Front door", "source": "rtsp://viewer:hush-hush@192.0.2.10/live?token=hush-hush", "door": "front"}


def all_pages(client: httpx2.Client, path: str, size: int) -> list[dict[str, Any]]:
    items, token = [], ""
    while True:
        answer = client.get(path, params={"page_size": size} | ({"page_token": token} if token else {}))
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["items"]) <= size
        items += answer.json()["items"]
        token = answer.json()["next_page_token"]
        if not token:
            return items


def test_a_person_goes_through_its_life(operator: httpx2.Client) -> None:
    body = {"name": "Zoë Ågren", "external_id": "flat-12", "groups": ["staff", "residents", "staff"]}
    made = operator.post(PERSONS, json=body | {"valid_until": "2030-12-31T23:00:00+01:00"})
    assert made.status_code == 201 and made.headers["etag"] == '"1"'
    person = made.json()
    assert person["groups"] == ["residents", "staff"] and person["valid_until"] == "2030-12-31T22:00:00Z"
    path = made.headers["location"]
    assert operator.get(path).json() == person
    changed = operator.patch(path, json={"groups": [], "valid_until": None}, headers={"If-Match": '"1"'})
    assert changed.headers["etag"] == '"2"'
    assert changed.json() == person | {
        "groups": [],
        "valid_until": None,
        "revision": 2,
        "updated_at": changed.json()["updated_at"],
    }
    assert operator.patch(path, json={"name": "Zoë"}).json()["external_id"] == "flat-12"
    assert operator.delete(path).status_code == 200
    assert problem_of(operator.get(path)) == (404, "not-found")


@pytest.mark.parametrize("resource", ["person", "camera"])
def test_a_change_based_on_an_old_revision_is_refused(operator: httpx2.Client, resource: str) -> None:
    path, body = (PERSONS, {"name": "Zoë"}) if resource == "person" else (CAMERAS, CAMERA)
    place = operator.post(path, json=body).headers["location"]
    assert operator.patch(place, json={"name": "Anna"}, headers={"If-Match": '"1"'}).status_code == 200
    late = operator.patch(place, json={"name": "Bea"}, headers={"If-Match": '"1"'})
    assert problem_of(late) == (412, "precondition-failed")
    assert operator.patch(place, json={"name": "Bea"}, headers={"If-Match": '"7", "2"'}).status_code == 200
    assert problem_of(operator.patch(place, json={"name": "C"}, headers={"If-Match": 'W/"3"'}))[0] == 412
    assert operator.patch(place, json={"name": "Cleo"}, headers={"If-Match": "*"}).json()["name"] == "Cleo"


def test_an_external_id_is_taken_once_per_building(operator: httpx2.Client) -> None:
    add_person(operator, external_id="flat-12")
    answer = operator.post(PERSONS, json={"name": "Other", "external_id": "flat-12"})
    assert problem_of(answer) == (409, "conflict")
    operator.post("/v1/buildings", json={"id": "annex", "name": "Annex"})
    assert add_person(operator, building="annex", external_id="flat-12")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#/name"),
        ({"name": ""}, "#/name"),
        ({"name": " padded "}, "#/name"),
        ({"name": "a\x00b"}, "#/name"),
        ({"name": "x" * 201}, "#/name"),
        ({"name": 5}, "#/name"),
        ({"name": "Zoë", "nickname": "Z"}, "#/nickname"),
        ({"name": "Zoë", "a/b~c": 1}, "#/a~1b~0c"),
        ({"name": "Zoë", "groups": "residents"}, "#/groups"),
        ({"name": "Zoë", "groups": ["fine", 7]}, "#/groups/1"),
        ({"name": "Zoë", "valid_from": "2030-01-01T00:00:00"}, "#/valid_from"),
        ({"name": "Zoë", "valid_from": 1893456000}, "#/valid_from"),
        ({"name": "Zoë", "valid_from": "1893456000"}, "#/valid_from"),
        ({"name": "Zoë", "valid_from": "0001-01-01T00:00:00+14:00"}, "#/valid_from"),
        (
            {"name": "Zoë", "valid_from": "2030-01-01T00:00:00Z", "valid_until": "2029-01-01T00:00:00Z"},
            "#/valid_until",
        ),
    ],
)
def test_a_person_that_breaks_the_schema_is_refused_at_the_place(
    lasting_operator: httpx2.Client, body: dict[str, Any], pointer: str
) -> None:
    answer = lasting_operator.post(PERSONS, json=body)
    assert problem_of(answer) == (422, "invalid-request")
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]


def test_a_patch_may_not_end_before_it_begins(operator: httpx2.Client) -> None:
    path = f"{PERSONS}/{add_person(operator, valid_from='2030-01-01T00:00:00Z')}"
    assert problem_of(operator.patch(path, json={"valid_until": "2029-01-01T00:00:00Z"}))[1] == "invalid-request"
    assert problem_of(operator.patch(path, json={"name": None}))[1] == "invalid-request"


@pytest.mark.parametrize("size", [1, 3, 200])
def test_pages_hold_everything_once(operator: httpx2.Client, size: int) -> None:
    names = ["Anna", "Anna", "anna", "Bea", "Zoë", "Ärla", "Cleo"]
    made = {add_person(operator, name) for name in names}
    found = all_pages(operator, PERSONS, size)
    assert len(found) == len(names) and {person["id"] for person in found} == made
    begins = operator.get(PERSONS, params={"search": "ANN"}).json()["items"]
    assert sorted(person["name"] for person in begins) == ["Anna", "Anna", "anna"]


@pytest.mark.parametrize(
    "token", ["nonsense", "WyJhIl0", "W10", "!", "WyJcdWQ4MDAiLCAieCJd", "WyJhXHUwMDAwYiIsICJ4Il0"]
)
def test_a_page_token_of_ones_own_making_is_refused(lasting_operator: httpx2.Client, token: str) -> None:
    for path in (PERSONS, CAMERAS, "/v1/buildings/main/events"):
        answer = lasting_operator.get(path, params={"page_token": token})
        assert problem_of(answer) == (422, "invalid-page-token"), path


@pytest.mark.parametrize("moment", ["2026-01-01T00:00:00", "0001-01-01T00:00:00+14:00", "noon"])
def test_a_page_of_what_is_sorted_by_time_begins_at_a_real_one(lasting_operator: httpx2.Client, moment: str) -> None:
    token = encode([moment, "cam_front.1.1"])
    for path in ("/v1/buildings/main/events", "/v1/operations"):
        answer = lasting_operator.get(path, params={"page_token": token})
        assert problem_of(answer) == (422, "invalid-page-token"), path


def test_page_sizes_have_limits(lasting_operator: httpx2.Client) -> None:
    for size in ("0", "201", "ten", "-1"):
        answer = lasting_operator.get(PERSONS, params={"page_size": size})
        assert problem_of(answer) == (422, "invalid-request")
        assert answer.json()["errors"][0]["parameter"] == "page_size"


def test_a_camera_goes_through_its_life_without_showing_its_password(api: Api, operator: httpx2.Client) -> None:
    made = operator.post(CAMERAS, json=CAMERA)
    assert made.status_code == 201
    camera, path = made.json(), made.headers["location"]
    assert camera["source"] == "rtsp://viewer:***@192.0.2.10/live?token=***"
    assert (camera["fps"], camera["transport"], camera["enabled"], camera["state"]) == (5.0, "tcp", True, None)
    timings = operator.get(f"{path}/timings").json()
    assert (timings["since"], timings["analysed"], timings["stage_ms"]) == (None, 0, {})  # no worker has seen it yet
    answers = [made, operator.get(path), operator.get(CAMERAS)]
    # What was shown is sent back as a whole by simple clients: the password stays what it was.
    shown = {name: camera[name] for name in ("name", "source", "door", "groups", "fps", "transport", "enabled")}
    answers.append(operator.patch(path, json=shown | {"fps": 2}))
    assert answers[-1].json()["fps"] == 2.0
    with api.services.store.session() as session:
        workers.start(session, "watcher", "1")
    answers.append(operator.patch(path, json={"source": "rtsp://viewer:***@192.0.2.11/live"}))
    assert problem_of(answers[-1]) == (422, "invalid-request")
    answers.append(operator.patch(path, json={"source": "http://viewer:hush-hush@192.0.2.10/live"}))
    assert problem_of(answers[-1]) == (422, "invalid-request")
    answers.append(operator.post(CAMERAS, json=CAMERA | {"source": "rtsp://viewer:hush-hush@[192.0.2.10/live"}))
    assert problem_of(answers[-1]) == (422, "invalid-request")
    assert not any("hush-hush" in answer.text for answer in answers)
    camera_of_worker = claimed_camera(api.services.store)
    assert camera_of_worker.source
    with api.services.store.reading() as session:
        assert cameras.get(session, "main", camera["id"]).fields.source == CAMERA["source"]
    assert operator.delete(path).status_code == 204
    assert problem_of(operator.get(path)) == (404, "not-found")


@pytest.mark.parametrize(
    "change",
    [
        {"source": ""},
        {"source": "file:///etc/passwd"},
        {"source": "concat:a|b"},
        {"source": "rtsp://"},
        {"source": "rtsp://" + "x" * 3000},
        {"transport": "multicast"},
        {"fps": 0},
        {"fps": 31},
        {"fps": "5"},
        {"loop": 1},
        {"ca_certificate": "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"},
        {"ca_certificate": "Zertifikat für die Tür"},
        {"owner": "me"},
        {"state": "online"},
    ],
)
def test_a_camera_that_makes_no_sense_is_refused(lasting_operator: httpx2.Client, change: dict[str, Any]) -> None:
    answer = lasting_operator.post(CAMERAS, json=CAMERA | change)
    assert problem_of(answer) == (422, "invalid-request")
    assert answer.json()["errors"][0]["pointer"] == "#/" + next(iter(change))


def test_a_camera_keeps_its_certificate_but_takes_no_private_key(operator: httpx2.Client) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "camera")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    public = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    body = CAMERA | {"source": "rtsps://camera/1", "ca_certificate": public}
    assert operator.post(CAMERAS, json=body).json()["ca_certificate"] == public
    for more in ("\0", "\0" + public):
        assert problem_of(operator.post(CAMERAS, json=body | {"ca_certificate": public + more}))[0] == 422
    refused = operator.post(CAMERAS, json=body | {"ca_certificate": public + secret})
    assert problem_of(refused) == (422, "invalid-request") and secret.splitlines()[1] not in refused.text


def test_infinity_is_no_frame_rate(lasting_operator: httpx2.Client) -> None:
    for number in ("NaN", "Infinity", "1e999"):
        text = f'{{"name": "x", "source": "rtsp://camera/1", "fps": {number}}}'
        answer = lasting_operator.post(CAMERAS, content=text, headers={"Content-Type": "application/json"})
        assert problem_of(answer)[0] in (400, 422)


def test_a_building_has_its_own_persons(operator: httpx2.Client) -> None:
    made = operator.post("/v1/buildings", json={"id": "annex", "name": "Annex"})
    assert made.status_code == 201 and operator.get(made.headers["location"]).json() == made.json()
    assert [building["id"] for building in all_pages(operator, "/v1/buildings", 1)] == ["annex", "main"]
    assert problem_of(operator.post("/v1/buildings", json={"id": "annex", "name": "Again"})) == (409, "conflict")
    assert problem_of(operator.post("/v1/buildings", json={"id": "../etc", "name": "x"}))[1] == "invalid-request"
    person = add_person(operator, building="annex")
    assert operator.get(PERSONS).json()["items"] == []
    assert problem_of(operator.get(f"{PERSONS}/{person}")) == (404, "not-found")
    assert problem_of(operator.get("/v1/buildings/nowhere/persons")) == (404, "not-found")


def test_a_key_is_shown_once_and_ends_when_revoked(api: Api, operator: httpx2.Client) -> None:
    body = {"name": "lobby screen", "scope": "viewer", "building": "main"}
    made = operator.post("/v1/api-keys", json=body)
    assert made.status_code == 201 and made.headers["cache-control"] == "no-store"
    secret = made.json()["secret"]
    assert secret.startswith(made.json()["prefix"])
    viewer = api.bearing(secret)
    assert viewer.get(PERSONS).status_code == 200
    for answer in (operator.get(made.headers["location"]), operator.get("/v1/api-keys")):
        assert secret not in answer.text and "digest" not in answer.text
    assert operator.delete(made.headers["location"]).status_code == 204
    assert problem_of(viewer.get(PERSONS)) == (401, "unauthenticated")
    for request in (operator.get, operator.delete):
        assert problem_of(request(made.headers["location"])) == (404, "not-found")
    assert problem_of(operator.patch(made.headers["location"], json={"name": "x"})) == (404, "not-found")
    listed = {key["id"]: key for key in all_pages(operator, "/v1/api-keys", 100)}
    assert listed[made.json()["id"]]["revoked_at"] is not None
    own = next(key["id"] for key in all_pages(operator, "/v1/api-keys", 100) if key["scope"] == "operator")
    assert problem_of(operator.delete(f"/v1/api-keys/{own}")) == (409, "conflict")
    assert operator.get("/v1/api-keys").status_code == 200


@pytest.mark.parametrize("change", [{"scope": "owner"}, {"scope": 1}, {"building": "Main Street"}, {"secret": "x"}])
def test_a_key_that_makes_no_sense_is_refused(lasting_operator: httpx2.Client, change: dict[str, Any]) -> None:
    body = {"name": "lobby screen", "scope": "viewer", "building": None}
    answer = lasting_operator.post("/v1/api-keys", json=body | change)
    assert problem_of(answer) == (422, "invalid-request")
    assert problem_of(lasting_operator.post("/v1/api-keys", json=body | {"building": "nowhere"})) == (404, "not-found")


def test_the_keys_of_a_building_keep_among_themselves(api: Api, operator: httpx2.Client) -> None:
    operator.post("/v1/buildings", json={"id": "annex", "name": "Annex"})
    local = api.client(Scope.OPERATOR, "annex")
    with api.services.store.session() as session:
        theirs = keys.create(session, "theirs", Scope.VIEWER, "main")[0]
    made = local.post("/v1/api-keys", json={"name": "ours", "scope": "device", "building": "annex"})
    assert made.status_code == 201
    assert {key["building"] for key in all_pages(local, "/v1/api-keys", 1)} == {"annex"}
    for building in (None, "main"):
        body = {"name": "more", "scope": "operator", "building": building}
        assert problem_of(local.post("/v1/api-keys", json=body)) == (403, "other-building")
    assert problem_of(local.get(f"/v1/api-keys/{theirs.id}")) == (404, "not-found")
    assert problem_of(local.delete(f"/v1/api-keys/{theirs.id}")) == (404, "not-found")
    assert len(operator.get("/v1/api-keys").json()["items"]) == 4


def test_an_erasure_answers_with_a_receipt(api: Api, operator: httpx2.Client, portrait_files: dict[str, bytes]) -> None:
    person = add_person(operator)
    add_photo(operator, person, portrait_files["Eileen Collins"])
    store = api.services.store
    camera = claimed_camera(store)
    with store.session() as session:
        events.add(session, access_event(camera, 1, person=person, person_name="Eileen Collins"))
        workers.heartbeat(session, "watcher", _incarnation(session), {"main": 10})
    answer = operator.delete(f"{PERSONS}/{person}")
    assert answer.status_code == 200
    receipt = answer.json()
    assert receipt["workers"] == {"watcher": "confirmed"} and receipt["complete"] is True
    counted = {name: receipt[name] for name in ("photos", "templates", "events_anonymised", "snapshots")}
    assert counted == {"photos": 1, "templates": 1, "events_anonymised": 1, "snapshots": 1}
    event = operator.get(f"/v1/buildings/main/events/{camera.id}.{camera.owner_epoch}.1").json()
    assert event["data"]["person"] is None and event["data"]["snapshot"] is None
    assert "Collins" not in operator.get("/v1/buildings/main/events").text


def test_a_silent_worker_is_waited_for_until_its_lease_ends(api: Api, operator: httpx2.Client) -> None:
    person = add_person(operator)
    claimed_camera(api.services.store)  # its worker is alive and has said nothing of its gallery
    silence(api.services.store, "watcher", 4)
    answer = operator.delete(f"{PERSONS}/{person}")
    assert answer.status_code == 200
    assert answer.json()["workers"] == {"watcher": "lease_ended"}


def _incarnation(session: Any) -> str:
    return str(next(worker.incarnation for worker in workers.live(session) if worker.id == "watcher"))
