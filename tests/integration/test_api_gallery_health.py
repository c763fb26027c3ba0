"""The gallery's health over REST and as a page: of one building, to its operators, as the templates are now."""

from collections.abc import Callable, Sequence
from typing import Any

import httpx2
import numpy as np
import pytest
from fixtures_api import ON_BOTH, Api, add_person, problem_of
from fixtures_web import Visitor

from app.fusion import counted
from app.store import audit, buildings, people
from app.store.records import BuildingFields, NewPhoto, PersonFields, Scope
from app.types import Array

HEALTH = "/v1/buildings/{}/gallery-health"


def direction(seed: int, dimension: int) -> Array:
    """A random unit vector, (dimension,)."""
    vector = np.random.default_rng(seed).standard_normal(dimension)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def toward(start: Array, end: Array, similarity: float) -> Array:
    """The unit vector of this similarity to `start` on the way to `end`."""
    across = end - float(start @ end) * start
    across /= np.linalg.norm(across)
    return np.asarray(similarity * start + np.sqrt(1 - similarity**2) * across, np.float32)


def enrol(api: Api, building: str, name: str, vectors: Sequence[Array], qualities: Sequence[float]) -> str:
    """Id of a person with templates of the live embedder."""
    with api.services.store.session() as session:
        person = people.create(session, building, PersonFields(name)).id
        for vector, quality in zip(vectors, qualities, strict=True):
            photo = NewPhoto(b"picture", "image/jpeg", 640, 480, quality)
            embedder = api.services.embedders.shipped
            people.add_photo(session, building, person, photo, embedder=embedder, vector=vector)
    return person


@pytest.fixture
def house(api: Api) -> dict[str, str]:
    """Ids of "main": two who look alike, one with photos that do not agree, one poor photo, one without any."""
    size = api.services.embedder().dimension
    ada, ben, cleo, dan, aside, away = (direction(seed, size) for seed in range(6))
    made = {
        "Ada": enrol(api, "main", "Ada", [ada, toward(ada, aside, 0.9)], [0.9, 0.9]),
        "Ben": enrol(api, "main", "Ben", [toward(ada, ben, 0.8)], [0.9]),
        "Cleo": enrol(api, "main", "Cleo", [cleo, toward(cleo, away, 0.1)], [0.9, 0.9]),
        "Dan": enrol(api, "main", "Dan", [dan], [0.5]),
    }
    with api.services.store.session() as session:
        made["Eve"] = people.create(session, "main", PersonFields("Eve")).id
        buildings.create(session, "annex", BuildingFields("Annex"))
    enrol(api, "annex", "Zoe of the annex", [ada], [0.9])  # as Ada looks, in another building
    return made


def health(client: httpx2.Client, building: str = "main") -> dict[str, Any]:
    answer = client.get(HEALTH.format(building))
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


@ON_BOTH
def test_a_gallery_tells_who_looks_alike_and_whom_to_photograph_again(
    api: Api, operator: httpx2.Client, house: dict[str, str]
) -> None:
    told = health(operator)
    embedder = api.services.embedder()
    assert (told["embedder"], told["templates"], told["target_fpir"]) == (embedder.card.id, 6, 1e-3)
    assert (told["persons"], told["persons_unknown"], told["persons_with_one_photo"]) == (4, 1, 2)
    compared = counted([2, 2, 1, 1])
    threshold = embedder.threshold(compared, 1e-3)
    assert told["threshold"] == round(threshold, 4) and told["target_kept"]
    assert told["templates_known"] == embedder.most_templates(1e-3) >= 6
    assert told["expected_fpir"] == pytest.approx(embedder.expected_fpir(compared, threshold), rel=1e-2)
    assert 0 < told["expected_fpir"] <= 1.01e-3
    (pair,) = told["look_alikes"]
    assert (pair["first"]["name"], pair["second"]["name"]) in {("Ada", "Ben"), ("Ben", "Ada")}
    assert pair["confused"] and pair["similarity"] == pytest.approx(0.8, abs=1e-3)
    weak = {one["person"]["name"]: one["reasons"] for one in told["weak_templates"]}
    assert weak == {"Dan": ["low_quality", "only_one_photo"], "Cleo": ["unlike_own_photos"]}
    again = {one["person"]["id"]: one["reasons"] for one in told["photograph_again"]}
    assert again == {
        house["Eve"]: ["no_template"],
        house["Dan"]: ["low_quality", "only_one_photo"],
        house["Cleo"]: ["unlike_own_photos"],
        house["Ada"]: ["looks_like_somebody"],
        house["Ben"]: ["looks_like_somebody", "only_one_photo"],
    }
    assert told["photograph_again"][0]["person"] == {"id": house["Eve"], "name": "Eve"}
    missed = told["expected_fnir"]
    assert (missed["share"], missed["photos"], missed["persons"]) == (0.5, 4, 2)  # Cleo's two of four
    assert told["expected_fnir_unknown"] is None
    assert told["look_alikes_total"] == 1 and told["weak_templates_total"] == 3 and told["photograph_again_total"] == 5


@ON_BOTH
def test_it_is_of_one_building_and_of_this_moment(api: Api, operator: httpx2.Client, house: dict[str, str]) -> None:
    other = health(operator, "annex")
    assert (other["persons"], other["templates"], other["look_alikes"]) == (1, 1, [])
    assert (other["expected_fnir"], other["expected_fnir_unknown"]) == (None, "no_second_photos")
    assert "annex" not in str(health(operator))
    assert operator.delete(f"/v1/buildings/main/persons/{house['Ben']}").status_code == 200
    told = health(operator)
    assert told["look_alikes"] == [] and told["templates"] == 5 and "Ben" not in str(told)


def test_an_empty_gallery_has_nothing_to_tell(operator: httpx2.Client) -> None:
    told = health(operator)
    assert (told["templates"], told["persons"], told["expected_fpir"]) == (0, 0, 0)
    assert told["look_alikes"] == told["weak_templates"] == told["photograph_again"] == []


def test_names_go_to_operators_of_the_building_alone(api: Api, house: dict[str, str]) -> None:
    path = HEALTH.format("main")
    assert api.client(Scope.OPERATOR, "main").get(path).status_code == 200
    assert problem_of(api.client(Scope.VIEWER, "main").get(path)) == (403, "scope-too-small")
    assert problem_of(api.client(Scope.OPERATOR, "annex").get(path)) == (403, "other-building")
    assert problem_of(api.client().get(HEALTH.format("nowhere"))) == (404, "not-found")


def test_lists_end_and_their_totals_go_on(api: Api, operator: httpx2.Client) -> None:
    for number in range(120):
        add_person(operator, f"Somebody {number:03}")
    told = health(operator)
    assert (len(told["photograph_again"]), told["photograph_again_total"], told["persons_unknown"]) == (100, 120, 120)


def test_a_gallery_past_what_is_known_says_so(api: Api, operator: httpx2.Client, house: dict[str, str]) -> None:
    """The strictest threshold stays; the field, the page and `identifications` tell."""
    with api.services.store.session() as session:
        present = buildings.get(session, "main")
        buildings.update(session, "main", BuildingFields(present.fields.name, target_fpir=1e-9), present.revision)
    told = health(operator)
    embedder = api.services.embedder()
    assert not told["target_kept"] and told["templates_known"] < 6
    assert told["threshold"] == round(embedder.threshold(10**9, 1e-3), 4)
    assert told["expected_fpir"] > 1e-9


def test_the_page_shows_it_and_changes_how_strict_doors_are(
    api: Api, house: dict[str, str], visit: Callable[..., Visitor]
) -> None:
    visitor, path = visit(Scope.OPERATOR, "main"), "/buildings/main"
    page = visitor.get(f"{path}/gallery-health").text
    assert "Ada" in page and "Eve" in page and "Zoe" not in page and 'value="0.001"' in page
    with api.services.store.reading() as session:
        revision = str(buildings.get(session, "main").revision)
    saved = visitor.post(path, target_fpir="0,0002", revision=revision)
    assert saved.status_code == 303 and saved.headers["location"] == f"{path}/gallery-health?saved=1"
    assert 'value="0.0002"' in visitor.get(saved.headers["location"]).text
    with api.services.store.reading() as session:
        assert buildings.get(session, "main").fields.target_fpir == 2e-4
        (entry,) = audit.listing(session, 9, None, "main", "building.changed").items
    assert (entry.actor.kind, entry.detail["target_fpir"]) == ("session", {"from": 1e-3, "to": 2e-4})
    late = visitor.post(path, target_fpir="0.001", revision=revision)
    assert late.status_code == 422 and "Somebody changed this meanwhile" in late.text
    for wrong in ("2", "0", "", "often"):
        answer = visitor.post(path, target_fpir=wrong, revision=str(int(revision) + 1))
        assert answer.status_code == 422 and 'id="target_fpir-wrong"' in answer.text, wrong
    assert visit(Scope.VIEWER, "main").get(f"{path}/gallery-health").status_code == 403
