"""The gallery against a plain search over the middles of all people, and its behaviour while it changes."""

import threading
from dataclasses import replace

import faiss
import numpy as np
import pytest

from app.gallery import Gallery
from app.types import Array, GalleryChanges, Person

D = 16


def unit(rows: int, seed: int = 0) -> Array:
    vectors = np.random.default_rng(seed).standard_normal((rows, D)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def changes(sequence: int, owners: list[str], vectors: Array, *gone: str) -> GalleryChanges:
    persons = {owner: Person(owner, owner.title()) for owner in owners}
    return GalleryChanges(sequence, frozenset({*owners, *gone}), persons, tuple(owners), vectors)


def test_nobody_is_known_to_an_empty_gallery() -> None:
    gallery = Gallery(D)
    match = gallery.search(unit(1))[0]
    assert (match.person, match.similarity, match.margin) == (None, -1.0, 2.0)
    assert (gallery.templates, gallery.sequence, gallery.person("ada")) == (0, 0, None)


def test_no_query_is_no_match() -> None:
    gallery = Gallery(D)
    assert gallery.search(unit(0)) == []
    gallery.apply(changes(1, ["ada"], unit(1)))
    assert gallery.search(unit(0)) == []


def test_a_single_person_has_no_rival() -> None:
    gallery = Gallery(D)
    vectors = unit(3)
    gallery.apply(changes(1, ["ada"] * 3, vectors))
    middle = vectors.mean(axis=0, keepdims=True) / np.linalg.norm(vectors.mean(axis=0))
    match = gallery.search(middle)[0]
    assert match.person == Person("ada", "Ada")
    assert match.similarity == pytest.approx(1) and match.similarity <= 1
    assert match.margin == 2.0


@pytest.mark.parametrize("counts", [(1, 1), (40, 1), (1, 40, 2), (3, 3, 3, 3), (100, 100, 1)])
def test_search_equals_the_plain_search_over_the_middles(counts: tuple[int, ...]) -> None:
    owners = [f"p{person}" for person, count in enumerate(counts) for _ in range(count)]
    vectors, queries = unit(len(owners)), unit(50, seed=1)
    gallery = Gallery(D)
    gallery.apply(changes(1, owners, vectors))
    assert gallery.templates == len(owners)
    assert gallery.comparisons == pytest.approx(sum(count**0.5 for count in counts))
    for query, match in zip(queries, gallery.search(queries), strict=True):
        similarities = {}
        for person in dict.fromkeys(owners):
            middle = vectors[[owner == person for owner in owners]].sum(axis=0)
            similarities[person] = float(middle @ query / np.linalg.norm(middle))
        first, second = sorted(similarities, key=similarities.__getitem__, reverse=True)[:2]
        assert match.person is not None and match.person.id == first
        assert match.similarity == pytest.approx(similarities[first], abs=1e-5)
        assert match.margin == pytest.approx(similarities[first] - similarities[second], abs=1e-5)


def test_two_persons_with_one_face_have_no_margin() -> None:
    gallery = Gallery(D)
    vector = unit(1)
    gallery.apply(changes(1, ["ada", "twin"], np.concatenate([vector, vector])))
    assert gallery.search(vector)[0].margin == pytest.approx(0)


def test_changes_touch_only_those_who_changed() -> None:
    gallery = Gallery(D)
    vectors = unit(4)
    gallery.apply(changes(2, ["ada", "ada", "ben"], vectors[:3]))
    gallery.apply(changes(3, ["ada"], vectors[3:]))
    assert (gallery.sequence, gallery.templates) == (3, 2)
    found = gallery.search(vectors)
    assert found[2].person == Person("ben", "Ben") and found[2].similarity == pytest.approx(1)
    assert found[3].person == Person("ada", "Ada") and found[3].similarity == pytest.approx(1)
    assert found[0].similarity < 0.99 and found[1].similarity < 0.99


def test_the_middle_follows_when_one_of_several_templates_goes() -> None:
    gallery = Gallery(D)
    vectors = np.eye(D, dtype=np.float32)[:3]
    gallery.apply(changes(1, ["ada", "ada", "ben"], vectors))
    assert gallery.search(vectors[:1])[0].similarity == pytest.approx(2**-0.5)
    gallery.apply(changes(2, ["ada"], vectors[:1]))
    assert (gallery.templates, gallery.comparisons) == (2, 2)
    assert gallery.search(vectors[:1])[0].similarity == pytest.approx(1)


def test_rights_follow() -> None:
    gallery = Gallery(D)
    change = changes(1, ["ada"], unit(1))
    gallery.apply(change)
    staff = Person("ada", "Ada", frozenset({"staff"}))
    gallery.apply(replace(change, sequence=2, persons={"ada": staff}))
    assert gallery.person("ada") == gallery.search(unit(1))[0].person == staff
    assert gallery.templates == 1


def test_an_erased_person_is_gone_at_once() -> None:
    gallery = Gallery(D)
    vectors = unit(2)
    gallery.apply(changes(1, ["ada", "ben"], vectors))
    gallery.apply(changes(2, [], unit(0), "ada"))
    assert gallery.person("ada") is None
    match = gallery.search(vectors[:1])[0]
    assert match.person == Person("ben", "Ben") and match.margin == 2.0
    gallery.apply(changes(3, [], np.zeros((0, 0), np.float32), "ben"))
    assert gallery.templates == 0 and gallery.search(vectors)[1].person is None


def test_older_changes_are_refused() -> None:
    gallery = Gallery(D)
    gallery.apply(changes(5, ["ada"], unit(1)))
    with pytest.raises(ValueError, match="gallery at 5"):
        gallery.apply(changes(4, [], unit(0), "ada"))
    assert gallery.templates == 1


@pytest.mark.parametrize("vectors", [unit(1) * 2, unit(1) * np.nan, unit(1)[:, :8], np.zeros((1, D), np.float32)])
def test_vectors_that_are_no_embeddings_are_refused(vectors: Array) -> None:
    gallery = Gallery(D)
    with pytest.raises(ValueError):
        gallery.apply(changes(1, ["ada"], vectors))
    gallery.apply(changes(1, ["ada"], unit(1)))
    with pytest.raises(ValueError):
        gallery.search(vectors)


def test_double_precision_is_taken() -> None:
    gallery = Gallery(D)
    gallery.apply(changes(1, ["ada"], unit(1).astype(np.float64)))  # type: ignore[arg-type]
    assert gallery.search(unit(1).astype(np.float64))[0].similarity == pytest.approx(1)  # type: ignore[arg-type]


def test_a_search_uses_one_core_in_any_thread() -> None:
    gallery = Gallery(D)
    gallery.apply(changes(1, ["ada"], unit(1)))
    cores = []

    def search() -> None:
        faiss.omp_set_num_threads(4)
        gallery.search(unit(1))
        cores.append(faiss.omp_get_max_threads())

    thread = threading.Thread(target=search)
    thread.start()
    thread.join()
    assert cores == [1]


def test_a_search_sees_the_old_or_the_new_gallery_and_nothing_between() -> None:
    """Two persons swap their faces again and again: whoever is found must own the face and be alone with it."""
    gallery = Gallery(D)
    vectors = np.eye(D, dtype=np.float32)[:2]
    gallery.apply(changes(1, ["ada", "ben"], vectors))
    swapping = threading.Thread(
        target=lambda: [
            gallery.apply(changes(step, ["ada", "ben"], vectors if step % 2 else vectors[::-1]))
            for step in range(2, 400)
        ]
    )
    swapping.start()
    searches = 0
    while swapping.is_alive() or not searches:
        first, second = gallery.search(vectors)
        assert first.similarity == second.similarity == first.margin == second.margin == 1
        assert first.person != second.person
        searches += 1
    swapping.join()
    assert gallery.sequence == 399
