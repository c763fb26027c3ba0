"""The pages without a browser: every one as another building's visitor, as a viewer, and with what people type."""

import html
import json
import re
from collections.abc import Callable, Iterator

import pytest
from fastapi.routing import APIRoute
from fixtures_api import Api
from fixtures_redis import RedisServer, make_event, open_stream, wait_until
from fixtures_store import PostgresServer, silence
from fixtures_web import SECRET, House, Visitor, furnish

from app.store import audit, buildings, cameras, events, people
from app.store.records import BuildingFields, PersonFields, Scope, Verdict
from app.web.app import SECTIONS

Visit = Callable[..., Visitor]


def requests(house: House, building: str | None = None) -> Iterator[tuple[str, str]]:
    """Method and path of every page of a building, with this house's ids."""
    ids = {"camera": house.camera, "person": house.person, "photo": house.photo, "event": house.granted}
    ids |= {"building": building or house.building, "api_key": "key_none"}
    for route in (route for section in SECTIONS for route in section.router.routes):
        assert isinstance(route, APIRoute)
        if "{building}" in route.path:
            for method in route.methods:
                yield method, route.path.format(**ids)


def test_another_buildings_visitor_sees_and_changes_nothing(api: Api, visit: Visit) -> None:
    annex = furnish(api.services.store, "annex", "Grace Hopper")
    visitor = visit(Scope.OPERATOR, "main")
    token, walked = visitor.token(), 0
    for method, path in requests(annex):
        answer = visitor.client.request(method, path, data={"csrf": token} if method == "POST" else None)
        assert answer.status_code == 403, (method, path)
        assert "Grace Hopper" not in answer.text, path
        walked += 1
    assert walked >= 35
    for method, path in requests(annex, "main"):  # under the own building's path its ids are unknown
        if any(identity in path for identity in (annex.camera, annex.person, annex.granted)):
            answer = visitor.client.request(method, path, data={"csrf": token} if method == "POST" else None)
            assert answer.status_code in (404, 422), (method, path, answer.status_code)
            assert "Grace Hopper" not in answer.text, path
    with api.services.store.reading() as session:
        assert people.get(session, "annex", annex.person) and cameras.get(session, "annex", annex.camera)
        assert events.get(session, "annex", annex.granted).correction is None
    assert "annex" not in visitor.client.get("/", follow_redirects=True).text


def test_a_viewer_sees_every_page_and_no_button_that_changes_something(api: Api, visit: Visit) -> None:
    house = furnish(api.services.store, "main")
    viewer = visit(Scope.VIEWER, "main")
    token = viewer.token()
    for method, path in requests(house):
        if path.endswith("/live") or path.endswith("/still"):
            continue
        answer = viewer.client.request(method, path, data={"csrf": token} if method == "POST" else None)
        operators = method == "POST" or path.endswith(("/new", "/erase", "/keys", "/audit", "/gallery-health"))
        assert answer.status_code == (403 if operators else 200), (method, path, answer.status_code)
        forms = re.findall(r'<form[^>]*action="([^"]*)"[^>]*method="post"', answer.text)
        assert set(forms) <= {"/theme", "/logout"}, path


def test_without_a_session_every_page_leads_to_the_login(api: Api) -> None:
    house = furnish(api.services.store, "main")
    client = api.bearing(None)
    for method, path in requests(house):
        answer = client.request(method, path)
        assert answer.status_code == 303 and answer.headers["location"].startswith("/login"), (method, path)


def test_who_sees_several_buildings_chooses_one(api: Api, visit: Visit) -> None:
    visitor = visit()
    assert visitor.get("/").headers["location"] == "/buildings/main"
    with api.services.store.session() as session:
        buildings.create(session, "annex", BuildingFields("The annex"))
    assert "/buildings/annex" in visitor.get("/").text
    assert visitor.get("/buildings?building=annex").headers["location"] == "/buildings/annex"
    assert visitor.get("/buildings?building=nowhere").headers["location"] == "/"


def test_no_page_shows_a_cameras_password(api: Api, visit: Visit) -> None:
    house, visitor = furnish(api.services.store, "main"), visit()
    for path in ("", "/cameras", f"/cameras/{house.camera}", "/performance", "/audit", "/events"):
        assert SECRET not in visitor.get(house.path + path).text
    shown = visitor.get(f"{house.path}/cameras/{house.camera}").text
    assert "rtsp://user:***@192.0.2.1/1" in shown
    revision = re.search(r'name="revision" value="(\d+)"', shown)
    assert revision is not None
    form = {"name": "Front", "fps": "5", "transport": "tcp", "revision": revision[1], "enabled": "on"}
    saved = visitor.post(f"{house.path}/cameras/{house.camera}", source="rtsp://user:***@192.0.2.1/1", **form)
    assert saved.status_code == 303, saved.text
    with api.services.store.reading() as session:
        fields = cameras.get(session, "main", house.camera).fields
    assert fields.source == f"rtsp://user:{SECRET}@192.0.2.1/1" and fields.name == "Front"
    again = visitor.post(f"{house.path}/cameras", source=f"rtsp://user:{SECRET}@192.0.2.9/1", **form | {"fps": "99"})
    assert again.status_code == 422 and SECRET not in again.text and "at most 30" in again.text


def test_what_people_type_is_shown_as_text(api: Api, visit: Visit) -> None:
    visitor = visit()
    name = '"><script>alert(1)</script>{{ 7 * 7 }}'
    made = visitor.post("/buildings/main/persons", name=name)
    page = visitor.get(made.headers["location"]).text
    assert "<script>alert" not in page and name in html.unescape(page)


def test_errors_stand_at_their_fields_and_nothing_typed_is_lost(api: Api, visit: Visit) -> None:
    visitor = visit()
    with api.services.store.session() as session:
        people.create(session, "main", PersonFields("Grace Hopper", external_id="flat 1"))
    bad = {"name": "Eileen", "external_id": "flat 1", "groups": "residents, staff", "valid_from": "2031-01-01T00:00"}
    answer = visitor.post("/buildings/main/persons", **bad, valid_until="2030-01-01T00:00")
    assert answer.status_code == 422 and 'id="valid_until-wrong"' in answer.text and "residents, staff" in answer.text
    answer = visitor.post("/buildings/main/persons", **bad)
    assert answer.status_code == 422 and 'id="external_id-wrong"' in answer.text
    answer = visitor.post("/buildings/main/persons", name="")
    assert answer.status_code == 422 and "Please fill this in." in answer.text


def test_times_are_those_of_the_visitors_zone_and_keep_their_seconds(api: Api, visit: Visit) -> None:
    visitor = visit()
    visitor.client.cookies.set("zone", "Europe/Berlin")
    made = visitor.post("/buildings/main/persons", name="Eileen", valid_until="2031-07-01T10:00")
    person = made.headers["location"].rpartition("/")[2]
    with api.services.store.reading() as session:
        until = people.get(session, "main", person).fields.valid_until
    assert until is not None and until.isoformat() == "2031-07-01T08:00:00+00:00"
    assert 'value="2031-07-01T10:00"' in visitor.get(made.headers["location"]).text


def test_somebody_elses_change_is_not_overwritten(api: Api, visit: Visit) -> None:
    house, visitor = furnish(api.services.store, "main"), visit()
    path = f"{house.path}/persons/{house.person}"
    assert visitor.post(path, name="Eileen", revision="1").status_code == 303
    late = visitor.post(path, name="Grace", revision="1")
    assert late.status_code == 422 and "Somebody changed this meanwhile" in late.text


def test_one_click_says_that_it_was_somebody_else(api: Api, visit: Visit) -> None:
    house, visitor = furnish(api.services.store, "main"), visit()
    feed = visitor.get(f"{house.path}/events").text
    assert "This was not Eileen Collins" in feed
    said = visitor.post(f"{house.path}/events/{house.granted}/correction", verdict="wrong_person")
    assert said.status_code == 303
    with api.services.store.reading() as session:
        correction = events.get(session, "main", house.granted).correction
        (entry,) = audit.listing(session, 9, None, "main", "event.corrected").items
    assert correction is not None and correction.verdict is Verdict.WRONG_PERSON
    assert entry.actor.kind == "session" and entry.target == house.granted
    page = visitor.get(said.headers["location"]).text
    assert "Corrected: This was not Eileen Collins" in page
    assert visitor.post(f"{house.path}/events/{house.granted}/correction/undo").status_code == 303
    wrong = visitor.post(f"{house.path}/events/{house.unknown}/correction", verdict="wrong_person")
    assert wrong.status_code == 422


def test_somebody_is_enrolled_from_an_event(api: Api, visit: Visit, portrait_files: dict[str, bytes]) -> None:
    house, visitor = furnish(api.services.store, "main", "Eileen Collins", portrait_files["Grace Hopper"]), visit()
    path = f"{house.path}/events/{house.unknown}"
    found = visitor.get(f"{path}?who=eil").text
    assert "This was Eileen Collins" in found and "Add this face to Eileen Collins" in found
    made = visitor.post(f"{path}/enrolment", name="Grace Hopper")
    assert made.status_code == 303, made.text
    page = visitor.get(made.headers["location"]).text
    assert "Grace Hopper" in page and "from an event" in page and page.count("/image") == 1
    grey = furnish(api.services.store, "annex")
    refused = visitor.post(f"{grey.path}/events/{grey.unknown}/enrolment", name="Nobody")
    assert refused.status_code == 422 and "No face was found" in refused.text


def test_a_camera_is_tried_before_it_is_saved(api: Api, visit: Visit) -> None:
    house, visitor = furnish(api.services.store, "main"), visit()
    form = {"name": "Gate", "source": f"rtsp://user:{SECRET}@127.0.0.1:9/1", "fps": "5", "transport": "tcp"}
    told = visitor.post(f"{house.path}/cameras/check", **form)
    assert told.status_code == 200 and "Cannot be reached" in told.text and "power and network" in told.text
    assert SECRET not in told.text and 'value="Gate"' in told.text
    wrong = visitor.post(f"{house.path}/cameras/check", **form | {"source": "http://127.0.0.1/1"})
    assert wrong.status_code == 422 and 'id="source-wrong"' in wrong.text
    with api.services.store.reading() as session:
        assert len(cameras.listing(session, "main", 9).items) == 1


def test_lists_page_without_a_script(api: Api, visit: Visit) -> None:
    visitor = visit()
    with api.services.store.session() as session:
        for number in range(51):
            people.create(session, "main", PersonFields(f"Person {number:02}"))
    first = visitor.get("/buildings/main/persons?search=person").text
    onward = re.search(r'rel="next" href="([^"]+)"', first)
    assert "Person 49" in first and "Person 50" not in first and onward is not None
    second = visitor.get("/buildings/main/persons" + html.unescape(onward[1])).text
    assert "Person 50" in second and "Person 49" not in second


def test_a_photo_is_judged_before_and_at_enrolment(api: Api, visit: Visit, portrait_files: dict[str, bytes]) -> None:
    visitor = visit()
    made = visitor.post("/buildings/main/persons", name="Eileen Collins").headers["location"]
    good = {"photo": ("eileen.png", portrait_files["Eileen Collins"])}
    told = visitor.post("/buildings/main/face-check", good).json()
    assert told["usable"] and len(told["box"]) == 4
    told = visitor.post("/buildings/main/face-check", {"photo": ("me.gif", b"GIF89a")}).json()
    assert not told["usable"] and told["words"]
    refused = visitor.post(f"{made}/photos", {"photo": ("me.gif", b"GIF89a")})
    assert refused.status_code == 422 and 'id="photo-wrong"' in refused.text
    assert visitor.post(f"{made}/photos", good).status_code == 303
    page = visitor.get(made).text
    assert page.count("/image") == 1
    assert visitor.get(f"{made}/face").headers["content-type"] == "image/jpeg"
    again = visitor.post(f"{made}/photos", good)
    assert again.status_code == 422 and "enrolled already" in again.text


def test_what_is_remarkable_about_a_photo_is_on_the_persons_page(
    visit: Visit, portrait_files: dict[str, bytes], faces: dict[str, bytes]
) -> None:
    visitor = visit()
    first, twin = (
        visitor.post("/buildings/main/persons", name=name).headers["location"] for name in ("Eileen", "Twin")
    )
    assert visitor.post(f"{first}/photos", {"photo": ("a.png", portrait_files["Eileen Collins"])}).status_code == 303
    enrolled = visitor.post(f"{twin}/photos", {"photo": ("b.jpg", faces["Eileen Collins"])}).headers["location"]
    page = visitor.get(enrolled.partition("#")[0]).text
    assert "is it the same person twice?" in page and f'<a href="{first}">Eileen</a>' in page
    nothing = visitor.get(f"{twin}?saved=photo&notice=nonsense&notice=low_quality&other=nobody").text
    assert "A poor photo" in nothing and nothing.count('class="notice doubt"') == 1


def test_an_erasure_needs_a_yes_and_shows_its_receipt(api: Api, visit: Visit) -> None:
    house, visitor = furnish(api.services.store, "annex"), visit()
    silence(api.services.store, "watcher of annex", 60)  # nobody needs to wait for it
    path = f"{house.path}/persons/{house.person}/erase"
    assert visitor.post(path).status_code == 422
    receipt = visitor.post(path, sure="on")
    assert receipt.status_code == 200 and "Receipt" in receipt.text and house.person in receipt.text
    assert "Eileen" not in visitor.get(f"{house.path}/events").text
    assert visitor.get(f"{house.path}/persons/{house.person}").status_code == 404


def test_a_key_is_shown_once_and_revoked(api: Api, visit: Visit) -> None:
    visitor = visit()
    made = visitor.post("/buildings/main/keys", name="Desk", scope="viewer")
    secret = re.search(r"cardea_[\w-]{43}", made.text)
    assert secret is not None and secret[0] not in visitor.get("/buildings/main/keys").text
    other = visit(key=secret[0])
    revoke = re.search(r'action="(/buildings/main/keys/[^"]+/revoke)"', visitor.get("/buildings/main/keys").text)
    assert revoke is not None and visitor.post(revoke[1]).status_code == 303
    assert other.get("/buildings/main").headers["location"].startswith("/login")


def test_a_live_page_learns_of_its_sessions_end(api: Api, visit: Visit) -> None:
    visitor = visit()
    with visitor.client.stream("GET", "/buildings/main/live") as answer:
        lines = answer.iter_lines()
        assert answer.headers["content-type"].startswith("text/event-stream") and next(lines) == ": welcome"
        visitor.post("/logout")
        assert next(line for line in lines if line.startswith("event")) == "event: ended"
    gone = visitor.get("/buildings/main/live", Accept="text/event-stream")
    assert gone.status_code == 204  # tells the browser not to come back


@pytest.mark.parametrize("api", ["postgres"], indirect=True)
def test_a_live_page_learns_that_it_missed_something_while_the_store_was_away(
    api: Api, visit: Visit, redis_server: RedisServer, postgres_server: PostgresServer
) -> None:
    house, visitor = furnish(api.services.store, "main"), visit()
    clients = redis_server.client.client_list
    with (
        open_stream(redis_server.url) as stream,
        visitor.client.stream("GET", f"{house.path}/live") as answer,
    ):
        wait_until(lambda: any(client["cmd"].startswith("xread") for client in clients()))
        postgres_server.stop("fast")
        try:
            stream.add(make_event(1), has_snapshot=False)
            told = (line for line in answer.iter_lines() if line.startswith("event"))
            assert next(told) == "event: gap"
        finally:
            postgres_server.start()


def test_a_filter_that_makes_no_sense_is_no_error(api: Api, visit: Visit) -> None:
    house, visitor = furnish(api.services.store, "main"), visit()
    for query in ("since=soon", "until=9999-99-99", "decision=maybe", "camera=nobody", "noun=nothing"):
        assert visitor.get(f"{house.path}/events?{query}").status_code == 200, query
    assert visitor.get(f"{house.path}/events?page_token=x").status_code == 422
    only = visitor.get(f"{house.path}/events?decision=unknown").text
    assert house.unknown in only and house.granted not in only
    assert json.dumps(house.granted)[1:-1] in visitor.get(f"{house.path}/events?until=2026-03-01").text


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Midway"])
def test_a_filter_at_the_ends_of_the_calendar_leaves_nothing_out(api: Api, visit: Visit, zone: str) -> None:
    house, visitor = furnish(api.services.store, "main"), visit()
    visitor.client.cookies.set("zone", zone)
    for query in ("since=0001-01-01", "until=9999-12-31", "until=9999-12-30", "since=0001-01-01&until=9999-12-31"):
        answer = visitor.get(f"{house.path}/events?{query}")
        assert answer.status_code == 200 and house.granted in answer.text, query
    assert house.granted not in visitor.get(f"{house.path}/events?until=0001-01-01").text
