"""Broken and hostile requests over all routes: each is a problem with its type, never a 5xx, and costs no memory."""

import base64
import gzip
import http.client
import io
import json
import socket
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fixtures_api import BROKEN, Api, api_at
from fixtures_redis import wait_until
from fixtures_routes import furnish
from PIL import Image

from app.store import audit, keys
from app.store.records import Scope

B = "/v1/buildings/main"
PERSONS = f"{B}/persons"
CAMERAS = f"{B}/cameras"
JSON = "application/json"
INVALID, MALFORMED = (422, "invalid-request"), (400, "malformed-request")
NO_KEY, NO_JSON = (401, "unauthenticated"), (400, "malformed-json")
GONE, LARGE, FORM = (404, "not-found"), (413, "upload-too-large"), (415, "unsupported-media-type")
TOKEN, STALE, METHOD = (422, "invalid-page-token"), (412, "precondition-failed"), (405, "method-not-allowed")
ROUNDS = 3
GROWTH = 24_000_000  # bytes of memory between the end of the second round and that of the third


@dataclass(frozen=True)
class Attack:
    """One request and the problem that it must end in."""

    expected: tuple[int, str]
    method: str
    target: str  # {names} of `furnish` are filled in
    body: bytes | None = field(default=None, repr=False)
    headers: dict[str, str] = field(default_factory=dict)
    key: str | None = "operator"


def token(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def form(content: bytes, name: str = "photo", boundary: str = "x") -> tuple[bytes, dict[str, str]]:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="../../etc/x"\r\n\r\n'
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return head.encode() + content + f"\r\n--{boundary}--\r\n".encode(), headers


def archive(name: str) -> bytes:
    """A ZIP of one file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(name, bytes(100_000))
    return file.getvalue()


def paths() -> Iterator[Attack]:
    for target in (
        f"{B}'%20OR%201=1--",
        "/v1/buildings/MAIN%0d%0aX-Evil:%20y",
        f"{PERSONS}/%00",
        f"{PERSONS}/{'x' * 201}",
        f"{PERSONS}/per_1;DROP%20TABLE%20persons",
        f"{PERSONS}/%ff%fe",
        f"{CAMERAS}/%2e%2e%20",
        f"{B}/events/%c3%a9",
        "/v1/api-keys/$(id)",
        "/v1/operations/%7b%7b7*7%7d%7d",
    ):
        yield Attack(INVALID, "GET", target)
    for target in (
        f"{PERSONS}/..%2f..%2f..%2fetc%2fpasswd",
        "/v1/api-keys/../../metrics",
        "/v1//buildings",
        "/v1/buildings/../../../etc/passwd",
        f"{PERSONS}/../../tower",
        "/problems/..%2f..%2fetc%2fpasswd",
        "/static/..%2f..%2fapp%2fsettings.py",
        "/openapi.json%00",
        "/.env",
    ):
        yield Attack(GONE, "GET", target)


def queries() -> Iterator[Attack]:
    for forged in (
        "AAAA",
        token(b'["a"]'),
        token(b'["\\u0000", "a"]'),
        token(b'["\\ud800", "a"]'),
        token(b"[" * 1400),
        "%27%3B--",
        token(b'{"name": 1}'),
    ):
        yield Attack(TOKEN, "GET", f"{PERSONS}?page_token={forged}")
    yield Attack(TOKEN, "GET", f"/v1/audit?page_token={token(b'[%s]' % (b'9' * 30))}")
    for query in ("page_size=0", "page_size=1e9", "page_size=NaN", "page_size=1%20OR%201", "page_token=" + "A" * 3000):
        yield Attack(INVALID, "GET", f"{PERSONS}?{query}")
    for query in ("since=tomorrow", "since=0000-00-00T00:00:00Z", "until=9999-12-31T23:59:59-12:00", "decision=';--"):
        yield Attack(INVALID, "GET", f"{B}/events?{query}")
    yield Attack(INVALID, "GET", "/v1/audit?action='%20OR%20''='")
    for target in (f"{PERSONS}?search=%00", f"{B}/events?door=%00&camera=a", f"{B}/events?visit=a%00b"):
        yield Attack(MALFORMED, "GET", target)


def bodies() -> Iterator[Attack]:
    for expected, text in (
        (NO_JSON, b"{"),
        (NO_JSON, b"{'name': 'a'}"),
        (NO_JSON, b'{"name": "a", "name": "b"}'),
        (NO_JSON, b'{"name": "a", "groups": [{"x": 1, "x": 2}]}'),
        (MALFORMED, b"[" * 100_000),
        (MALFORMED, b'{"name": ' + b"9" * 5000 + b"}"),
        (MALFORMED, b'{"name": "\xff"}'),
        (INVALID, b'{"name": NaN}'),
        (INVALID, b'{"name": "a", "valid_until": 1e999}'),
        (INVALID, b'{"name": "\\u0000"}'),
        (INVALID, b'{"name": "\\ud800"}'),
        (INVALID, b'{"name": "a\\r\\nX: y"}'),
        (INVALID, b'{"name": "' + b"x" * 201 + b'"}'),
        (INVALID, b'{"name": " "}'),
        (INVALID, b'{"name": {"$gt": ""}}'),
        (INVALID, b'{"name": 5}'),
        (INVALID, b'{"name": "a", "admin": true}'),
        (INVALID, b'{"name": "a", "__proto__": {"admin": true}}'),
        (INVALID, b'{"name": "a", "groups": "staff"}'),
        (INVALID, b'{"name": "a", "groups": [' + b'"g",' * 200_000 + b'"g"]}'),
        (INVALID, b'{"name": "a", "valid_from": "yesterday"}'),
        (INVALID, b'[{"name": "a"}]'),
        (INVALID, b"null"),
        (INVALID, b""),
        (LARGE, b'{"name": "' + b"x" * 1_100_000 + b'"}'),
    ):
        yield Attack(expected, "POST", PERSONS, text, {"Content-Type": JSON})
    packed = gzip.compress(b'{"name": "' + bytes(50_000_000) + b'"}')
    yield Attack(MALFORMED, "POST", PERSONS, packed, {"Content-Type": JSON, "Content-Encoding": "gzip"})
    for media_type in ("text/plain", "application/xml", "application/x-www-form-urlencoded", "application/json\xa0x"):
        yield Attack(FORM, "POST", PERSONS, b'{"name": "a"}', {"Content-Type": media_type})
    entity = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>'
    yield Attack(FORM, "POST", PERSONS, entity, {"Content-Type": "text/xml"})


def posts(path: str, *documents: dict[str, Any]) -> Iterator[Attack]:
    for document in documents:
        yield Attack(INVALID, "POST", path, json.dumps(document).encode(), {"Content-Type": JSON})


def sources() -> Iterator[Attack]:
    for source in (
        "file:///etc/passwd",
        "/etc/passwd",
        "../../etc/shadow",
        "{videos}/../outside.mp4",
        "{videos}/link/passwd",
        "concat:/etc/passwd|/etc/shadow",
        "subfile,,start,0,end,9,,:/etc/passwd",
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:8000/metrics",
        "https://10.0.0.1/",
        "tcp://10.0.0.1:5432",
        "data:text/plain;base64,AAAA",
        "pipe:0",
        "RTSP://camera/1",
        "rtsp://",
        "rtsp://camera:0/1",
        "rtsp://camera:99999/1",
        "rtsp://camera/\r\nDESCRIBE x",
        "rtsp://" + "a" * 3000,
    ):
        yield from posts(CAMERAS, {"name": "Door", "source": source})
        yield from posts(f"{B}/camera-checks", {"source": source})
    good = {"name": "Door", "source": "rtsp://camera/1"}
    yield from posts(
        CAMERAS,
        good | {"fps": float("nan")},
        good | {"fps": float("inf")},
        good | {"fps": "5"},
        good | {"fps": -1},
        good | {"transport": "sctp"},
        good | {"zones": [[[float("nan"), 0], [1, 1], [0, 1]]]},
        good | {"zones": [[[0, 0]] * 1000]},
        good | {"ca_certificate": "-----BEGIN PRIVATE KEY-----"},
        good | {"enabled": 1},
    )
    yield from posts(
        f"{B}/webhooks",
        *(
            {"name": "hook", "url": url}
            for url in ("file:///etc/passwd", "http://169.254.169.254/", "https://127.0.0.1/", "https://[::1]/", "x")
        ),
    )
    key = {"name": "x", "scope": "viewer", "building": None}
    yield from posts("/v1/api-keys", key | {"scope": "root"}, key | {"building": "../x"}, key | {"grace_hours": -1})
    yield from posts("/v1/buildings", {"id": "../main", "name": "x"}, {"id": "x", "name": "x", "event_days": 1e9})


def uploads(portrait: Image.Image) -> Iterator[Attack]:
    to = {"photos": PERSONS + "/{person}/photos", "check": f"{B}/face-checks", "identify": f"{B}/identifications"}
    for kind in ("zero bytes", "only a signature", "decompression bomb", "100 megapixels", "PDF", "text", "no face"):
        status, code, make = BROKEN[kind]
        body, headers = form(make(portrait))
        for path in (to["photos"], to["identify"]):
            yield Attack((status, code), "POST", path, body, headers)
    big, headers = form(bytes(10_200_000))
    yield Attack(LARGE, "POST", to["check"], big, headers)
    wrong, headers = form(b"x", name="picture")
    yield Attack(INVALID, "POST", to["photos"], wrong, headers)
    yield Attack(MALFORMED, "POST", to["check"], b"--y\r\nno form", {"Content-Type": "multipart/form-data"})
    yield Attack(INVALID, "POST", to["photos"], b'{"photo": "x"}', {"Content-Type": JSON})
    for content, code in (
        (b"PK\x03\x04 no archive", "archive-unreadable"),
        (archive("../../../etc/cron.d/x.jpg"), "archive-path"),
        (archive("Eve/inner.zip"), "archive-nested"),
    ):
        body, headers = form(content, name="archive")
        yield Attack((422, code), "POST", f"{B}/enrolments", body, headers)


def bad_keys() -> Iterator[Attack]:
    for key in (None, "expired", "revoked", "mistyped"):
        for target in ("/v1/buildings", PERSONS, "/metrics"):
            yield Attack(NO_KEY, "GET", target, key=key)
    yield Attack(NO_KEY, "POST", PERSONS, bytes(900_000), {"Content-Type": JSON}, key=None)
    for header in ("Basic YTpi", "Bearer", "Bearer " + "x" * 60_000, "Bearer ä\xff", "Bearer a b", "cardea_abc"):
        yield Attack(NO_KEY, "GET", "/v1/buildings", headers={"Authorization": header}, key=None)
    yield Attack(NO_KEY, "GET", "/v1/buildings?key={secret}&access_token={secret}", key=None)
    yield Attack((403, "other-building"), "GET", PERSONS, key="tower")
    yield Attack((403, "other-building"), "DELETE", PERSONS + "/{person}", key="tower")
    yield Attack(GONE, "DELETE", "/v1/api-keys/{api_key}", key="tower")
    yield Attack((403, "scope-too-small"), "POST", PERSONS, b'{"name": "a"}', {"Content-Type": JSON}, key="viewer")


def headers_and_methods() -> Iterator[Attack]:
    named, typed = b'{"name": "Zoe"}', {"Content-Type": JSON}
    for key in ("", "a b", "x" * 256, "\xe4"):
        expected = (400, "invalid-idempotency-key")
        yield Attack(expected, "POST", PERSONS, named, typed | {"Idempotency-Key": key})
    reused = typed | {"Idempotency-Key": "used-before"}
    yield Attack((422, "idempotency-key-reused"), "POST", PERSONS, b'{"name": "Eve"}', reused)
    for tag in ('"7"', 'W/"1"', "1", "'; --", '"' + "9" * 500 + '"', ""):
        yield Attack(STALE, "PATCH", PERSONS + "/{person}", b'{"name": "Eve"}', typed | {"If-Match": tag})
    yield Attack(INVALID, "PATCH", PERSONS + "/{person}", named, typed | {"If-Match": '"1"' * 1000})
    for place in ("x", "0-0; --", "9" * 40 + "-0"):
        yield Attack(INVALID, "GET", f"{B}/events/stream", headers={"Last-Event-ID": place})
    for method, target in (("PUT", PERSONS), ("TRACE", PERSONS), ("OPTIONS", "/v1/buildings"), ("POST", "/metrics")):
        yield Attack(METHOD, method, target)
    overridden = typed | {"X-HTTP-Method-Override": "DELETE", "X-Original-URL": "/v1/audit"}
    yield Attack(METHOD, "POST", PERSONS + "/{person}", b"{}", overridden)
    yield Attack(GONE, "GET", PERSONS + "/{person}/photos/{camera}/image")


class Target:
    """The server, its keys, and what is in it."""

    def __init__(self, api: Api, videos: Path) -> None:
        self.api = api
        self.sent = 0
        address = urlsplit(api.address)
        self.place = (address.hostname or "", address.port or 0)
        operator = api.key()
        api.bearing(operator).post("/v1/buildings", json={"id": "tower", "name": "Tower"}).raise_for_status()
        self.ids = furnish(api) | {"secret": operator, "videos": str(videos)}
        self.keys = {
            "operator": operator,
            "mistyped": operator[:-1],
            "tower": api.key(Scope.OPERATOR, "tower"),
            "viewer": api.key(Scope.VIEWER),
        }
        with api.services.store.session() as session:
            yesterday = datetime.now(UTC) - timedelta(days=1)
            self.keys["expired"] = keys.create(session, "old", Scope.OPERATOR, None, yesterday)[1]
            gone, self.keys["revoked"] = keys.create(session, "gone", Scope.OPERATOR)
            keys.revoke(session, gone.id)
        api.bearing(operator).post(PERSONS, json={"name": "Ann"}, headers={"Idempotency-Key": "used-before"})

    def answer(self, attack: Attack) -> tuple[int, str]:
        """Status and code of the answer; each request comes from an address of its own."""
        target, body = attack.target, attack.body
        for name, value in self.ids.items():
            target = target.replace(f"{{{name}}}", value)
            body = body.replace(f"{{{name}}}".encode(), value.encode()) if body and len(body) < 10_000 else body
        self.sent += 1
        headers = {"X-Forwarded-For": f"198.51.{self.sent // 250}.{self.sent % 250}"}
        if attack.key is not None:
            headers["Authorization"] = f"Bearer {self.keys[attack.key]}"
        connection = http.client.HTTPConnection(*self.place, timeout=20)
        try:
            connection.putrequest(attack.method, target, skip_accept_encoding=True)
            for name, value in (headers | attack.headers).items():
                connection.putheader(name, value.encode("latin-1"))
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders()
            with suppress(BrokenPipeError, ConnectionResetError):  # answered and closed before all was sent
                connection.send(body or b"")
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        kind = response.headers.get("Content-Type", "")
        if kind != "application/problem+json":
            return response.status, kind
        return response.status, str(json.loads(text)["type"]).removeprefix("/problems/")

    def refusals(self) -> int:
        """How many keys were refused, by the audit trail."""
        with self.api.services.store.reading() as session:
            found, place = 0, None
            while True:
                page = audit.listing(session, 200, place, action="key.refused")
                found += sum(entry.detail.get("count", 1) for entry in page.items)
                place = page.next_token
                if place is None:
                    return found


@contextmanager
def attacked(url: str, nets: Any, tmp_path: Path) -> Iterator[Target]:
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "link").symlink_to("/etc")
    with api_at(url, "redis://127.0.0.1:1/0", nets, videos=videos) as api:
        yield Target(api, videos)


def memory() -> int:
    """Resident bytes of this process, in which the server runs."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_every_hostile_request_is_a_problem_and_costs_nothing(
    store_url: str, face_nets: Any, portrait_files: dict[str, bytes], tmp_path: Path
) -> None:
    portrait = Image.open(io.BytesIO(next(iter(portrait_files.values())))).convert("RGB")
    families = (paths(), queries(), bodies(), sources(), uploads(portrait), bad_keys(), headers_and_methods())
    attacks = [attack for family in families for attack in family]
    assert len(attacks) > 150 and len({attack.expected for attack in attacks}) >= 19
    sizes = []
    with attacked(store_url, face_nets, tmp_path) as target:
        before = target.refusals()
        for _ in range(ROUNDS):
            wrong = [(attack, got) for attack in attacks if (got := target.answer(attack)) != attack.expected]
            assert not wrong, "\n".join(f"{attack}: {got}" for attack, got in wrong)
            sizes.append(memory())
        refused = sum(attack.expected[0] in (401, 403) for attack in attacks) * ROUNDS
        wait_until(lambda: target.refusals() - before == refused)
    assert sizes[2] - sizes[1] < GROWTH, sizes


def test_a_key_is_checked_before_the_body_comes(lasting_api: Api) -> None:
    head = f"POST {PERSONS} HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nContent-Length: 900000\r\n\r\n"
    assert raw(lasting_api, head.encode()).startswith(b"HTTP/1.1 401")


def test_bytes_that_are_no_request_end_with_400_or_nothing(lasting_api: Api) -> None:
    head = (
        f"POST {PERSONS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {lasting_api.key()}\r\nContent-Type: {JSON}\r\n"
    )
    for rest in (
        "Content-Length: -1\r\n\r\n{}",
        "Content-Length: 99999999999999999999999\r\n\r\n{}",
        "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        "Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}",
        "X-Evil: a\x00b\r\n\r\n",
        "Content-Length: 900000\r\n\r\n{",  # and then no more
    ):
        answer = raw(lasting_api, (head + rest).encode(), half_close=True)
        assert not answer or answer.startswith(b"HTTP/1.1 400"), (rest, answer)
    for junk in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n" * 3 + b"\x00" * 100,
    ):
        answer = raw(lasting_api, junk, half_close=True)
        assert not answer or answer.startswith(b"HTTP/1.1 400"), (junk, answer)
    assert lasting_api.client().get("/v1/buildings").status_code == 200


def raw(api: Api, sent: bytes, half_close: bool = False) -> bytes:
    """How the answer to these bytes begins; nothing when the connection just ends."""
    address = urlsplit(api.address)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=5) as connection:
        connection.sendall(sent)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        return connection.recv(4096)
