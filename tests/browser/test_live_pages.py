"""What a live page shows after it could not listen: it was hidden, cut off, refused, or told of a gap."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from fixtures_api import Api
from fixtures_browser import Desk, desk_at
from fixtures_redis import RedisServer, make_event, open_stream
from fixtures_store import access_event, camera_event, silence
from fixtures_web import House, furnish

from app.store import cameras, events, keys
from app.types import Camera, CameraState, Event

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# Chromium without a window is always visible, so the page is told otherwise.
HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
LOADED = "performance.timeOrigin"


@pytest.fixture
def house(api: Api) -> Iterator[House]:
    """A building whose camera is online, and whose worker lives as long as the test."""
    made, ended = furnish(api.services.store, "main"), threading.Event()
    happen(api, camera_event(watched(api), 3))

    def live() -> None:
        while not ended.wait(1):
            silence(api.services.store, "watcher of main", 0)

    thread = threading.Thread(target=live, name="heartbeats")
    thread.start()
    yield made
    ended.set()
    thread.join()


def watched(api: Api) -> Camera:
    with api.services.store.reading() as session:
        (camera,) = cameras.watched(session, "watcher of main")
    return camera


def happen(api: Api, *made: Event) -> None:
    """Store events, without a word to the event stream."""
    with api.services.store.session() as session:
        for event in made:
            events.add(session, event)


def trouble(api: Api, sequence: int = 4) -> None:
    """Let the camera go offline and a stranger come."""
    camera, moment = watched(api), datetime.now(UTC)
    offline = replace(camera_event(camera, sequence, CameraState.OFFLINE), at=moment)
    happen(api, offline, access_event(camera, sequence + 1, decided_at=moment))


def open_live(desk: Desk, path: str) -> None:
    """Go to a live page and wait for its connection."""
    with desk.page.expect_response(lambda answer: "/live?" in answer.url):
        desk.open(path)


@contextmanager
def nobody_looks(desk: Desk) -> Iterator[None]:
    """Have the tab hidden, and then looked at again."""
    desk.page.evaluate(HIDE, True)
    yield
    desk.page.evaluate(HIDE, False)


def test_what_came_while_nobody_looked_is_shown_and_only_that_is_read_out(
    api: Api, house: House, chromium: "Browser"
) -> None:
    camera = watched(api)
    with desk_at(chromium, api.address) as desk:
        page = desk.page
        desk.log_in(api.key())
        open_live(desk, house.path)
        page.get_by_text("1 camera, nothing to do").wait_for()
        page.locator(f"[data-event='{house.granted}'] .headline a").focus()
        loaded = page.evaluate(LOADED)
        with nobody_looks(desk):
            trouble(api)
        page.get_by_text("1 of 1 cameras needs you").wait_for()
        tile = page.locator("article", has_text="Front door")
        assert "Cannot be reached" in tile.inner_text() and "Check the camera's power" in tile.inner_text()
        assert "bad" in str(tile.get_attribute("class"))
        shown = page.locator("[data-feed] > li").evaluate_all("(all) => all.map((one) => one.dataset.event)")
        assert shown == [f"{camera.id}.1.5", house.unknown, house.granted]
        assert page.locator("#said").inner_text() == "A stranger. Front door: Cannot be reached"
        assert page.evaluate("document.activeElement.closest('li')?.dataset.event") == house.granted
        with nobody_looks(desk):
            happen(api, *(access_event(camera, number, decided_at=datetime.now(UTC)) for number in range(6, 20)))
        page.locator(f"[data-event='{camera.id}.1.19']").wait_for()
        assert page.locator("[data-feed] > li").count() == 8
        assert page.locator("#said").inner_text() == "A stranger. A stranger. A stranger. 5 more"
        assert page.evaluate(LOADED) == loaded


def test_a_connection_that_broke_leaves_no_hole(api: Api, house: House, chromium: "Browser") -> None:
    with desk_at(chromium, api.address) as desk:
        page = desk.page
        desk.log_in(api.key())
        open_live(desk, f"{house.path}/events?decision=unknown")
        live = page.get_by_text("Live", exact=True)
        live.wait_for()
        api.services.closing.set()  # as a server does that ends
        live.wait_for(state="hidden")
        trouble(api)
        api.services.closing.clear()
        page.locator(f"[data-event='{house.camera}.1.5']").wait_for()
        live.wait_for()
        assert page.locator("[data-feed] > li").count() == 2


def test_a_page_that_was_refused_asks_again(api: Api, house: House, chromium: "Browser") -> None:
    with desk_at(chromium, api.address) as desk:
        page = desk.page
        desk.log_in(api.key())
        page.route("**/live?*", lambda route: route.fulfill(status=502))  # as a proxy whose server starts
        desk.open(f"{house.path}/events")
        page.wait_for_timeout(1000)
        assert not page.get_by_text("Live", exact=True).is_visible()
        page.unroute("**/live?*")
        trouble(api)
        page.get_by_text("Live", exact=True).wait_for()
        page.locator(f"[data-event='{house.camera}.1.5']").wait_for()
        desk.complaints.clear()


def test_a_gap_leaves_a_form_as_it_was_typed(
    api: Api, house: House, chromium: "Browser", redis_server: RedisServer
) -> None:
    with desk_at(chromium, api.address) as desk, open_stream(redis_server.url) as stream:
        page = desk.page
        stream.add(make_event(1), has_snapshot=False)
        desk.log_in(api.key())
        open_live(desk, f"{house.path}/cameras/{house.camera}")
        page.get_by_label("Name").fill("Back door")
        trouble(api)
        redis_server.lose_everything()
        page.get_by_text("Cannot be reached").first.wait_for()
        assert page.get_by_label("Name").input_value() == "Back door"


def test_what_cannot_be_caught_up_with_is_loaded_anew(api: Api, house: House, chromium: "Browser") -> None:
    with desk_at(chromium, api.address) as desk:
        desk.log_in(api.key())
        open_live(desk, house.path)
        with nobody_looks(desk), api.services.store.session() as session:
            cameras.delete(session, "main", house.camera)
        desk.page.get_by_text("No camera yet").wait_for()
        desk.open(f"{house.path}/events")
        desk.page.get_by_text("Live", exact=True).wait_for()
        with nobody_looks(desk), api.services.store.session() as session:
            for record in keys.listing(session, 10).items:
                keys.revoke(session, record.id)
        desk.page.get_by_label("Key").wait_for()
        assert "/login" in desk.page.url
