"""How several templates become one similarity, on drawn people whose best rule is known."""

import numpy as np
import pytest

from app.errors import SetupError
from models.evaluate.fusion import ENROLLED, RULES, Templates, _rates, figures, roles, search
from models.evaluate.quality_faces import MEASURES, KnownFaces, Look
from models.labels import CheckedLabels


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True))


def drawn_faces(people: int = 40, photographs: int = 8, spread: float = 1.5) -> KnownFaces:
    """Photographs scattered evenly around each person's centre: then the middle of several is the best template."""
    random = np.random.default_rng(0)
    who = np.repeat(np.arange(people), photographs)
    centres = unit(random.normal(size=(people, 64)))
    vectors = unit(centres[who] + spread / 8 * random.normal(size=(len(who), 64))).astype(np.float32)
    measures = np.tile(random.uniform(0.5, 1, (len(who), 1)), (1, len(MEASURES)))
    everything = np.ones(len(who), bool)
    look = Look(everything, everything, vectors, measures, np.ones((len(who), 4)))
    labels = CheckedLabels(who, everything, 0, [], 0)
    return KnownFaces(who, np.arange(len(who)).astype(str), look, look, labels)


def test_each_rule_does_what_it_says() -> None:
    templates = Templates(unit(np.array([[[1.0, 0, 0], [0, 1, 0], [0.0, 0, 1]]])), np.array([[1.0, 1.0, 0.0]]))
    probe = unit(np.array([[2.0, 1.0, 0.0]]))
    cosines = np.einsum("pd,ged->pge", probe, templates.vectors)
    found = {name: float(rule(cosines, templates, probe)[0, 0]) for name, (rule, _) in RULES.items()}
    two, one = 2 / 5**0.5, 1 / 5**0.5
    middle = 3 / 15**0.5
    assert found == {
        "best": pytest.approx(two),
        "mean_of_two": pytest.approx((two + one) / 2),
        "mean_of_all": pytest.approx((two + one) / 3),
        "mean_template": pytest.approx(middle),
        "weighted_template": pytest.approx(3 / 10**0.5),
        "best_or_middle": pytest.approx(two),
    }


def test_only_usable_photographs_are_enrolled_and_none_of_them_searches() -> None:
    faces = drawn_faces(people=6)
    faces.plain.usable[:8] = False  # the first person has no usable one
    enrolled, searching = roles(faces)
    assert not (enrolled & searching).any()
    assert [int(enrolled[faces.people == person].sum()) for person in range(6)] == [0, *[ENROLLED] * 5]
    assert not searching[:8].any() and searching[8:].sum() == 5 * 5


def test_a_search_is_against_the_person_and_against_everybody_else() -> None:
    faces = drawn_faces(spread=0.9)
    enrolled, searching = roles(faces)
    people = np.arange(0, 40, 2)
    done = search(faces, (faces.plain,), people, enrolled, searching, "best")
    assert len(done.people) == 20 * (8 - ENROLLED) and done.people.max() == 19
    assert (done.mates > done.others).mean() > 0.95
    first, second, fpir, missed = _rates(done, 0.9, np.ones(20))
    assert np.isnan(second) and 0 <= first < 0.3  # a hundred strangers tell of no rate of one in a thousand
    assert fpir == 0 and missed > first


def test_the_middle_is_better_where_photographs_scatter_evenly() -> None:
    told = figures(drawn_faces(people=120, spread=2.4))
    for half in ("first_half", "second_half"):
        row = told[half]["both"]
        assert told[half]["people"] == 60 and row["searches"] == 600
        assert row["mean_template"]["fnir_at_0.01"]["more_than_best"] < 0
        low, high = row["best"]["fnir_at_0.01"]["interval"]
        assert low <= row["best"]["fnir_at_0.01"]["rate"] <= high
        assert row["best"]["target_fnir"]["more_interval"] == [0, 0]
        assert row["mean_template"]["threshold"] < row["best"]["threshold"]


def test_too_few_people_are_told() -> None:
    with pytest.raises(SetupError, match="3 people have more than 3 usable photographs"):
        figures(drawn_faces(people=3))
