"""A real browser, what it complains about, and a whole house to look at: API, worker, cameras, two faces.

With ``--screens FOLDER`` the tests also leave their best pictures there, small enough for the repository.
"""

import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fixtures_redis import RedisServer
from fixtures_store import store_at
from PIL import Image
from prometheus_client import CollectorRegistry

from app.cli.demo_clip import make_empty
from app.cli.process import working
from app.cli.web import api_server, serving
from app.settings import Settings
from app.store import cameras, keys, people
from app.store.engine import Store
from app.store.records import CameraFields, PersonFields, Scope
from workers.pipeline import Nets
from workers.simulator.clip import Clip
from workers.simulator.hosting import running_camera
from workers.worker import Worker

if TYPE_CHECKING:  # importing it takes a third of a second, which other tests are spared
    from playwright.sync_api import Browser, Page

HERE = Path(__file__).parent
AXE = HERE / "browser" / "node_modules" / "axe-core" / "axe.min.js"
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SIZES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True},
}


# Waits until all pictures are there, the ones further down too.
LOADED = """() => Promise.all([...document.images].map((image) => {
  image.loading = "eager";
  return image.decode().catch(() => {});  // one that was erased has none
}))"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screens", type=Path, help="folder that gets the best pictures of the dashboard")


def lacking(what: str) -> None:
    """Skip, or fail in CI."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture
def chromium() -> Iterator["Browser"]:
    """A running Chromium of the system.

    While it runs, an event loop runs in this thread, and nobody else can start one: name it after other fixtures.
    """
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        lacking("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Desk:
    """A browser window at the dashboard of one server. Whatever the browser complains about fails the test."""

    page: "Page"
    address: str
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        """Go to a page."""
        self.page.goto(self.address + path)

    def log_in(self, key: str) -> None:
        """Log in by the form."""
        self.open("/login")
        self.page.get_by_label("Key").fill(key)
        self.page.get_by_role("button", name="Log in").click()
        self.page.get_by_role("button", name="Log out").wait_for()


@contextmanager
def desk_at(
    browser: "Browser", address: str, size: str = "desktop", theme: str = "light", scale: int = 1
) -> Iterator[Desk]:
    """Open a window of this size and theme, with `scale` pixels to a pixel of the style sheet."""
    looks: dict[str, Any] = {"color_scheme": theme, "device_scale_factor": scale}
    context = browser.new_context(**SIZES[size], **looks, locale="en-GB", timezone_id="Europe/Berlin")
    desk = Desk(context.new_page(), address)
    desk.page.set_default_timeout(20_000)
    desk.page.on("console", lambda told: desk.complaints.append(told.text) if told.type == "error" else None)
    desk.page.on("pageerror", lambda error: desk.complaints.append(str(error)))
    yield desk
    context.close()
    assert not desk.complaints


@pytest.fixture(scope="session")
def axe() -> Callable[["Page"], list[str]]:
    """Run axe-core on a page and return its serious findings, and the others."""
    if not AXE.exists():
        lacking("axe-core is not there: npm ci --prefix tests/browser")
    source = AXE.read_text()

    def run(page: "Page") -> list[str]:
        page.evaluate(source)  # the content policy would refuse it as a script of the page
        found = page.evaluate("async () => (await axe.run(document, { resultTypes: ['violations'] })).violations")
        return [
            f"{page.url} {violation['impact']}: {violation['help']}: {node['html'][:160]}"
            for violation in found
            for node in violation["nodes"]
        ]

    return run


@dataclass(frozen=True)
class Screens:
    """Where pictures go: all into the test's own folder, the chosen ones, compressed, into the repository's."""

    all: Path
    best: Path | None

    def take(self, page: "Page", name: str, *, best: bool = False) -> None:
        """Take the window as it is, without the emptiness below the page."""
        page.evaluate(LOADED)
        below = page.evaluate("Math.ceil(document.querySelector('main').getBoundingClientRect().bottom)")
        size = page.viewport_size
        assert size is not None
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], below)}
        data = page.screenshot(path=self.all / f"{name}.png", clip=clip)
        if best and self.best is not None:
            self.best.mkdir(parents=True, exist_ok=True)
            with Image.open(io.BytesIO(data)) as picture:
                small = picture.convert("RGB").quantize(
                    256, Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE
                )
            small.save(self.best / f"{name}.png", optimize=True)


@pytest.fixture
def screens(request: pytest.FixtureRequest, tmp_path: Path) -> Screens:
    """Where this test's pictures go."""
    return Screens(tmp_path, request.config.getoption("--screens"))


@dataclass
class Household:
    """A running system."""

    address: str
    key: str  # of an operator of all buildings
    store: Store
    worker: Worker


@pytest.fixture
def household(sqlite_url: str, redis_server: RedisServer, door_clip: Path, tmp_path: Path) -> Iterator[Household]:
    """API and worker over three cameras: people come to one, nobody to another, the third refuses the password."""
    settings, nets, registry = Settings(worker="north", port=0), Nets.open(), CollectorRegistry()
    with (
        closing(store_at(sqlite_url)) as store,
        running_camera(Clip.load(door_clip), user="door", password="hush") as front,
        running_camera(Clip.load(make_empty(tmp_path)), user="door", password="hush") as back,
    ):
        with store.session() as session:
            key = keys.create(session, "Front desk", Scope.OPERATOR)[1]
            cameras.create(session, "main", CameraFields("Front door", front.source, door="front"))
            cameras.create(session, "main", CameraFields("Garden door", back.source, door="garden"))
            wrong = back.source.replace("hush", "wrong")
            cameras.create(session, "main", CameraFields("Garage", wrong, door="garage"))
            people.create(session, "main", PersonFields("Grace Hopper", "Flat 7", frozenset({"residents"})))
        server = api_server(settings, store, redis_server.url, nets, registry)
        with working(settings, store, redis_server.url, nets, registry) as worker, serving(server) as address:
            yield Household(address, key, store, worker)
