"""A day at the dashboard in a real browser, over a running house: enrol, see a grant arrive, correct it, erase."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fixtures_browser import Desk, Household, Screens, desk_at
from fixtures_redis import wait_until

from app.cli.demo_clip import RESIDENT

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# Whether the canvas of a tile shows more than one colour.
PAINTED = """(canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return new Set(data.filter((_, place) => place % 997 === 0)).size > 10;
}"""


def test_a_day_at_the_front_desk(
    household: Household,
    chromium: "Browser",
    portrait_files: dict[str, bytes],
    tmp_path: Path,
    screens: Screens,
) -> None:
    with desk_at(chromium, household.address) as desk:
        desk.log_in(household.key)
        _enrol(desk, portrait_files[RESIDENT], tmp_path, screens)
        _see_the_grant(desk, screens)
        if screens.best is not None:
            _take_the_other_pictures(chromium, household, screens)
        _miss_the_picture(desk)
        _correct(desk)
        _erase(desk, screens)
        desk.complaints[:] = [told for told in desk.complaints if "404" not in told]  # pictures that were erased
    assert household.worker._galleries.of("main").templates == 0


def _enrol(desk: Desk, portrait: bytes, folder: Path, screens: Screens) -> None:
    page = desk.page
    page.get_by_role("link", name="Persons").first.click()
    page.get_by_role("link", name="Add a person").click()
    page.get_by_label("Name").fill(RESIDENT)
    page.get_by_label("Groups").fill("residents")
    page.get_by_label("Your own reference").fill("Flat 12")
    page.get_by_role("button", name="Add and go on").click()
    (folder / "notes.png").write_bytes(b"no picture")
    page.get_by_label("Add a photo").set_input_files(folder / "notes.png")
    page.get_by_text("JPEG, PNG or WebP picture").wait_for()
    assert page.get_by_role("button", name="Enrol this photo").is_disabled()
    (folder / "eileen.png").write_bytes(portrait)
    page.get_by_label("Add a photo").set_input_files(folder / "eileen.png")
    page.get_by_text("This photo is good.").wait_for()
    screens.take(page, "enrol")
    page.get_by_role("button", name="Enrol this photo").click()
    page.get_by_text("The photo is enrolled.").wait_for()


def _see_the_grant(desk: Desk, screens: Screens) -> None:
    page = desk.page
    page.get_by_role("link", name="Doors").first.click()
    page.get_by_text("1 of 3 cameras needs you").wait_for()
    garage = page.locator("article", has_text="Garage")
    assert "Password refused" in garage.inner_text() and "Enter user and password" in garage.inner_text()
    front = page.locator("article", has_text="Front door").locator("canvas")
    front.wait_for(state="visible")
    assert front.evaluate(PAINTED)
    loaded = page.evaluate("performance.timeOrigin")
    page.get_by_text(f"{RESIDENT} may enter").first.wait_for(timeout=60_000)
    assert page.evaluate("performance.timeOrigin") == loaded, "the page was loaded anew"
    page.wait_for_timeout(600)  # the name is on the next pictures too
    screens.take(page, "doors", best=True)
    assert f"{RESIDENT} may enter" in page.locator("#said").inner_text()  # told to screen readers


def _miss_the_picture(desk: Desk) -> None:
    """A tile whose pictures end says so while its camera is online, whatever else its state tells."""
    tile = desk.page.locator("article", has_text="Front door")
    tile.evaluate("(tile) => tile.removeAttribute('data-camera')")  # no picture finds it any more
    desk.page.wait_for_timeout(500)
    tile.evaluate("(tile) => { tile.dataset.shown = 0; tile.querySelector('.state').append(', but sees nothing'); }")
    tile.get_by_text("No picture for some seconds").wait_for()


def _take_the_other_pictures(chromium: "Browser", household: Household, screens: Screens) -> None:
    for name, path, size, theme in (
        ("doors-phone-dark", "", "phone", "dark"),
        ("events-dark", "/events", "desktop", "dark"),
        ("cameras", "/cameras", "desktop", "light"),
        ("performance", "/performance", "desktop", "light"),
        ("performance-phone-dark", "/performance", "phone", "dark"),
        ("audit-phone", "/audit", "phone", "light"),
    ):
        with desk_at(chromium, household.address, size, theme, 2 if size == "phone" else 1) as desk:
            desk.log_in(household.key)
            desk.open("/buildings/main" + path)
            if not path:
                desk.page.get_by_label("Show where something moves").check()
                desk.page.locator(".entry.new").first.wait_for(timeout=60_000)  # somebody stands there now
                desk.page.wait_for_timeout(300)
            screens.take(desk.page, name, best=True)
    for name, link, size in (("event", "may enter", "desktop"), ("event-phone", "A stranger", "phone")):
        with desk_at(chromium, household.address, size, scale=2 if size == "phone" else 1) as desk:
            desk.log_in(household.key)
            desk.open("/buildings/main/events")
            desk.page.get_by_role("link", name=link).first.click()
            desk.page.get_by_role("heading", name="Why").wait_for()
            screens.take(desk.page, name, best=True)
    with desk_at(chromium, household.address, "desktop") as desk:
        desk.log_in(household.key)
        desk.open("/buildings/main/persons")
        desk.page.get_by_role("link", name=RESIDENT).click()
        screens.take(desk.page, "person", best=True)


def _correct(desk: Desk) -> None:
    page = desk.page
    page.get_by_role("link", name="Events").first.click()
    page.get_by_role("button", name=f"This was not {RESIDENT}").first.click()
    page.get_by_text(f"Corrected: This was not {RESIDENT}").wait_for()
    page.get_by_label("Who was it?").fill("gra")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("button", name="This was Grace Hopper").click()
    page.get_by_text("Corrected: This was Grace Hopper").wait_for()


def _erase(desk: Desk, screens: Screens) -> None:
    page = desk.page
    page.get_by_role("link", name="Persons").first.click()
    page.get_by_role("link", name=RESIDENT).click()
    page.get_by_role("link", name=f"Erase {RESIDENT}").click()
    page.get_by_label("Yes, erase for good").check()
    page.get_by_role("button", name="Erase").click()
    page.get_by_text("Nobody can be recognised any more").wait_for()
    assert "north: has confirmed it" in page.inner_text("main")
    screens.take(page, "receipt", best=True)
    page.get_by_role("link", name="Doors").first.click()
    wait_until(lambda: RESIDENT not in page.inner_text("main"), seconds=10)
