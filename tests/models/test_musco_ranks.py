"""Rules that choose ranks, against values worked out apart."""

import math

import pytest
from drawn_weights import low_rank, normal

pytest.importorskip("torch", reason="needs the train extra: pip install torch")

import numpy as np

from models.compress.ranks import (
    Candidate,
    Cut,
    Energy,
    Error,
    Ranks,
    Step,
    WeakenedEvidence,
    convex,
    descent,
    weakened,
)
from models.numerics.tucker import error_bound, hooi, relative_error


def kernel(outputs: int, inputs: int, side: int = 3, now: Ranks = (), seen: int = 1, cells: int = 1) -> Candidate:
    core = np.ones((*(now or (outputs, inputs)), side, side))
    return Candidate("tucker2", (outputs, inputs, side, side), seen, cells, core, now)


CUTS = {  # (out, in) of 3x3 -> ranks at 2 and 3.16, and the cut of the parameters at 2
    (64, 64): ((38, 38), (29, 29), 2.0641),
    (128, 64): ((67, 42), (49, 31), 2.0150),
    (64, 128): ((54, 54), (41, 41), 2.0138),
    (512, 512): ((309, 309), (236, 236), 2.0066),
    (512, 64): ((185, 29), (128, 20), 2.0358),
}


@pytest.mark.parametrize(("channels", "expected"), CUTS.items())
def test_fixed_cuts(channels: tuple[int, int], expected: tuple[Ranks, Ranks, float]) -> None:
    layer = kernel(*channels)
    assert Cut(times=2).wanted(layer) == expected[0] and Cut(times=3.16).wanted(layer) == expected[1]
    kept = layer.cost("parameters", expected[0])
    assert layer.cost("parameters", ()) / kept == pytest.approx(expected[2], abs=5e-5)


@pytest.mark.parametrize(("ranks", "count"), [((), 1728), ((8, 6), 632), ((4, 4), 256), ((12, 9), 1272)])
def test_weights_at_given_ranks(ranks: Ranks, count: int) -> None:
    assert kernel(16, 12).cost("parameters", ranks) == count


def test_a_second_cut_counts_the_ranks_in_their_order() -> None:
    assert Cut(times=2).wanted(kernel(512, 64, now=(185, 29))) == (102, 16)  # (57, 9) with the two exchanged


def test_a_cut_of_parameters_is_less_of_a_cut_of_multiply_adds() -> None:
    layer = kernel(128, 64, seen=32 * 32, cells=16 * 16)
    ranks = Cut(times=2).wanted(layer)
    cuts = [layer.cost(by, ()) / layer.cost(by, ranks) for by in ("parameters", "macs")]
    assert cuts == pytest.approx([2.015, 1.651], abs=5e-4)
    macs = Cut(times=2, by="macs").wanted(layer)
    assert 2 <= layer.cost("macs", ()) / layer.cost("macs", macs) < 2.1


@pytest.mark.parametrize("by", ["parameters", "macs"])
@pytest.mark.parametrize("times", [1.2, 2, 5])
@pytest.mark.parametrize(
    "layer", [kernel(64, 3, 7), kernel(64, 256), kernel(16, 16, seen=64, cells=16), kernel(256, 24)]
)
def test_a_cut_is_never_too_small_and_no_rank_too_large(layer: Candidate, times: float, by: str) -> None:
    ranks = layer.smaller(Cut(times=times, by=by).wanted(layer))
    if ranks is not None:
        assert ranks[0] <= layer.shape[0] and ranks[1] <= layer.shape[1]
        assert layer.cost(by, ranks) <= layer.cost(by, ()) / times
    else:
        assert layer.shape[1] == 3 or times < 2  # only what hardly pays stays as it is


def test_where_one_rank_reaches_its_limit_the_other_takes_the_rest() -> None:
    layer = kernel(64, 256)
    assert Cut(times=2).wanted(layer) == (64, 83)
    assert layer.cost("parameters", (64, 84)) > layer.cost("parameters", ()) / 2 >= layer.cost("parameters", (64, 83))


@pytest.mark.parametrize("form", ["cp", "pair"])
def test_a_cut_of_one_rank_is_the_largest(form: str) -> None:
    shape = (64, 64, 3, 3) if form == "cp" else (64, 100)
    layer = Candidate(form, shape, 16, 4, np.ones(shape))
    (rank,) = Cut(times=2).wanted(layer)
    limit = layer.cost("parameters", ()) / 2
    assert layer.cost("parameters", (rank,)) <= limit < layer.cost("parameters", (rank + 1,))
    assert rank == (134 if form == "cp" else 19)


@pytest.mark.parametrize(("side", "times", "rank"), [(22, 1.1, 10), (44, 1.1, 20), (66, 2.2, 15), (64, 2.0, 16)])
def test_a_cut_does_not_lose_a_rank_to_rounding(side: int, times: float, rank: int) -> None:
    layer = Candidate("pair", (side, side), 1, 1, np.ones((side, side)))
    assert Cut(times=times).wanted(layer) == (rank,)


@pytest.mark.parametrize(
    ("rank", "evidence", "weakening", "expected"), [(64, 20, 0.8, 28), (512, 100, 0.7, 223), (128, 64, 0.5, 96)]
)
def test_weakened_ranks(rank: int, evidence: int, weakening: float, expected: int) -> None:
    assert weakened(rank, evidence, weakening) == expected


def test_weakening_does_not_lose_a_rank_to_rounding() -> None:
    assert int(451 - 0.54 * (451 - 1)) == 207  # 208 in numbers without rounding
    assert weakened(451, 1, 0.54) == 208


def test_evidence_in_both_unfoldings() -> None:
    core = low_rank(64, 32, 4, 1.0)
    layer = Candidate("tucker2", core.shape, 1, 1, core)
    assert WeakenedEvidence(weakening=0.8).wanted(layer) == (weakened(64, 4, 0.8), weakened(32, 4, 0.8))
    assert WeakenedEvidence(weakening=0.8, smallest=40).wanted(layer) == (weakened(64, 4, 0.8), 32)


def test_ranks_below_21_are_left_alone() -> None:
    core = low_rank(21, 20, 4, 1.0)
    assert WeakenedEvidence().wanted(Candidate("tucker2", core.shape, 1, 1, core)) == (weakened(21, 4, 0.7), 20)


def test_without_evidence_a_layer_stays() -> None:
    noise = normal(64, 64, 3, 3)
    layer = Candidate("tucker2", noise.shape, 1, 1, noise)
    assert WeakenedEvidence().choose([layer], 0) == [None]


@pytest.mark.parametrize("keep", [0.5, 0.9, 0.99])
def test_energy_and_error_are_kept(keep: float) -> None:
    core = low_rank(32, 24, 6, 1.5)
    layer = Candidate("tucker2", core.shape, 64, 64, core)
    ranks = Energy(keep=keep).wanted(layer)
    assert relative_error(hooi(core, ranks).dense(), core) ** 2 <= 1 - keep
    assert ranks == Error(largest=math.sqrt(1 - keep)).wanted(layer)
    assert keep == 0.99 or min(ranks) < 24


def test_a_pair_keeps_just_enough() -> None:
    matrix = normal(30, 20)
    layer = Candidate("pair", matrix.shape, 1, 1, matrix)
    shares = np.square(np.linalg.svd(matrix, compute_uv=False)).cumsum() / np.square(matrix).sum()
    assert Energy(keep=0.8).wanted(layer) == (int((shares < 0.8).sum()) + 1,)


def test_the_error_of_a_descent_is_the_bound() -> None:
    core = normal(12, 10, 3, 3)
    steps = list(descent(Candidate("tucker2", core.shape, 4, 1, core)))
    assert steps[0].ranks == (12, 10) and steps[-1].ranks == (1, 1) and len(steps) == 21
    for step in steps[:: len(steps) // 4]:
        assert step.error == pytest.approx(error_bound(core, step.ranks) ** 2, abs=1e-12)


def test_a_descent_takes_from_both_ranks() -> None:
    noise = normal(32, 32, 3, 3)
    ranks = [step.ranks for step in descent(Candidate("tucker2", noise.shape, 64, 64, noise))]
    assert all(abs(outputs - inputs) <= 3 for outputs, inputs in ranks)


def test_the_convex_hull_gets_dearer() -> None:
    losses = [(100, 0.0), (90, 0.5), (60, 0.6), (50, 0.65), (40, 1.9), (20, 2.0), (10, 9.0)]
    hull = convex([Step((cost,), cost, 0.0, loss) for cost, loss in losses])
    assert [step.cost for step in hull] == [100, 50, 20, 10]


def test_a_layer_that_would_not_become_smaller_stays() -> None:
    for layer in (kernel(64, 3, 7), kernel(16, 16)):
        assert layer.smaller(layer.shape[:2]) is None
    assert kernel(64, 64).smaller((200, 20)) == (64, 20)
    assert kernel(64, 64, now=(30, 30)).smaller((40, 20)) == (30, 20)
    assert kernel(64, 64, now=(30, 30)).smaller((40, 40)) is None
    assert kernel(64, 64).smaller((0, 4)) is None
    assert Candidate("tucker2", (64, 64, 3, 3), 1, 1, np.zeros((64, 64, 3, 3))).smaller((4, 4)) is None


def test_fewer_weights_but_more_multiply_adds_is_not_smaller() -> None:
    layer = kernel(128, 64, seen=64 * 64, cells=16 * 16)  # stride 4: the first factor sees 16 times the cells
    assert layer.cost("parameters", (67, 42)) < layer.cost("parameters", ())
    assert layer.cost("macs", (67, 60)) > layer.cost("macs", ()) and layer.smaller((67, 60)) is None
