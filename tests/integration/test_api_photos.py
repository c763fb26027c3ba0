"""Enrolment over REST: which photos are taken, which are refused and why, and that the template is the person's."""

import io
import struct

import httpx2
import numpy as np
import pytest
from fixtures_api import BROKEN, ON_BOTH, Api, add_person, add_photo, encoded, problem_of, sideways
from PIL import Image, ImageFilter

from app.errors import PhotoError
from app.photos import LONGEST, enrol, read_photo
from app.store import galleries
from app.types import Array
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder

COLLINS, HOPPER = "Eileen Collins", "Grace Hopper"
Nets = tuple[FaceFinder, Embedder]


def opened(photo: bytes) -> Image.Image:
    return Image.open(io.BytesIO(photo)).convert("RGB")


def template(nets: Nets, photo: bytes) -> Array:
    return enrol(read_photo(photo), *nets).vector


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_upload_is_refused_with_a_problem_of_its_own(
    lasting_api: Api, lasting_operator: httpx2.Client, portrait_files: dict[str, bytes], fault: str
) -> None:
    status, code, make = BROKEN[fault]
    person = add_person(lasting_operator)
    answer = add_photo(lasting_operator, person, make(opened(portrait_files[COLLINS])))
    assert problem_of(answer) == (status, code)
    described = lasting_operator.get(answer.json()["type"]).json()
    assert described["title"] == answer.json()["title"]
    assert lasting_operator.get(f"/v1/buildings/main/persons/{person}").json()["photos"] == 0


def test_an_unusable_face_comes_with_reason_codes(
    lasting_operator: httpx2.Client, portrait_files: dict[str, bytes]
) -> None:
    photo = BROKEN["small face"][2](opened(portrait_files[COLLINS]))
    answer = add_photo(lasting_operator, add_person(lasting_operator), photo)
    assert "face_too_small" in answer.json()["reasons"]


@pytest.mark.parametrize("name", [COLLINS, HOPPER])
def test_a_portrait_is_enrolled_as_it_comes(
    api: Api, operator: httpx2.Client, portrait_files: dict[str, bytes], name: str, face_nets: Nets
) -> None:
    person = add_person(operator, name)
    answer = add_photo(operator, person, portrait_files[name])
    assert answer.status_code == 201, answer.text
    photo = answer.json()
    assert photo.pop("notices") == []
    assert photo["person"] == person and photo["media_type"] == "image/jpeg" and 0 < photo["quality"] <= 1
    assert operator.get(answer.headers["location"]).json() == photo
    embedder = face_nets[1]
    with api.services.store.reading() as session:
        changes = galleries.changes_since(session, "main", 0, embedder.card.id)
    assert changes.owners == (person,)
    kept = operator.get(f"{answer.headers['location']}/image")
    assert kept.headers["content-type"] == "image/jpeg" and "no-store" in kept.headers["cache-control"]
    again = template(face_nets, kept.content)  # from the kept photo, as a later embedder would see it
    assert float(changes.vectors[0] @ again) > 0.98


def test_the_same_person_matches_herself_and_nobody_else(face_nets: Nets, portrait_files: dict[str, bytes]) -> None:
    threshold = face_nets[1].threshold(templates=1000, target_fpir=1e-3)
    first, second = (template(face_nets, portrait_files[name]) for name in (COLLINS, HOPPER))
    smaller = opened(portrait_files[COLLINS]).resize((360, 360)).rotate(8, fillcolor="grey")
    other = template(face_nets, encoded(smaller, quality=60))
    assert float(first @ other) > threshold > float(first @ second)
    assert float(second @ other) < threshold


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(("orientation", "turn"), [(3, 180), (6, 90), (8, 270)])
def test_exif_turns_a_photo_upright(
    face_nets: Nets, portrait_files: dict[str, bytes], form: str, orientation: int, turn: int
) -> None:
    portrait = opened(portrait_files[COLLINS])
    lying = encoded(portrait.rotate(turn, expand=True), form, exif=sideways(orientation))
    similarity = float(template(face_nets, lying) @ template(face_nets, portrait_files[COLLINS]))
    assert similarity > 0.9


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_nonsense_in_other_fields_of_exif_does_no_harm(form: str) -> None:
    turned, text = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0), struct.pack("<HHI4s", 0x011A, 2, 4, b"abc\0")
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + turned + text + bytes(4)  # a resolution made of letters
    photo = read_photo(encoded(Image.new("RGB", (200, 120), "grey"), form, exif=exif))
    assert (photo.width, photo.height) == (120, 200)


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_face_that_is_not_upright_is_told_from_no_face(
    face_nets: Nets, portrait_files: dict[str, bytes], turn: int
) -> None:
    for name in (COLLINS, HOPPER):
        with pytest.raises(PhotoError) as caught:
            template(face_nets, encoded(opened(portrait_files[name]).rotate(turn, expand=True)))
        assert caught.value.code == "face-not-upright"


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA"])
def test_every_way_to_store_eight_bit_colours_is_read(
    face_nets: Nets, portrait_files: dict[str, bytes], mode: str
) -> None:
    photo = encoded(opened(portrait_files[COLLINS]).convert(mode), "PNG")
    assert float(template(face_nets, photo) @ template(face_nets, portrait_files[COLLINS])) > 0.7


def test_what_is_kept_is_smaller_and_without_metadata(portrait_files: dict[str, bytes]) -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    large = opened(portrait_files[HOPPER]).resize((2560, 3000))
    photo = read_photo(encoded(large, exif=exif.tobytes(), comment=b"taken at home"))
    assert (photo.width, photo.height) == (1365, LONGEST) and photo.image.shape == (LONGEST, 1365, 3)
    assert b"taken at home" not in photo.encoded and not Image.open(io.BytesIO(photo.encoded)).getexif()
    assert np.array_equal(photo.image[:, :, ::-1], np.asarray(Image.open(io.BytesIO(photo.encoded))))


def test_a_transparent_ground_becomes_white() -> None:
    photo = read_photo(encoded(Image.new("RGBA", (200, 200), (0, 0, 0, 0)), "PNG"))
    assert photo.image.min() >= 254


def test_a_passer_by_in_the_distance_does_no_harm(face_nets: Nets, portrait_files: dict[str, bytes]) -> None:
    portrait = opened(portrait_files[COLLINS])
    portrait.paste(opened(portrait_files[HOPPER]).resize((80, 94)), (400, 380))
    photo = read_photo(encoded(portrait))
    assert len(face_nets[0].find(photo.image)) == 2
    similarity = float(enrol(photo, *face_nets).vector @ template(face_nets, portrait_files[COLLINS]))
    assert similarity > 0.9


def test_a_small_face_gets_as_good_a_template_as_a_large_one(face_nets: Nets, portrait_files: dict[str, bytes]) -> None:
    hall = Image.new("RGB", (1600, 1200), "grey")
    hall.paste(opened(portrait_files[COLLINS]), (700, 400))
    photo = read_photo(encoded(hall))
    similarity = float(enrol(photo, *face_nets).vector @ template(face_nets, portrait_files[COLLINS]))
    assert similarity > 0.95
    left, top, right, bottom = enrol(photo, *face_nets).box
    assert 860 < left < right < 1000 and 440 < top < bottom < 600


def test_several_photos_of_one_person_and_the_erasure_of_one(
    api: Api, operator: httpx2.Client, portrait_files: dict[str, bytes], face_nets: Nets
) -> None:
    person = add_person(operator)
    photos = [portrait_files[COLLINS], encoded(opened(portrait_files[COLLINS]))]
    places = [add_photo(operator, person, photo).headers["location"] for photo in photos]
    path = f"/v1/buildings/main/persons/{person}/photos"
    assert [photo["id"] for photo in operator.get(path).json()["items"]] == [place.split("/")[-1] for place in places]
    receipt = operator.delete(places[0])
    assert receipt.status_code == 200
    assert (receipt.json()["photos"], receipt.json()["templates"], receipt.json()["complete"]) == (1, 1, True)
    assert problem_of(operator.get(f"{places[0]}/image")) == (404, "not-found")
    with api.services.store.reading() as session:
        assert len(galleries.changes_since(session, "main", 0, face_nets[1].card.id).owners) == 1


def test_a_file_is_enrolled_once_in_a_building(operator: httpx2.Client, portrait_files: dict[str, bytes]) -> None:
    first, second = add_person(operator), add_person(operator, "Kim Collins")
    assert add_photo(operator, first, portrait_files[COLLINS]).status_code == 201
    for person in (first, second):
        answer = add_photo(operator, person, portrait_files[COLLINS])
        assert problem_of(answer) == (409, "duplicate-photo") and answer.json()["person"] == first
    assert operator.get(f"/v1/buildings/main/persons/{second}").json()["photos"] == 0
    operator.post("/v1/buildings", json={"id": "annex", "name": "Annex"})
    elsewhere = add_person(operator, building="annex")
    assert add_photo(operator, elsewhere, portrait_files[COLLINS], "annex").status_code == 201


def codes(answer: httpx2.Response) -> list[str]:
    assert answer.status_code == 201, answer.text
    return [notice["code"] for notice in answer.json()["notices"]]


@ON_BOTH
def test_what_is_remarkable_about_a_photo_is_told_and_it_is_enrolled_all_the_same(
    operator: httpx2.Client, portrait_files: dict[str, bytes]
) -> None:
    collins, hopper = portrait_files[COLLINS], portrait_files[HOPPER]
    first = add_person(operator)
    photo = add_photo(operator, first, collins)
    assert codes(photo) == []
    again = add_photo(operator, first, encoded(opened(collins), quality=80))
    assert codes(again) == ["near_duplicate"]
    (near,) = again.json()["notices"]
    assert near["photo"] == photo.json()["id"] and near["similarity"] >= 0.95 and near["person"] is None
    wrong = add_photo(operator, first, hopper)
    assert codes(wrong) == ["not_the_same_person"] and wrong.json()["notices"][0]["advice"]
    twice = add_photo(operator, add_person(operator, "E. Collins"), encoded(opened(collins).resize((400, 400))))
    assert codes(twice) == ["duplicate_face"]  # a new person who is enrolled already
    (same,) = twice.json()["notices"]
    assert same["person"] == first and same["photo"] is None and 0.66 < same["similarity"] <= 1
    assert operator.get(f"/v1/buildings/main/persons/{first}").json()["photos"] == 3


def test_a_poor_photo_is_told(operator: httpx2.Client, portrait_files: dict[str, bytes]) -> None:
    blurred = opened(portrait_files[HOPPER]).resize((320, 375)).filter(ImageFilter.GaussianBlur(3.3))
    answer = add_photo(operator, add_person(operator, HOPPER), encoded(blurred))
    assert codes(answer) == ["low_quality"] and answer.json()["quality"] < 0.7
    assert answer.json()["notices"][0]["similarity"] is None


def test_enrolment_is_stricter_than_a_question(operator: httpx2.Client, portrait_files: dict[str, bytes]) -> None:
    """Every single measure is within its limit, so that a door would look at it."""
    unclear = encoded(opened(portrait_files[HOPPER]).resize((320, 375)).filter(ImageFilter.GaussianBlur(4)))
    refused = add_photo(operator, add_person(operator, HOPPER), unclear)
    assert problem_of(refused) == (422, "face-unusable") and refused.json()["reasons"] == ["low_quality"]
    told = operator.post("/v1/buildings/main/face-checks", files={"photo": ("me.jpg", unclear)}).json()
    assert (told["usable"], told["reasons"]) == (False, ["low_quality"]) and told["face"]["quality"] < 0.65
    assert all(told["face"][name]["passes"] for name in ("eye_distance", "score", "sharpness", "brightness", "yaw"))
    asked = operator.post("/v1/buildings/main/identifications", files={"photo": ("me.jpg", unclear)})
    assert asked.status_code == 200 and asked.json()["decision"] == "no_match"


def test_a_photo_for_nobody_is_not_looked_at(lasting_operator: httpx2.Client) -> None:
    assert problem_of(add_photo(lasting_operator, "per_nobody", b"not a photo")) == (404, "not-found")


def test_a_crowd_of_uploads_is_turned_away(api: Api, operator: httpx2.Client) -> None:
    person = add_person(operator)
    turnstile = api.services.turnstile
    present = [turnstile._present.acquire(blocking=False) for _ in range(16)]
    assert all(present)
    answer = add_photo(operator, person, b"not a photo")
    assert problem_of(answer) == (503, "too-busy") and int(answer.headers["retry-after"]) > 0
    turnstile._present.release()
    assert problem_of(add_photo(operator, person, b"not a photo")) == (415, "unsupported-media-type")
