"""Face checks: a photo is judged as enrolment would judge it, and nothing of it is kept."""

import io

import httpx2
import pytest
from fixtures_api import BROKEN, Api, add_person, add_photo, encoded, problem_of
from PIL import Image, ImageEnhance

CHECKS = "/v1/buildings/main/face-checks"
COLLINS = "Eileen Collins"
MEASURES = ("eye_distance", "score", "sharpness", "brightness", "yaw")


def check(client: httpx2.Client, photo: bytes) -> httpx2.Response:
    return client.post(CHECKS, files={"photo": ("me.jpg", photo)})


@pytest.fixture(scope="module")
def portrait(portrait_files: dict[str, bytes]) -> Image.Image:
    return Image.open(io.BytesIO(portrait_files[COLLINS])).convert("RGB")


def test_a_good_portrait_is_judged_as_enrolment_judges_it(
    api: Api, operator: httpx2.Client, portrait_files: dict[str, bytes]
) -> None:
    answer = check(operator, portrait_files[COLLINS])
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["usable"], told["reasons"], told["advice"]) == (True, [], [])
    face = told["face"]
    assert all(face[name]["passes"] for name in MEASURES)
    x1, y1, x2, y2 = face["box"]
    assert 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1
    person = add_person(operator)
    photo = add_photo(operator, person, portrait_files[COLLINS])
    assert photo.status_code == 201  # the check has kept nothing that would make this a duplicate
    assert face["quality"] == round(photo.json()["quality"], 4)
    assert answer.headers["ratelimit-policy"].startswith('"identify"')


@pytest.mark.parametrize(("fault", "reason"), [("small face", "face_too_small"), ("dark", "too_dark")])
def test_an_unusable_face_is_an_answer_with_advice(
    lasting_operator: httpx2.Client, portrait: Image.Image, fault: str, reason: str
) -> None:
    dark = encoded(ImageEnhance.Brightness(portrait).enhance(0.12))
    answer = check(lasting_operator, dark if fault == "dark" else BROKEN[fault][2](portrait))
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert not told["usable"] and reason in told["reasons"]
    assert len(told["advice"]) == len(told["reasons"]) and all(told["advice"])
    measure = told["face"]["eye_distance" if reason == "face_too_small" else "brightness"]
    assert not measure["passes"] and measure["value"] < measure["at_least"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("no face", "no_face"), ("two faces", "several_faces"), ("upside down", "face_not_upright")],
)
def test_a_photo_without_exactly_one_upright_face_is_an_answer(
    lasting_operator: httpx2.Client, portrait: Image.Image, fault: str, reason: str
) -> None:
    answer = check(lasting_operator, BROKEN[fault][2](portrait))
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["usable"], told["reasons"], told["face"]) == (False, [reason], None)
    assert len(told["advice"]) == 1 and told["advice"][0]


@pytest.mark.parametrize("fault", ["zero bytes", "text", "truncated PNG", "100 megapixels"])
def test_a_file_that_is_no_picture_is_refused(
    lasting_operator: httpx2.Client, portrait: Image.Image, fault: str
) -> None:
    status, code, make = BROKEN[fault]
    assert problem_of(check(lasting_operator, make(portrait))) == (status, code)


def test_faces_are_not_asked_for_without_end(lasting_api: Api) -> None:
    client = lasting_api.client()
    answers = [check(client, b"not a photo") for _ in range(61)]
    assert {problem_of(answer) for answer in answers[:60]} == {(415, "unsupported-media-type")}
    assert problem_of(answers[60]) == (429, "too-many-requests")
    assert int(answers[60].headers["retry-after"]) > 0
    for path in ("identifications", "persons/per_nobody/verifications"):
        refused = client.post(f"/v1/buildings/main/{path}", files={"photo": ("me.jpg", b"not a photo")})
        assert problem_of(refused) == (429, "too-many-requests")
