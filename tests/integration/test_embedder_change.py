"""A change of embedder as operators make it, with two real nets: nobody is lost, nothing is compared across."""

import contextlib
import io
import json
import signal
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import numpy as np
import pytest
from fixtures_api import Api, add_photo, problem_of
from fixtures_door import ROOT
from fixtures_embedders import KEPT, enrol_photos
from fixtures_enrolment import COLLINS, HOPPER, another
from fixtures_redis import wait_until
from fixtures_store import store_at
from fixtures_web import Visitor
from sqlalchemy import select

from app.__main__ import main
from app.enrolment.job import EnrolmentJob
from app.photos import enrol, read_photo
from app.reembedding import GONE, reembed
from app.store import audit, embedders, galleries, people, templates
from app.store.audit import SYSTEM
from app.store.engine import Store
from app.store.records import NewPhoto, PersonFields
from app.store.tables import Template
from app.vision.artefact import Artefact, shipped
from app.vision.embedder import Embedder
from app.vision.embedders import Embedders
from app.vision.faces import FaceFinder

Nets = tuple[FaceFinder, Embedder]
Gallery = Callable[..., tuple[int, str]]
SHIPPED = shipped("embedder").card.id


@pytest.fixture(scope="session")
def old(former: Artefact) -> Embedder:
    return Embedder(former)


@pytest.fixture(scope="session")
def pictures(faces: dict[str, bytes]) -> dict[str, list[bytes]]:
    """Six photos of one person, two of another."""
    return {
        name: [another(faces[name], number) for number in range(many)] for name, many in ((COLLINS, 6), (HOPPER, 2))
    }


@pytest.fixture
def house(store: Store, pictures: dict[str, list[bytes]], face_nets: Nets, old: Embedder) -> dict[str, str]:
    """Both are enrolled with the former embedder; name -> id."""
    return {name: enrol_photos(store, name, photos, face_nets[0], old) for name, photos in pictures.items()}


def made(store: Store) -> Counter[tuple[str, str]]:
    """Photo and embedder of every template."""
    with store.reading() as session:
        return Counter(
            (row.photo_id, row.embedder) for row in session.execute(select(Template.photo_id, Template.embedder))
        )


def by_embedder(store: Store) -> dict[str, int]:
    with store.reading() as session:
        return templates.counts(session)


def live(store: Store) -> str | None:
    with store.reading() as session:
        return templates.live(session)


@pytest.fixture
def gallery(store_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Gallery:
    """Run a task of `cardea gallery` on the store: exit status and what it wrote."""
    monkeypatch.setenv("CARDEA_DATABASE_URL", store_url)

    def run(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        status, shown = main(["gallery", *words]), capsys.readouterr()
        return status, shown.out if "--json" in words else shown.out + shown.err

    return run


def told(answer: tuple[int, str]) -> Any:
    """The last line of JSON."""
    return json.loads(answer[1].splitlines()[-1])


@pytest.mark.usefixtures("upgraded")
def test_the_whole_way_there_and_back(store: Store, house: dict[str, str], gallery: Gallery, old: Embedder) -> None:
    listed = told(gallery("list", "--json"))
    assert [(row["embedder"], row["live"], row["at_hand"], row["templates"]) for row in listed] == [
        (SHIPPED, False, True, 0),
        (old.card.id, True, True, 8),
    ]
    status, shown = gallery("switch")
    assert status == 1 and "2 persons would be left behind" in shown and shown.count(COLLINS) == 1
    assert live(store) == old.card.id
    assert gallery("compare")[0] == 2
    first = gallery("reembed", "--json")
    assert first[0] == 0 and (told(first)["outcomes"], told(first)["persons_without"]) == ({"made": 8}, [])
    assert told(gallery("reembed", "--json"))["outcomes"] == {}
    status, shown = compared = gallery("compare", "--json")
    (report,) = told(compared)["buildings"]
    assert status == 0 and (report["persons"], report["without"], report["comparison"]["photos"]) == (2, [], 8)
    assert live(store) == old.card.id
    assert told(gallery("switch", "--json")) == {"live": SHIPPED, "left_behind": []} and live(store) == SHIPPED
    assert gallery("switch", "--to", old.card.id)[0] == 0 and live(store) == old.card.id
    assert gallery("forget", old.card.id)[0] == 2
    assert told(gallery("forget", SHIPPED, "--json")) == {"embedder": SHIPPED, "templates": 8}
    assert set(made(store).values()) == {1} and by_embedder(store) == {old.card.id: 8}
    with store.reading() as session:
        done = [(entry.action, entry.target) for entry in audit.listing(session, 9, action="embedder.").items]
    assert done == [
        ("embedder.forgotten", SHIPPED),
        ("embedder.switched", old.card.id),
        ("embedder.switched", SHIPPED),
        ("embedder.prepared", SHIPPED),
    ]


@pytest.mark.usefixtures("upgraded", "house")
def test_who_would_be_left_behind_is_named_with_the_reason(store: Store, gallery: Gallery) -> None:
    with store.session() as session:
        nobody = people.create(session, "main", PersonFields("Nobody At All")).id
        blank = NewPhoto(b"nobody", "image/jpeg", 640, 480, 0.5)
        vector = np.eye(1, KEPT, dtype=np.float32)[0]
        people.add_photo(session, "main", nobody, blank, embedder=str(templates.live(session)), vector=vector)
    status, shown = gallery("reembed")
    assert status == 1 and "damaged-image: photo pho_" in shown
    assert f"main {nobody} Nobody At All" in shown and "     8 made" in shown
    status, shown = gallery("compare")
    assert status == 1 and f"{nobody} Nobody At All: damaged-image" in shown
    assert "16 genuine pairs at 50.00%" in shown and "12 impostor pairs at 99.99%" in shown
    status, shown = gallery("switch")
    assert status == 1 and f"main {nobody} Nobody At All" in shown and live(store) != SHIPPED
    assert gallery("switch", "--force")[0] == 0 and live(store) == SHIPPED


def test_a_template_made_anew_is_the_one_that_enrolment_makes(
    store: Store, house: dict[str, str], pictures: dict[str, list[bytes]], face_nets: Nets
) -> None:
    assert all(not tried.trouble for tried in reembed(store, *face_nets, "main", 2))
    with store.reading() as session:
        again = galleries.templates_of(session, "main", house[HOPPER], SHIPPED)
    directly = [enrol(read_photo(photo), *face_nets).vector for photo in pictures[HOPPER]]
    nearest = np.abs(again[:, None] - np.array(directly)[None]).max(axis=2).min(axis=1)
    assert (nearest < 1e-6).all()


def test_a_run_that_was_killed_loses_nothing_and_doubles_nothing(
    store: Store, gallery: Gallery, faces: dict[str, bytes], face_nets: Nets, old: Embedder
) -> None:
    count = 12
    enrol_photos(store, COLLINS, [another(faces[COLLINS], number) for number in range(count)], face_nets[0], old)
    command = [sys.executable, "-m", "app", "gallery", "reembed", "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(3):
            assert json.loads(process.stdout.readline())["outcome"] == "made"
        process.send_signal(signal.SIGKILL)
    reached = by_embedder(store)[SHIPPED]
    assert 3 <= reached < count and by_embedder(store)[old.card.id] == count
    assert told(gallery("reembed", "--json"))["outcomes"] == {"made": count - reached}
    assert set(made(store).values()) == {1} and by_embedder(store) == {old.card.id: count, SHIPPED: count}


def test_who_is_enrolled_or_erased_during_the_run_is_caught_up_with(
    store: Store, house: dict[str, str], faces: dict[str, bytes], face_nets: Nets, old: Embedder
) -> None:
    running = reembed(store, *face_nets, None, 1)
    first = next(running)
    assert not first.trouble
    late = enrol_photos(store, "Late", [another(faces[HOPPER], 7)], face_nets[0], old)
    with store.session() as session:
        waiting = [photo for photo in embedders.unfinished(session, SHIPPED) if photo.person != late]
        people.delete_photo(session, "main", waiting[-1].person, waiting[-1].id)
    rest = list(running)
    assert [tried.photo.id for tried in rest if tried.trouble == GONE] == [waiting[-1].id]
    assert rest[-1].photo.person == late and not rest[-1].trouble
    with store.reading() as session:
        assert embedders.unfinished(session, SHIPPED) == [] == embedders.left_behind(session, SHIPPED)


def test_an_embedder_that_is_not_at_hand_cannot_be_switched_to(
    sqlite_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    face_nets: Nets,
    old: Embedder,
    pictures: dict[str, list[bytes]],
) -> None:
    """In an installation without the former embedder, whose people have templates of that one alone."""
    monkeypatch.setenv("CARDEA_DATABASE_URL", sqlite_url)
    with contextlib.closing(store_at(sqlite_url)) as store:
        enrol_photos(store, HOPPER, pictures[HOPPER], face_nets[0], old)
        assert main(["db", "check"]) == 1
        assert f"2 of {old.card.id}, which this version cannot use: it has {SHIPPED}" in capsys.readouterr().out
        assert main(["gallery", "switch", "--to", old.card.id]) == 2
        assert f"this version has no embedder {old.card.id}" in capsys.readouterr().err
        assert main(["gallery", "reembed"]) == 0 and main(["gallery", "compare"]) == 0
        assert "unknown" in capsys.readouterr().out  # the former one's threshold
        assert main(["gallery", "switch"]) == 0 and main(["db", "check"]) == 0
        assert f"2 of {SHIPPED}; beside them 2 of {old.card.id}" in capsys.readouterr().out


def test_the_api_compares_nothing_across(
    api: Api, operator: httpx2.Client, visit: Any, pictures: dict[str, list[bytes]], face_nets: Nets, old: Embedder
) -> None:
    store, photo = api.services.store, pictures[HOPPER][0]
    person = enrol_photos(store, HOPPER, pictures[HOPPER][1:], face_nets[0], old)
    home: Visitor = visit()
    path = "/v1/buildings/main"
    asked = {"photo": ("me.jpg", photo)}
    for answer in (
        add_photo(operator, person, photo),
        operator.post(f"{path}/identifications", files=asked),
        operator.post(f"{path}/persons/{person}/verifications", files=asked),
    ):
        assert problem_of(answer) == (503, "other-embedder") and old.card.id in answer.json()["detail"]
    assert "persons are not recognised" in home.get("/buildings/main").text
    for _ in reembed(store, *face_nets, None, 1):
        pass
    with store.session() as session:
        assert not embedders.switch(session, SHIPPED, SYSTEM)
    assert add_photo(operator, person, photo).status_code == 201
    assert operator.post(f"{path}/identifications", files=asked).json()["decision"] == "match"
    assert "persons are not recognised" not in home.get("/buildings/main").text


def test_the_api_goes_over_to_the_live_embedder(
    api: Api, pictures: dict[str, list[bytes]], face_nets: Nets, old: Embedder, at_hand: Embedders
) -> None:
    store = api.services.store
    services = replace(api.services, embedders=at_hand)
    assert services.embedder().card.id == SHIPPED
    enrol_photos(store, HOPPER, pictures[HOPPER], face_nets[0], old)
    assert services.embedder().card.id == old.card.id
    with store.session() as session:
        embedders.switch(session, SHIPPED, SYSTEM, force=True)
    assert services.embedder().card.id == SHIPPED


@pytest.fixture
def archive(faces: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for number in range(6):
            packed.writestr(f"{COLLINS}/{number}.jpg", another(faces[COLLINS], number))
        packed.writestr(f"{HOPPER}/9.jpg", another(faces[HOPPER], 9))
    return out.getvalue()


@pytest.fixture
def job(api: Api, at_hand: Embedders) -> Iterator[EnrolmentJob]:
    services = api.services
    running = EnrolmentJob(services.store, services.finder, at_hand, timedelta(seconds=1))
    yield running
    running.stop()


def test_an_archive_that_waits_is_enrolled_by_the_embedder_that_is_live_then(
    api: Api,
    operator: httpx2.Client,
    archive: bytes,
    job: EnrolmentJob,
    pictures: dict[str, list[bytes]],
    face_nets: Nets,
    old: Embedder,
) -> None:
    store = api.services.store
    enrol_photos(store, HOPPER, pictures[HOPPER], face_nets[0], old)
    made = operator.post("/v1/buildings/main/enrolments", files={"archive": ("people.zip", archive)}).json()
    location = f"/v1/operations/{made['id']}"
    job.start()
    wait_until(lambda: operator.get(location).json()["done"] >= 1, seconds=30)
    for _ in reembed(store, *face_nets, None, 1):
        pass
    with store.session() as session:
        embedders.switch(session, SHIPPED, SYSTEM, force=True)
    wait_until(lambda: operator.get(location).json()["state"] == "done", seconds=60)
    assert operator.get(location).json()["report"] == {"enrolled": 7}
    with store.reading() as session:
        left = len(embedders.unfinished(session, SHIPPED))
    assert 1 <= by_embedder(store)[SHIPPED] == 9 - left
