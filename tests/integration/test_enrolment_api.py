"""Archives over REST: what is refused at once, what becomes an operation, and that a death costs nothing."""

import contextlib
import http.client
import io
import os
import signal
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from fixtures_api import ON_BOTH, Api, add_person, problem_of
from fixtures_enrolment import COLLINS, HOPPER, another
from fixtures_redis import wait_until
from sqlalchemy import func, select

from app.enrolment.job import EnrolmentJob
from app.errors import ConflictError
from app.store import audit, operations, people
from app.store.records import Scope
from app.store.tables import OperationItem

PATH = "/v1/buildings/main/enrolments"
SHORT = timedelta(seconds=1)  # lease


@pytest.fixture
def job(api: Api) -> Iterator[EnrolmentJob]:
    """The thread that does the work."""
    services = api.services
    made = EnrolmentJob(services.store, services.finder, services.embedders, SHORT)
    made.start()
    yield made
    made.stop()


def packed(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def send(client: httpx2.Client, content: bytes, path: str = PATH, **fields: Any) -> httpx2.Response:
    return client.post(path, files={"archive": ("people.zip", content)}, data=fields)


def ended(client: httpx2.Client, answer: httpx2.Response) -> dict[str, Any]:
    """The operation of an answer, when it has ended."""
    assert answer.status_code == 202, answer.text
    location = answer.headers["location"]
    wait_until(lambda: client.get(location).json()["state"] not in ("receiving", "running"), seconds=20)
    found: dict[str, Any] = client.get(location).json()
    return found


def items(client: httpx2.Client, operation: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"/v1/operations/{operation}/items").json()["items"]
    return found


def photos_left(api: Api, operation: str) -> int:
    with api.services.store.reading() as session:
        left = select(func.count()).where(OperationItem.operation_id == operation, OperationItem.photo.is_not(None))
        return session.scalar(left) or 0


@ON_BOTH
def test_an_archive_is_enrolled(api: Api, operator: httpx2.Client, job: EnrolmentJob, faces: dict[str, bytes]) -> None:
    files = {f"{COLLINS}/1.jpg": faces[COLLINS], f"{COLLINS}/2.jpg": another(faces[COLLINS], 1)}
    content = packed(files | {f"{HOPPER}.jpg": faces[HOPPER], "Nobody.jpg": b"no photo"})
    done = ended(operator, send(operator, content, groups=["residents", "staff"]))
    assert (done["state"], done["total"], done["done"]) == ("done", 4, 4)
    assert done["report"] == {"enrolled": 3, "unusable": 1}
    told = [(item["file"], item["name"], item["outcome"], item["reasons"]) for item in items(operator, done["id"])]
    assert told == [
        (f"{COLLINS}/1.jpg", COLLINS, "enrolled", []),
        (f"{COLLINS}/2.jpg", COLLINS, "enrolled", []),
        (f"{HOPPER}.jpg", HOPPER, "enrolled", []),
        ("Nobody.jpg", "Nobody", "unusable", ["unsupported-media-type"]),
    ]
    persons = operator.get("/v1/buildings/main/persons").json()["items"]
    assert [(person["name"], person["photos"], person["groups"]) for person in persons] == [
        (COLLINS, 2, ["residents", "staff"]),
        (HOPPER, 1, ["residents", "staff"]),
    ]
    assert photos_left(api, done["id"]) == 0
    again = ended(operator, send(operator, content))
    assert again["report"] == {"already_enrolled": 3, "unusable": 1}
    listed = operator.get("/v1/operations", params={"page_size": 1}).json()
    assert [found["id"] for found in listed["items"]] == [again["id"]] and listed["next_page_token"]
    rest = operator.get("/v1/operations", params={"page_token": listed["next_page_token"]}).json()
    assert [found["id"] for found in rest["items"]] == [done["id"]]
    with api.services.store.reading() as session:
        trail = [record for record in audit.listing(session, 50).items if record.target == done["id"]]
    assert {record.action for record in trail} == {"enrolment.started", "enrolment.finished"}
    assert all(record.actor.kind == "key" for record in trail) and COLLINS not in str(trail)


@ON_BOTH
def test_a_name_that_is_no_text_ends_its_own_item_alone(
    operator: httpx2.Client, job: EnrolmentJob, faces: dict[str, bytes]
) -> None:
    table = f"photo,name,external_id\na.jpg,A\0B,\na.jpg,Ann,1\0\na.jpg,{COLLINS},\n"
    done = ended(operator, send(operator, packed({"t.csv": table.encode(), "a.jpg": faces[COLLINS]})))
    assert [(item["name"], item["outcome"], item["reasons"]) for item in items(operator, done["id"])] == [
        ("A\0B", "failed", ["invalid_name"]),
        ("Ann", "failed", ["invalid_external_id"]),
        (COLLINS, "enrolled", []),
    ]
    assert job.alive


def test_a_table_in_the_archive_and_twins(operator: httpx2.Client, job: EnrolmentJob, faces: dict[str, bytes]) -> None:
    table = f"photo,name,external_id,valid_until\na.jpg,{COLLINS},flat-1,2090-01-01\nb.jpg,Twin,,\n../c.jpg,Eve,,\n"
    content = packed({"t.csv": table.encode(), "a.jpg": faces[COLLINS], "b.jpg": another(faces[COLLINS], 1)})
    done = ended(operator, send(operator, content))
    found = items(operator, done["id"])
    assert [(item["outcome"], *item["reasons"]) for item in found] == [
        ("enrolled",),
        ("duplicate", "duplicate_face"),
        ("failed", "path_outside"),
    ]
    assert found[1]["other"] == found[0]["person"] and found[1]["person"] is None
    person = operator.get(f"/v1/buildings/main/persons/{found[0]['person']}").json()
    assert person["external_id"] == "flat-1" and person["valid_until"] == "2090-01-01T00:00:00Z"
    accepted = ended(operator, send(operator, content, accept_duplicates="true"))
    assert [(item["outcome"], *item["reasons"]) for item in items(operator, accepted["id"])] == [
        ("already_enrolled",),
        ("enrolled", "looks_like"),
        ("failed", "path_outside"),
    ]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"\xff\xd8\xff", "archive-unreadable"),
        (packed({}), "archive-empty"),
        (packed({"../x.jpg": b"x"}), "archive-path"),
        (packed({"x.zip": b"x"}), "archive-nested"),
        (packed({"t.csv": b"nothing"}), "archive-layout"),
    ],
)
def test_a_hostile_archive_has_a_problem_of_its_own(lasting_operator: httpx2.Client, content: bytes, code: str) -> None:
    assert problem_of(send(lasting_operator, content)) == (422, code)
    assert lasting_operator.get("/v1/operations").json()["items"] == []


def test_an_archive_that_turns_out_damaged_leaves_nothing(api: Api, operator: httpx2.Client) -> None:
    whole = packed({"a.jpg": b"a" * 100, "b.jpg": b"b" * 100})
    answer = send(operator, whole.replace(b"b" * 100, b"x" * 100))
    assert problem_of(answer) == (422, "archive-unreadable")
    assert operator.get("/v1/operations").json()["items"] == []


@pytest.mark.parametrize(
    "request_body",
    [
        {"json": {}},
        {"content": b"PK", "headers": {"Content-Type": "application/zip"}},
        {"data": {"archive": "here"}},
        {"files": {"photo": ("x.zip", b"PK")}},
        {"files": {"archive": ("x.zip", packed({"a.jpg": b"a"}))}, "data": {"accept_duplicates": "perhaps"}},
        {"files": {"archive": ("x.zip", packed({"a.jpg": b"a"}))}, "data": {"groups": "g" * 65}},
        {"files": {"archive": ("x.zip", packed({"a.jpg": b"a"}))}, "data": {"colour": "red"}},
        {"files": [("archive", ("x.zip", b"PK")), ("archive", ("y.zip", b"PK"))]},
        {"content": b"--y\r\nno form", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
    ],
)
def test_a_form_that_makes_no_sense(lasting_operator: httpx2.Client, request_body: dict[str, Any]) -> None:
    assert problem_of(lasting_operator.post(PATH, **request_body)) in {
        (422, "invalid-request"),
        (415, "unsupported-media-type"),
        (400, "malformed-request"),
    }


def test_a_larger_body_is_taken_here_but_not_without_end(lasting_api: Api, lasting_operator: httpx2.Client) -> None:
    content = packed({"a.txt": bytes(11_000_000)})
    assert problem_of(send(lasting_operator, content, "/v1/buildings/nowhere/enrolments")) == (404, "not-found")
    address = urlsplit(lasting_api.address)
    with contextlib.closing(http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)) as connection:
        connection.putrequest("POST", PATH)
        connection.putheader("Content-Type", "multipart/form-data; boundary=x")
        connection.putheader("Content-Length", "600000000")
        connection.endheaders()
        assert connection.getresponse().status == 413


def test_an_upload_on_its_way_lies_in_a_file_without_a_name(
    lasting_api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    address = urlsplit(lasting_api.address)
    with contextlib.closing(http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)) as connection:
        connection.putrequest("POST", PATH)
        connection.putheader("Authorization", f"Bearer {lasting_api.key()}")
        connection.putheader("Content-Type", "multipart/form-data; boundary=x")
        connection.putheader("Content-Length", "4000000")
        connection.endheaders()
        head = b'--x\r\nContent-Disposition: form-data; name="archive"; filename="x"\r\n\r\n'
        connection.send(head + bytes(3_000_000))
        wait_until(lambda: _spooled(tmp_path) != [])
        assert [stat.S_IMODE(mode) for mode in _spooled(tmp_path)] == [0o600] and list(tmp_path.iterdir()) == []
    wait_until(lambda: _spooled(tmp_path) == [])  # the client is gone, and so is what it sent


def _spooled(folder: Path) -> list[int]:
    """Modes of the open files of this process that lie in a folder, whether they have a name there or not."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if str(entry.readlink()).startswith(str(folder)):
                found.append(entry.stat().st_mode)
    return found


def test_operations_of_another_building_do_not_exist(
    api: Api, operator: httpx2.Client, faces: dict[str, bytes]
) -> None:
    operator.post("/v1/buildings", json={"id": "annex", "name": "Annex"})
    made = send(operator, packed({"a.jpg": faces[COLLINS]}))
    other, here = api.client(building="annex"), api.client(building="main")
    path = made.headers["location"]
    for answer in (other.get(path), other.get(f"{path}/items"), other.delete(path)):
        assert problem_of(answer) == (404, "not-found")
    assert problem_of(send(other, b"PK")) == (403, "other-building")
    assert other.get("/v1/operations").json()["items"] == [] and here.get("/v1/operations").json()["items"]
    viewer = api.client(Scope.VIEWER)
    for answer in (viewer.get(path), viewer.get("/v1/operations"), send(viewer, b"PK")):
        assert problem_of(answer) == (403, "scope-too-small")


@ON_BOTH
def test_a_cancelled_operation_forgets_its_photos(api: Api, operator: httpx2.Client, faces: dict[str, bytes]) -> None:
    made = send(operator, packed({"a.jpg": faces[COLLINS], "b.jpg": faces[HOPPER]})).json()
    assert photos_left(api, made["id"]) == 2
    cancelled = operator.delete(f"/v1/operations/{made['id']}")
    assert cancelled.status_code == 200 and cancelled.json()["state"] == "cancelled"
    assert photos_left(api, made["id"]) == 0
    assert problem_of(operator.delete(f"/v1/operations/{made['id']}")) == (409, "conflict")


@ON_BOTH
def test_whoever_is_erased_is_in_no_operation(
    api: Api, operator: httpx2.Client, job: EnrolmentJob, faces: dict[str, bytes]
) -> None:
    content = packed({f"{COLLINS}/1.jpg": b"no photo", f"{COLLINS}/2.jpg": faces[COLLINS], "Ann.jpg": b"no photo"})
    done = ended(operator, send(operator, content))
    person = next(item["person"] for item in items(operator, done["id"]) if item["person"])
    receipt = operator.delete(f"/v1/buildings/main/persons/{person}")
    assert receipt.status_code == 200, receipt.text
    assert [item["name"] for item in items(operator, done["id"])] == ["Ann"]  # her photo that failed is gone, too


@ON_BOTH
def test_an_archive_that_waits_does_not_bring_an_erased_person_back(
    api: Api, operator: httpx2.Client, faces: dict[str, bytes], request: pytest.FixtureRequest
) -> None:
    person = add_person(operator, COLLINS)
    content = packed({f"{COLLINS}.jpg": faces[COLLINS], f"{HOPPER}.jpg": faces[HOPPER]})
    made = send(operator, content)
    assert operator.delete(f"/v1/buildings/main/persons/{person}").status_code == 200
    request.getfixturevalue("job")
    done = ended(operator, made)
    assert done["total"] == done["done"] == 1 and [item["name"] for item in items(operator, done["id"])] == [HOPPER]


def test_an_erasure_reaches_archives_that_arrive_and_that_were_cancelled(
    api: Api, operator: httpx2.Client, faces: dict[str, bytes]
) -> None:
    cancelled = send(operator, packed({f"{COLLINS}.jpg": b"no photo"})).json()["id"]
    assert operator.delete(f"/v1/operations/{cancelled}").status_code < 300
    actor, fields = audit.Actor("key", "key_1", "test"), people.PersonFields(COLLINS)
    item = operations.NewItem(fields, "a.jpg", faces[COLLINS])
    minute = timedelta(minutes=1)
    with api.services.store.session() as session:
        arriving = operations.create(session, "main", actor, {}, minute)
        operations.append(session, arriving, [item, item], minute)
    person = add_person(operator, COLLINS)
    assert operator.delete(f"/v1/buildings/main/persons/{person}").status_code == 200
    assert items(operator, cancelled) == []
    with api.services.store.session() as session:
        operations.append(session, arriving, [item], minute)  # what came after the erasure
    with pytest.raises(ConflictError, match="send it again"), api.services.store.session() as session:
        operations.release(session, arriving)


WORKER = """
import sys, threading
from datetime import timedelta
from pathlib import Path
from app.enrolment.job import EnrolmentJob
from app.keyring import Keyring
from app.store.engine import Store
from app.vision.artefact import shipped
from app.vision.embedders import Embedders
from app.vision.faces import FaceFinder
store = Store(sys.argv[1], Keyring(Path(sys.argv[2])))
finder = FaceFinder(shipped("face_finder"))
EnrolmentJob(store, finder, Embedders.installed(), timedelta(seconds=1)).start()
threading.Event().wait()
"""


@pytest.mark.parametrize("api", ["postgres"], indirect=True)
def test_a_killed_process_is_followed_by_the_next_one_where_it_stood(
    api: Api, operator: httpx2.Client, faces: dict[str, bytes], request: pytest.FixtureRequest
) -> None:
    files = {f"{COLLINS}/{number:02}.jpg": another(faces[COLLINS], number) for number in range(11)}
    made = send(operator, packed(files | {f"{HOPPER}.jpg": faces[HOPPER]})).json()
    count = made["total"]
    url = api.services.store.engine.url.render_as_string(hide_password=False)
    words = [sys.executable, "-c", WORKER, url, os.environ["CARDEA_KEY_FILE"]]
    location = f"/v1/operations/{made['id']}"
    with subprocess.Popen(words) as process:
        wait_until(lambda: operator.get(location).json()["done"] >= 2, seconds=30)
        process.send_signal(signal.SIGKILL)
        process.wait()
    reached = operator.get(location).json()
    assert reached["state"] == "running" and 2 <= reached["done"] < count
    assert photos_left(api, made["id"]) == count - reached["done"]
    request.getfixturevalue("job")
    wait_until(lambda: operator.get(location).json()["state"] == "done", seconds=30)
    done = operator.get(location).json()
    assert done["done"] == count and done["report"] == {"enrolled": count}  # nothing was done twice
    with api.services.store.reading() as session:
        found = people.listing(session, "main", 10).items
    assert [person.photos for person in found] == [count - 1, 1] and photos_left(api, made["id"]) == 0


def test_an_item_that_was_erased_while_it_was_worked_on_enrols_nobody(
    api: Api, operator: httpx2.Client, faces: dict[str, bytes]
) -> None:
    made = send(operator, packed({f"{COLLINS}.jpg": faces[COLLINS]})).json()
    person = add_person(operator, COLLINS)
    with api.services.store.reading() as session:
        (work,) = operations.work(session, made["id"], -1, 10)
    assert operator.delete(f"/v1/buildings/main/persons/{person}").status_code == 200
    nothing = {"person": None, "other": None, "similarity": None}
    with api.services.store.session() as session:
        assert not operations.settle(session, made["id"], work.position, "enrolled", (), **nothing)
        assert operations.work(session, made["id"], -1, 10) == []


def test_an_archive_that_never_came_whole_is_given_up(
    api: Api, operator: httpx2.Client, job: EnrolmentJob, faces: dict[str, bytes]
) -> None:
    actor = audit.Actor("key", "key_1", "test")
    fields = people.PersonFields(COLLINS)
    with api.services.store.session() as session:
        operation = operations.create(session, "main", actor, {}, timedelta(seconds=0.2))
        item = operations.NewItem(fields, "a.jpg", faces[COLLINS])
        operations.append(session, operation, [item], timedelta(seconds=0.2))
    wait_until(lambda: operator.get(f"/v1/operations/{operation}").json()["state"] == "failed", seconds=10)
    assert photos_left(api, operation) == 0


def test_photos_that_wait_are_sealed(api: Api, operator: httpx2.Client, faces: dict[str, bytes]) -> None:
    made = send(operator, packed({"a.jpg": faces[COLLINS]})).json()
    with api.services.store.reading() as session:
        kept = session.scalar(select(OperationItem.photo).where(OperationItem.operation_id == made["id"]))
    assert kept is not None and len(kept) > len(faces[COLLINS]) and faces[COLLINS][100:200] not in kept


def test_a_person_who_is_there_keeps_her_fields(
    operator: httpx2.Client, job: EnrolmentJob, faces: dict[str, bytes]
) -> None:
    person = add_person(operator, COLLINS, groups=["staff"])
    ended(operator, send(operator, packed({f"{COLLINS}.jpg": faces[COLLINS]}), groups="residents"))
    found = operator.get(f"/v1/buildings/main/persons/{person}").json()
    assert found["photos"] == 1 and found["groups"] == ["staff"]
