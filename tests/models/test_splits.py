"""Which picture is on which side: by name, variants and near-duplicates together."""

import cv2
import numpy as np
import pytest

from models.detection.splits import ALIKE, MEASURED, TEST, TRAIN, VALIDATION, gradient_hash, original, split_of, splits


def scene(seed: int) -> np.ndarray:
    """A picture of soft blobs, as different from the next seed's as two scenes are."""
    rough = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(rough, (320, 240), interpolation=cv2.INTER_CUBIC), np.uint8)


def differing(a: np.ndarray, b: np.ndarray) -> int:
    return (gradient_hash(a) ^ gradient_hash(b)).bit_count()


def test_a_tenth_each_is_for_testing_and_validation() -> None:
    places = [split_of(f"set/images/{number}.jpg") for number in range(5000)]
    for place, share in ((TRAIN, 0.8), (VALIDATION, 0.1), (TEST, 0.1)):
        assert places.count(place) / len(places) == pytest.approx(share, abs=0.015)


def test_the_place_does_not_depend_on_set_folder_suffix_or_variant() -> None:
    for number in range(50):
        places = {split_of(name) for name in (f"a/images/{number}.jpg", f"b/{number}~7.png", f"c/x/{number}~0.jpg")}
        assert len(places) == 1


@pytest.mark.parametrize("measured", sorted(MEASURED))
def test_sets_for_measuring_train_nothing(measured: str) -> None:
    assert {split_of(f"{measured}/images/{number}.jpg") for number in range(50)} == {TEST}


def test_lfw_measures() -> None:
    assert "lfw_pairs_150px" in MEASURED


def test_original() -> None:
    assert original("set/images/door~00012.jpg") == original("set/images/door~3.png") == "set/images/door"
    assert original("set/images/door.jpg") == "set/images/door"


def test_the_hash_survives_what_cameras_and_encoders_do() -> None:
    for seed in range(20):
        picture = scene(seed)
        smaller = cv2.resize(picture, (200, 150), interpolation=cv2.INTER_AREA)
        coded = cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)
        darker = (picture * 0.6).astype(np.uint8)
        assert max(differing(picture, other) for other in (smaller, coded, darker)) <= ALIKE
        assert differing(picture, scene(seed + 100)) > ALIKE


def test_near_duplicates_never_straddle() -> None:
    generator = np.random.default_rng(0)
    hashes = {f"set/{number}.jpg": int(generator.integers(2**63)) for number in range(400)}
    copies = {f"other/copy{number}.jpg": hashes[f"set/{number}.jpg"] ^ 0b1011 for number in range(400)}
    places = splits(hashes | copies)
    assert all(places[f"set/{number}.jpg"] == places[f"other/copy{number}.jpg"] for number in range(400))
    assert len(set(places.values())) == 3


def test_a_group_has_the_strictest_place_of_its_members() -> None:
    names = [f"a/{number}.jpg" for number in range(200)]
    own = {place: [name for name in names if split_of(name) == place] for place in (TRAIN, VALIDATION, TEST)}
    for places in ((TRAIN, TEST), (VALIDATION, TEST), (TRAIN, VALIDATION)):
        for first, second in zip(*(own[place] for place in places), strict=False):
            assert set(splits({first: 7, second: 7}).values()) == {places[1]}


def test_no_picture_of_a_set_is_less_strict_in_a_union() -> None:
    strictness = (TRAIN, VALIDATION, TEST).index
    generator = np.random.default_rng(1)
    alone = {f"a/{number}.jpg": int(generator.integers(2**63)) for number in range(300)}
    others = {f"b/x{number}.jpg": value ^ 0b101 for number, value in enumerate(alone.values())}
    before, after = splits(alone), splits(alone | others)
    assert all(strictness(after[name]) >= strictness(before[name]) for name in alone)
    assert any(strictness(after[name]) > strictness(before[name]) for name in alone)


def test_variants_share_a_place_though_they_look_different() -> None:
    places = splits({"set/a~0.jpg": 0, "set/a~1.jpg": 2**64 - 1, "set/a~2.jpg": 2**32 - 1})
    assert len(set(places.values())) == 1


def test_whatever_looks_like_a_picture_for_measuring_is_for_testing() -> None:
    names = [f"set/{number}.jpg" for number in range(40)]
    assert TRAIN in {split_of(name) for name in names}
    places = splits({"pennfudan_persons_170/images/x.jpg": 5} | dict.fromkeys(names, 7))
    assert set(places.values()) == {TEST}


def test_likeness_is_passed_on() -> None:
    chain = {f"set/{step}.jpg": (1 << (step * 5)) - 1 for step in range(12)}  # each differs by 5 bits from the next
    assert len(set(splits(chain).values())) == 1


def test_no_picture() -> None:
    assert splits({}) == {}
