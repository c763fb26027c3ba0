"""Who is on a photo, and is it this person: answered from the templates as they are now, on the record."""

import io
from typing import Any

import httpx2
import pytest
from fixtures_api import ON_BOTH, Api, add_person, add_photo, encoded, problem_of
from PIL import Image

from app.store import audit

BUILDING = "/v1/buildings/main"
COLLINS, HOPPER = "Eileen Collins", "Grace Hopper"


def ask(client: httpx2.Client, photo: bytes, path: str = "identifications", **query: Any) -> dict[str, Any]:
    answer = client.post(f"{BUILDING}/{path}", files={"photo": ("me.jpg", photo)}, params=query)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def entries(api: Api, action: str) -> list[audit.AuditRecord]:
    with api.services.store.reading() as session:
        return audit.listing(session, 10, None, "main", action).items


def enrolled(client: httpx2.Client, name: str, photo: bytes, **more: Any) -> str:
    person = add_person(client, name, **more)
    answer = add_photo(client, person, photo, more.get("building", "main"))
    assert answer.status_code == 201, answer.text
    return person


@pytest.fixture(scope="module")
def glance(portrait_files: dict[str, bytes]) -> bytes:
    """Another photo of Eileen Collins: smaller, tilted, grainier."""
    portrait = Image.open(io.BytesIO(portrait_files[COLLINS])).convert("RGB")
    return encoded(portrait.resize((360, 360)).rotate(8, fillcolor="grey"), quality=60)


@ON_BOTH
def test_a_face_is_found_and_the_question_is_on_record(
    api: Api, operator: httpx2.Client, portrait_files: dict[str, bytes], glance: bytes
) -> None:
    collins = enrolled(operator, COLLINS, portrait_files[COLLINS], valid_until="2020-01-01T00:00:00Z")
    hopper = enrolled(operator, HOPPER, portrait_files[HOPPER])
    told = ask(operator, glance)
    assert told["decision"] == "match" and told["templates"] == 2
    assert [candidate["person"]["id"] for candidate in told["candidates"]] == [collins, hopper]
    first, second = told["candidates"]
    assert first["similarity"] > told["threshold"] > second["similarity"]
    assert told["margin"] == pytest.approx(first["similarity"] - second["similarity"], abs=2e-4)
    assert (first["person"]["name"], first["person"]["valid"]) == (COLLINS, False) and second["person"]["valid"]
    assert len(ask(operator, glance, candidates=1)["candidates"]) == 1
    entry = entries(api, "face.identified")[0]
    assert (entry.target, entry.actor.name) == (collins, "operator of None")
    assert entry.detail == {"decision": "match", "templates": 2}
    operator.delete(f"{BUILDING}/persons/{collins}")
    told = ask(operator, glance)
    assert told["decision"] == "no_match" and told["margin"] is None
    assert [candidate["person"]["id"] for candidate in told["candidates"]] == [hopper]
    assert entries(api, "face.identified")[0].target == ""


@ON_BOTH
def test_a_person_is_verified_by_the_own_photos_alone(
    api: Api, operator: httpx2.Client, portrait_files: dict[str, bytes], glance: bytes
) -> None:
    collins, nobody = enrolled(operator, COLLINS, portrait_files[COLLINS]), add_person(operator, HOPPER)
    same = ask(operator, glance, f"persons/{collins}/verifications")
    assert same["same_person"] and same["similarity"] >= same["threshold"] and same["templates"] == 1
    other = ask(operator, portrait_files[HOPPER], f"persons/{collins}/verifications")
    assert not other["same_person"] and other["similarity"] < other["threshold"]
    unknown = ask(operator, glance, f"persons/{nobody}/verifications")
    assert (unknown["same_person"], unknown["similarity"], unknown["templates"]) == (False, None, 0)
    said = [(entry.target, entry.detail["same_person"]) for entry in entries(api, "face.verified")]
    assert said == [(nobody, False), (collins, False), (collins, True)]
    missing = operator.post(f"{BUILDING}/persons/per_nobody/verifications", files={"photo": ("me.jpg", glance)})
    assert problem_of(missing) == (404, "not-found")


def test_two_people_with_one_face_are_ambiguous(
    operator: httpx2.Client, portrait_files: dict[str, bytes], glance: bytes
) -> None:
    enrolled(operator, COLLINS, portrait_files[COLLINS])
    again = encoded(Image.open(io.BytesIO(portrait_files[COLLINS])).convert("RGB"), quality=80)
    enrolled(operator, "Her twin", again)
    told = ask(operator, glance)
    assert told["decision"] == "ambiguous" and told["margin"] < told["least_margin"]


def test_nobody_of_another_building_is_found(
    operator: httpx2.Client, portrait_files: dict[str, bytes], glance: bytes
) -> None:
    operator.post("/v1/buildings", json={"id": "annex", "name": "Annex"})
    enrolled(operator, COLLINS, portrait_files[COLLINS], building="annex")
    told = ask(operator, glance)
    assert (told["decision"], told["candidates"], told["templates"]) == ("no_match", [], 0)


def test_a_photo_without_a_usable_face_is_refused(lasting_operator: httpx2.Client, glance: bytes) -> None:
    empty = encoded(Image.new("RGB", (200, 200), "grey"))
    for path in ("identifications", f"persons/{add_person(lasting_operator)}/verifications"):
        answer = lasting_operator.post(f"{BUILDING}/{path}", files={"photo": ("me.jpg", empty)})
        assert problem_of(answer) == (422, "no-face")
