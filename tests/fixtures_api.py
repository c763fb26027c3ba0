"""A real server with real nets, database and event stream; portraits, and what can be wrong with a photo."""

import contextlib
import functools
import io
import json
import shutil
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import uvicorn
from fixtures_redis import STREAM, RedisServer, wait_until
from fixtures_store import store_at
from PIL import Image
from prometheus_client import CollectorRegistry

from app.api.app import ApiServer, create_app
from app.api.services import Services
from app.portraits import portraits
from app.settings import Settings
from app.store import keys
from app.store.records import Scope
from app.vision.artefact import shipped
from app.vision.embedder import Embedder
from app.vision.embedders import Embedders
from app.vision.faces import FaceFinder
from app.web.app import add_dashboard

# For the tests whose queries differ: they run once more with PostgreSQL under the server.
ON_BOTH = pytest.mark.parametrize("api", ["sqlite", "postgres"], indirect=True)
HEARTBEAT = 0.5  # seconds between signs of life of the event stream


@dataclass(frozen=True)
class Api:
    """A running server and clients with keys of every scope."""

    services: Services
    address: str
    clients: contextlib.ExitStack = field(repr=False)

    def key(self, scope: Scope = Scope.OPERATOR, building: str | None = None) -> str:
        """Secret of a new key."""
        with self.services.store.session() as session:
            return keys.create(session, f"{scope} of {building}", scope, building)[1]

    def client(self, scope: Scope = Scope.OPERATOR, building: str | None = None) -> httpx2.Client:
        """A client with a new key."""
        return self.bearing(self.key(scope, building))

    def bearing(self, secret: str | None) -> httpx2.Client:
        """A client with this key, or with none."""
        headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        client = httpx2.Client(base_url=self.address, headers=headers, timeout=20, verify=False)  # spares 0.2 s
        return self.clients.enter_context(client)


@contextlib.contextmanager
def running(services: Services) -> Iterator[str]:
    """Run the server in a thread and yield its address."""
    app = create_app(services)
    add_dashboard(app)
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, http="httptools", log_config=None, timeout_graceful_shutdown=5
    )
    server = ApiServer(config, services)
    thread = threading.Thread(target=server.run, name="api")
    thread.start()
    wait_until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        assert not thread.is_alive()


@functools.cache
def installed() -> Embedders:
    """The embedders at hand, opened once."""
    return Embedders.installed()


@pytest.fixture(scope="session")
def face_nets() -> tuple[FaceFinder, Embedder]:
    """The shipped nets."""
    return FaceFinder(shipped("face_finder")), installed().of(None)


@pytest.fixture(scope="session")
def portrait_files() -> dict[str, bytes]:
    """The two public-domain portraits as they come: a PNG and a JPEG."""
    return portraits(Settings().cache)


@contextlib.contextmanager
def api_at(store_url: str, redis_url: str, nets: tuple[FaceFinder, Embedder], **more: Any) -> Iterator[Api]:
    """Run a server; `more` are further fields of its `Services`."""
    with contextlib.closing(store_at(store_url)) as store, contextlib.ExitStack() as clients:
        finder, registry = nets[0], CollectorRegistry()
        services = Services(store, finder, installed(), redis_url, STREAM, registry, heartbeat=HEARTBEAT, **more)
        with running(services) as address:
            yield Api(services, address, clients)


@pytest.fixture
def api(
    request: pytest.FixtureRequest, redis_server: RedisServer, face_nets: tuple[FaceFinder, Embedder]
) -> Iterator[Api]:
    """A running server with a database and an event stream of this test alone; on SQLite unless marked `ON_BOTH`."""
    store_url = request.getfixturevalue(f"{getattr(request, 'param', 'sqlite')}_url")
    with api_at(store_url, redis_server.url, face_nets) as made:
        yield made


@pytest.fixture
def operator(api: Api) -> httpx2.Client:
    """A client that may do everything."""
    return api.client()


@pytest.fixture(scope="session")
def lasting_api(
    sqlite_template: Path, face_nets: tuple[FaceFinder, Embedder], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    """One server for all tests whose requests are refused. Its event stream is never there."""
    file = shutil.copy(sqlite_template, tmp_path_factory.mktemp("lasting") / "cardea.db")
    with api_at(f"sqlite:///{file}", "redis://127.0.0.1:1/0", face_nets) as made:
        yield made


@pytest.fixture(scope="session")
def lasting_operator(lasting_api: Api) -> httpx2.Client:
    """A client of that server that may do everything."""
    return lasting_api.client()


def problem_of(answer: httpx2.Response) -> tuple[int, str]:
    """Status and code of an answer that must be a well-formed problem."""
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    assert body["status"] == answer.status_code
    assert body["title"] and body["detail"] and body["instance"] == answer.request.url.path
    assert body["request_id"] == answer.headers["x-request-id"]
    return answer.status_code, body["type"].removeprefix("/problems/")


def add_person(client: httpx2.Client, name: str = "Eileen Collins", building: str = "main", **more: Any) -> str:
    """Id of a new person."""
    answer = client.post(f"/v1/buildings/{building}/persons", json={"name": name, **more})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def add_photo(client: httpx2.Client, person: str, photo: bytes, building: str = "main") -> httpx2.Response:
    """The answer to an upload."""
    return client.post(f"/v1/buildings/{building}/persons/{person}/photos", files={"photo": ("me.jpg", photo)})


def encoded(picture: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    """A picture as a file."""
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


def sideways(orientation: int) -> bytes:
    """EXIF that tells viewers to turn the picture."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def _bomb() -> bytes:
    """900 megapixels in 110 kB."""
    side = 30_000
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + side // 8)) for _ in range(side)) + packer.flush()
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b""))
    framed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def _sixteen_bits(portrait: Image.Image) -> bytes:
    return encoded(Image.fromarray(np.asarray(portrait.convert("L")).astype(np.uint16) * 257), "PNG")


def _two_faces(portrait: Image.Image) -> bytes:
    both = Image.new("RGB", (2 * portrait.width, portrait.height))
    both.paste(portrait, (0, 0))
    both.paste(portrait, (portrait.width, 0))
    return encoded(both)


def _small_face(portrait: Image.Image) -> bytes:
    far = Image.new("RGB", (640, 640), "grey")
    far.paste(portrait.resize((110, 110)), (265, 265))
    return encoded(far)


# What is wrong with an upload -> (status, code, how it is made from a good portrait)
BROKEN: dict[str, tuple[int, str, Callable[[Image.Image], bytes]]] = {
    "zero bytes": (422, "empty-upload", lambda portrait: b""),
    "truncated JPEG": (422, "truncated-image", lambda portrait: encoded(portrait)[:-4000]),
    "truncated PNG": (422, "truncated-image", lambda portrait: encoded(portrait, "PNG")[:-4000]),
    "truncated WebP": (422, "truncated-image", lambda portrait: encoded(portrait, "WEBP")[:-4000]),
    "only a signature": (422, "truncated-image", lambda portrait: b"\x89PNG\r\n\x1a\n"),
    "damaged": (422, "damaged-image", lambda portrait: encoded(portrait, "PNG").replace(b"IDAT", b"IDXT", 1)),
    "100 megapixels": (422, "too-many-pixels", lambda portrait: encoded(Image.new("L", (10_000, 10_000)))),
    "decompression bomb": (422, "too-many-pixels", lambda portrait: _bomb()),
    "PDF": (415, "unsupported-media-type", lambda portrait: encoded(portrait, "PDF")),
    "GIF": (415, "unsupported-media-type", lambda portrait: encoded(portrait, "GIF")),
    "text": (415, "unsupported-media-type", lambda portrait: b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    "11 megabytes": (413, "upload-too-large", lambda portrait: encoded(portrait) + bytes(11_000_000)),
    "10 megabytes and a bit": (413, "upload-too-large", lambda portrait: encoded(portrait) + bytes(9_990_000)),
    "thumbnail": (422, "image-too-small", lambda portrait: encoded(portrait.resize((64, 64)))),
    "animated PNG": (
        422,
        "animated-image",
        lambda portrait: encoded(portrait, "PNG", save_all=True, append_images=[portrait.rotate(5)]),
    ),
    "animated WebP": (
        422,
        "animated-image",
        lambda portrait: encoded(portrait, "WEBP", save_all=True, append_images=[portrait.rotate(5)]),
    ),
    "CMYK": (422, "unsupported-colour-mode", lambda portrait: encoded(portrait.convert("CMYK"))),
    "16 bit": (422, "unsupported-bit-depth", _sixteen_bits),
    "no face": (422, "no-face", lambda portrait: encoded(portrait.crop((0, 300, 200, 512)))),
    "two faces": (422, "several-faces", _two_faces),
    "small face": (422, "face-unusable", _small_face),
    "upside down": (422, "face-not-upright", lambda portrait: encoded(portrait.rotate(180))),
    "turned by wrong EXIF": (422, "face-not-upright", lambda portrait: encoded(portrait, exif=sideways(6))),
}


class EventSource:
    """Reads server-sent events of one connection, by the rules of the HTML standard."""

    def __init__(self, response: httpx2.Response) -> None:
        self._lines = response.iter_lines()
        self.last_id: str | None = None

    def next(self) -> tuple[str, dict[str, Any]]:
        """Kind and data of the next event."""
        while "data" not in (block := self._block()):
            pass
        return block.get("event", "message"), json.loads(block["data"])

    def wait_for_sign(self) -> None:
        """Read on to the next sign of life; there must be no event before it."""
        while (block := self._block()).get("") != "alive":
            assert "data" not in block, block

    def _block(self) -> dict[str, str]:
        block: dict[str, str] = {}
        for line in self._lines:
            if not line:
                self.last_id = block.get("id", self.last_id)
                return block
            name, _, value = line.partition(": ")
            block[name] = value
        raise EOFError("the stream ended")
