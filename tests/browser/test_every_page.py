"""Every page in a real browser: accessible in both themes, nothing wider than a phone, usable by keyboard alone."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from fixtures_api import Api
from fixtures_browser import Desk, Screens, desk_at
from fixtures_store import access_event, camera_event, silence
from fixtures_web import House, furnish

from app.cli.demo_clip import RESIDENT, STRANGER
from app.photos import read_photo
from app.store import buildings, cameras, events, people, workers
from app.store.records import BuildingFields, CameraFields, CameraStats, PersonFields
from app.types import Decision, Reason

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LONG = "Courtyard, side entrance behind the bicycle shelter at the north wing, Donaudampfschifffahrtsgesellschaft"


@pytest.fixture
def house(api: Api, portrait_files: dict[str, bytes]) -> House:
    """A building with something of everything, and one with nothing."""
    store = api.services.store
    faces = {name: read_photo(data).encoded for name, data in portrait_files.items()}
    made = furnish(store, "main", RESIDENT, faces[RESIDENT])
    moment = datetime.now(UTC)
    with store.session() as session:
        buildings.create(session, "harbour", BuildingFields("Harbour house"))
        (camera,) = cameras.watched(session, "watcher of main")
        cameras.create(session, "main", CameraFields(LONG, "rtsp://192.0.2.7/1", door="courtyard-north"))
        people.create(session, "main", PersonFields(LONG, "Flat 9", valid_until=moment - timedelta(days=2)))
        soon = PersonFields(STRANGER, "Flat 7", valid_from=moment + timedelta(days=3), erase_on=moment + timedelta(90))
        people.create(session, "main", soon)
        pictures = {"snapshot": faces[STRANGER], "portrait": faces[STRANGER], "box": (0.3, 0.15, 0.7, 0.6)}
        unsure = (Reason.BLURRED, Reason.EXTREME_POSE)
        events.add(session, access_event(camera, 3, decided_at=moment, **pictures))
        events.add(session, access_event(camera, 4, decision=Decision.UNDECIDED, reasons=unsure, snapshot=None))
        denied = {"decision": Decision.DENIED, "reasons": (Reason.GROUP_NOT_ALLOWED,), "person": made.person}
        events.add(session, access_event(camera, 5, **denied, similarity=0.81, snapshot=faces[RESIDENT]))
        events.add(session, replace(camera_event(camera, 6), at=moment))
        spent = {
            "decode": 900.0,
            "stem": 310.0,
            "gate": 80.0,
            "tail": 700.0,
            "faces": 160.0,
            "embed": 55.0,
            "other": 90.0,
        }
        stats = CameraStats(moment - timedelta(minutes=9), 540.0, 5.0, 0.04, 2700, 500, 410, 30, spent)
        row = next(worker for worker in workers.live(session) if worker.id == "watcher of main")
        workers.heartbeat(session, row.id, row.incarnation, {"main": 1}, {camera.id: stats})
    silence(store, "watcher of main", -3600)  # its lease outlasts the test
    return made


def paths(house: House) -> dict[str, str]:
    """Every page, by a name for its picture."""
    at, person, event = house.path, f"{house.path}/persons/{house.person}", f"{house.path}/events/{house.granted}"
    return {
        "buildings": "/",
        "doors": at,
        "doors-empty": "/buildings/harbour",
        "events": f"{at}/events",
        "events-empty": "/buildings/harbour/events",
        "event": event,
        "event-who": f"{at}/events/{house.unknown}?who=e",
        "event-camera": f"{at}/events/{house.camera}.1.6",
        "persons": f"{at}/persons",
        "persons-empty": "/buildings/harbour/persons",
        "person": person,
        "person-new": f"{at}/persons/new",
        "person-erase": f"{person}/erase",
        "cameras": f"{at}/cameras",
        "camera": f"{at}/cameras/{house.camera}",
        "camera-new": f"{at}/cameras/new",
        "performance": f"{at}/performance",
        "gallery": f"{at}/gallery-health",
        "gallery-empty": "/buildings/harbour/gallery-health",
        "audit": f"{at}/audit?noun=all",
        "keys": f"{at}/keys",
        "trouble": f"{at}/persons/per_none",
    }


@pytest.mark.parametrize(("size", "theme"), [("desktop", "light"), ("phone", "dark")])
def test_every_page_is_accessible_and_fits(
    api: Api,
    house: House,
    chromium: "Browser",
    axe: Callable[["Page"], list[str]],
    screens: Screens,
    size: str,
    theme: str,
) -> None:
    findings = []
    with desk_at(chromium, api.address, size, theme) as desk:
        desk.open("/login")
        desk.page.get_by_label("Key").fill("cardea_wrong")
        desk.page.get_by_role("button", name="Log in").click()
        findings += axe(desk.page)
        screens.take(desk.page, "login-refused")
        desk.log_in(api.key())
        for name, path in paths(house).items():
            desk.open(path)
            desk.page.evaluate("for (const more of document.querySelectorAll('main details')) more.open = true")
            findings += axe(desk.page)
            too_wide = desk.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert too_wide <= 0, f"{path} is too wide by {too_wide} pixels"
            screens.take(desk.page, f"{name}-{size}-{theme}")
        desk.open(f"{house.path}/persons/new")
        desk.page.get_by_label("Name").fill("Nobody")
        desk.page.get_by_label("May enter from").fill("2031-01-01T00:00")
        desk.page.get_by_label("May enter until").fill("2030-01-01T00:00")
        desk.page.get_by_role("button", name="Add and go on").click()
        findings += axe(desk.page)
        assert desk.page.get_by_label("May enter until").get_attribute("aria-invalid") == "true"
        answers = [told for told in desk.complaints if "status of 4" in told]  # the refusals above
        assert len(answers) == 3, desk.complaints
        desk.complaints.clear()
    assert not findings, "\n".join(findings)


def test_the_keyboard_alone_is_enough(api: Api, house: House, chromium: "Browser") -> None:
    with desk_at(chromium, api.address) as desk:
        keyboard = desk.page.keyboard
        desk.open("/login")
        keyboard.type(api.key())  # the field has the focus already
        keyboard.press("Enter")
        desk.page.get_by_role("heading", name="Which building?").wait_for()
        _tab_to(desk, "Main building")
        keyboard.press("Enter")
        desk.page.get_by_role("heading", name="Doors").wait_for()
        keyboard.press("Tab")
        assert _focused(desk) == "Skip to the content"
        _tab_to(desk, "Events")
        keyboard.press("Enter")
        desk.page.get_by_role("heading", name="Events").wait_for()
        _tab_to(desk, f"This was not {RESIDENT}")
        ring = desk.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert ring == "solid", "one must see where one is"
        keyboard.press("Enter")
        desk.page.get_by_text(f"Corrected: This was not {RESIDENT}").wait_for()


def _tab_to(desk: Desk, text: str) -> None:
    for _ in range(60):
        desk.page.keyboard.press("Tab")
        if _focused(desk).startswith(text):
            return
    raise AssertionError(f"no Tab leads to {text!r}")


def _focused(desk: Desk) -> str:
    return str(desk.page.evaluate("document.activeElement.textContent.trim()"))


def test_the_switch_keeps_the_chosen_colours(api: Api, house: House, chromium: "Browser") -> None:
    with desk_at(chromium, api.address, theme="light") as desk:
        desk.log_in(api.key())
        desk.open(f"{house.path}/events?decision=denied")
        ground = "getComputedStyle(document.documentElement).backgroundColor"
        light = desk.page.evaluate(ground)
        desk.page.get_by_role("button", name="Change to dark").click()
        desk.page.get_by_role("button", name="Change to light").wait_for()
        assert desk.page.url.endswith("decision=denied") and desk.page.evaluate(ground) != light


def test_pages_work_without_a_script(api: Api, house: House, chromium: "Browser") -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(api.address + "/login")
    page.get_by_label("Key").fill(api.key())
    page.get_by_role("button", name="Log in").click()
    page.goto(api.address + house.path)
    page.get_by_label("Building").select_option("harbour")
    page.get_by_role("button", name="Go").click()
    page.get_by_role("heading", name="No camera yet").wait_for()
    page.goto(f"{api.address}{house.path}/events")
    page.get_by_role("button", name=f"This was not {RESIDENT}").first.click()
    page.get_by_text(f"Corrected: This was not {RESIDENT}").wait_for()
    context.close()
