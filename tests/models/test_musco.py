"""Rank rules against values worked out apart, and whole rounds on a small residual net."""

import copy
import math

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

import numpy as np  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from app.errors import SetupError  # noqa: E402
from models.compress.factorised import CpConv, Factorised, PairConv1x1, PairLinear, Tucker2Conv  # noqa: E402
from models.compress.kinds import KINDS  # noqa: E402
from models.compress.layers import Filter, layers_of  # noqa: E402
from models.compress.musco import Musco, candidate_of, whole_layers  # noqa: E402
from models.compress.ranks import (  # noqa: E402
    RULES,
    Candidate,
    Cut,
    Energy,
    Error,
    Ranks,
    Step,
    WeakenedEvidence,
    convex,
    descent,
    rule_of,
    weakened,
)
from models.compress.recipe import replay  # noqa: E402
from models.compress.stage import Context, Edit  # noqa: E402
from models.compress.typed import built  # noqa: E402
from models.numerics.tucker import Array, error_bound, hooi, relative_error  # noqa: E402


def normal(*shape: int) -> Array:
    return np.random.RandomState(0).standard_normal(shape)


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


@pytest.mark.parametrize(
    ("rank", "evidence", "weakening", "expected"), [(64, 20, 0.8, 28), (512, 100, 0.7, 223), (128, 64, 0.5, 96)]
)
def test_weakened_ranks(rank: int, evidence: int, weakening: float, expected: int) -> None:
    assert weakened(rank, evidence, weakening) == expected


def test_weakening_does_not_lose_a_rank_to_rounding() -> None:
    assert int(451 - 0.54 * (451 - 1)) == 207  # 208 in numbers without rounding
    assert weakened(451, 1, 0.54) == 208


def low_rank(outputs: int, inputs: int, rank: int, noise: float) -> Array:
    random = np.random.RandomState(0)
    core = random.standard_normal((rank, rank, 3, 3))
    bases = random.standard_normal((outputs, rank)), random.standard_normal((inputs, rank))
    return np.einsum("or,ip,rpkl->oikl", *bases, core) + noise * random.standard_normal((outputs, inputs, 3, 3))


def test_evidence_in_both_unfoldings() -> None:
    core = low_rank(64, 32, 4, 1.0)
    layer = Candidate("tucker2", core.shape, 1, 1, core)
    assert WeakenedEvidence(weakening=0.8).wanted(layer) == (weakened(64, 4, 0.8), weakened(32, 4, 0.8))
    assert WeakenedEvidence(weakening=0.8, smallest=40).wanted(layer) == (weakened(64, 4, 0.8), 32)


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
        assert math.sqrt(step.error) == pytest.approx(error_bound(core, step.ranks), abs=1e-12)


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


class Block(nn.Module):
    """Two convolutions beside a shortcut, each with a norm."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if stride > 1 else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        inner = torch.relu(self.norm1(self.conv1(maps)))
        return torch.relu(self.norm2(self.conv2(inner)) + self.shortcut(maps))


class Net(nn.Sequential):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, 1, 1)
        self.first = Block(24, 24, 1)
        self.second = Block(24, 32, 2)
        self.depthwise = nn.Conv2d(32, 32, 3, groups=32)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flat = nn.Flatten()
        self.hidden = nn.Linear(32, 40)
        self.head = nn.Linear(40, 10)


PICTURES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
TUCKER = {"first.conv1", "first.conv2", "second.conv1", "second.conv2"}
RULE_TABLES = [
    {"rule": "cut", "times": 3.16},
    {"rule": "cut", "by": "macs", "times": 2.0},
    {"rule": "evbmf", "weakening": 0.9, "smallest": 4},
    {"rule": "energy", "keep": 0.6},
    {"rule": "error", "largest": 0.6},
    {"rule": "budget", "macs": 0.6},
]


@pytest.fixture
def net() -> Net:
    """Return a net whose kernels are of low rank and noise, as those of trained nets."""
    torch.manual_seed(0)
    made = Net()
    with torch.no_grad():
        for name in TUCKER:
            weight = made.get_submodule(name).weight
            weight.copy_(0.01 * torch.from_numpy(low_rank(*weight.shape[:2], 3, 0.5)))
    return made.eval()


def context(net: nn.Module) -> Context:
    return Context(PICTURES, copy.deepcopy(net), 0)


def parameters(net: nn.Module) -> int:
    return sum(value.numel() for value in net.parameters())


def macs(net: nn.Module) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(PICTURES[:1])
    return int(counter.get_total_flops()) // 2


def chains(net: nn.Module) -> dict[str, Factorised]:
    return {name: module for name, module in net.named_modules() if isinstance(module, Factorised)}


def disturb(net: nn.Module) -> None:
    """Do to the weights what training does: factors are orthonormal no longer."""
    torch.manual_seed(1)
    with torch.no_grad():
        for value in net.parameters():
            value.add_(0.02 * value.abs().mean() * torch.randn_like(value))


def test_the_table_of_kinds_names_it() -> None:
    assert KINDS["factorise.musco"] == (Musco.__module__, Musco.__name__)


@pytest.mark.parametrize("table", RULE_TABLES, ids=str)
def test_a_round_makes_the_net_smaller_and_the_recipe_makes_it_again(net: Net, table: dict[str, object]) -> None:
    before = parameters(net), macs(net), net(PICTURES).detach()
    whole = copy.deepcopy(net)
    stage = built(Musco, {"rank": table, "rounds": 2, "epochs": 1}, "stage 1")
    edits = stage.prepare(net, context(net))
    assert edits and {edit.layer for edit in edits} == set(chains(net)) <= TUCKER | {"second.shortcut", "hidden"}
    assert parameters(net) < before[0] and macs(net) < before[1]
    assert (net(PICTURES) - before[2]).norm() < 0.9 * before[2].norm()
    disturb(net)
    edits += stage.prepare(net, context(net))
    fresh = Net()
    replay(fresh, [Edit(edit.form, edit.layer, {"ranks": edit.values["ranks"]}) for edit in edits])
    fresh.load_state_dict(net.state_dict())
    assert fresh.eval()(PICTURES).equal(net.eval()(PICTURES))
    for name, chain in chains(net).items():
        assert parameters(chain) < parameters(whole.get_submodule(name))


def test_errors_in_the_edits(net: Net) -> None:
    old = copy.deepcopy(net)
    for edit in Musco().prepare(net, context(net)):
        new = chains(net)[edit.layer].to_dense().weight
        was = old.get_submodule(edit.layer).weight
        assert edit.values["error"] == pytest.approx(((new - was).norm() / was.norm()).item(), rel=1e-4)


def test_counts_are_those_of_the_net_as_it_runs(net: Net) -> None:
    Musco().prepare(net, context(net))
    records = {layer.name: layer for layer in whole_layers(net, layers_of(net, PICTURES[:1]))}
    ran = layers_of(net, PICTURES[:1])
    assert sum(layer.macs for layer in ran) == macs(net)
    for name, chain in chains(net).items():
        found = candidate_of(chain, "tucker2", records[name])
        factors = [layer for layer in ran if layer.name.startswith(f"{name}.")]
        assert found.cost("macs", found.ranks) == sum(layer.macs for layer in factors)
        assert found.cost("parameters", found.ranks) == sum(math.prod(layer.shape) for layer in factors)


def test_factors_are_one_layer_to_the_filter(net: Net) -> None:
    before = layers_of(net, PICTURES[:1])
    Musco().prepare(net, context(net))
    assert len(layers_of(net, PICTURES[:1])) > len(before)
    assert whole_layers(net, layers_of(net, PICTURES[:1])) == before


def test_each_layer_gets_the_chain_of_its_kind(net: Net) -> None:
    Musco(filter=Filter(first_and_last=True)).prepare(net, context(net))
    kinds = {name: type(chain) for name, chain in chains(net).items()}
    assert kinds == dict.fromkeys(TUCKER, Tucker2Conv) | {
        "second.shortcut": PairConv1x1,
        "hidden": PairLinear,
        "head": PairLinear,
    }  # the stem has three inputs
    assert isinstance(net.first.norm1, nn.BatchNorm2d) and type(net.depthwise) is nn.Conv2d


def test_cp(net: Net) -> None:
    stage = Musco(form="cp", rank={"rule": "cut", "times": 4.0}, filter=Filter(only=["first.conv1", "hidden"]))
    surroundings = context(net)
    stage.prepare(net, surroundings)
    assert {name: type(chain) for name, chain in chains(net).items()} == {"first.conv1": CpConv, "hidden": PairLinear}
    disturb(net)
    before = parameters(net)
    assert [edit.form for edit in stage.prepare(net, surroundings)] == ["cp", "pair"]
    assert parameters(net) < before


@pytest.mark.parametrize("chosen", [Filter(only=["nothing"]), Filter(min_parameters=10**6)])
def test_a_filter_that_selects_nothing_leaves_the_net_alone(net: Net, chosen: Filter) -> None:
    before = copy.deepcopy(net.state_dict())
    assert Musco(filter=chosen).prepare(net, context(net)) == []
    assert list(net.state_dict()) == list(before)
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())


def test_two_stages_cut_as_much_as_one(net: Net) -> None:
    once, chosen = copy.deepcopy(net), Filter(kernel_above=1)
    whole = sum(math.prod(net.get_submodule(name).weight.shape) for name in TUCKER)
    stage = Musco(rank={"rule": "cut", "times": 2.0}, rounds=2, filter=chosen)
    for _ in range(stage.rounds):
        stage.prepare(net, context(net))
        disturb(net)
    Musco(rank={"rule": "cut", "times": 4.0}, filter=chosen).prepare(once, context(once))
    for made in (net, once):
        left = sum(parameters(chain) for chain in chains(made).values())
        assert 4 <= whole / left < 5


def test_it_stops_when_no_rank_falls_any_more(net: Net) -> None:
    stage = Musco(rank={"rule": "error", "largest": 0.5})
    stage.prepare(net, context(net))
    before = copy.deepcopy(net.state_dict())
    again = Musco(rank={"rule": "error", "largest": 0.01}).prepare(net, context(net))
    assert again == [] and all(value.equal(before[name]) for name, value in net.state_dict().items())


def test_it_stops_at_the_wanted_size(net: Net) -> None:
    surroundings = context(net)
    stage = Musco(rank={"rule": "cut", "times": 1.5}, until=0.6, rounds=9)
    rounds = 0
    while stage.prepare(net, surroundings):
        rounds += 1
    share = parameters(net) / parameters(surroundings.base)
    assert rounds == 2 and 0.4 < share <= 0.6


def test_the_budget_is_of_the_whole_net_and_kept_without_waste(net: Net) -> None:
    whole = macs(net)
    edits = Musco(rank={"rule": "budget", "macs": 0.5}).prepare(net, context(net))
    assert 0.47 * whole < macs(net) <= 0.5 * whole and edits
    Musco(rank={"rule": "budget", "macs": 0.7}).prepare(net, context(net))
    assert 0.32 * whole < macs(net) <= 0.35 * whole


def test_a_budget_takes_from_the_layer_that_can_spare_it(net: Net) -> None:
    with torch.no_grad():
        net.first.conv1.weight.copy_(0.01 * torch.from_numpy(low_rank(24, 24, 2, 0.0)))
        net.first.conv2.weight.copy_(0.1 * torch.from_numpy(normal(24, 24, 3, 3)))
    edits = Musco(rank={"rule": "budget", "macs": 0.75}).prepare(net, context(net))
    errors = {edit.layer: edit.values["error"] for edit in edits}
    assert errors["first.conv1"] < 1e-5 and "first.conv2" not in errors


def test_a_budget_gives_no_layer_up(net: Net) -> None:
    with torch.no_grad():
        for name in TUCKER:
            weight = net.get_submodule(name).weight
            weight.copy_(0.1 * torch.from_numpy(normal(*weight.shape)))
    edits = Musco(rank={"rule": "budget", "macs": 0.5}).prepare(net, context(net))
    assert len(edits) >= 3 and max(edit.values["error"] for edit in edits) < 0.85


def test_a_budget_out_of_reach_is_refused(net: Net) -> None:
    with pytest.raises(SetupError, match=r"cannot leave 0\.01 of the net's multiply-adds"):
        Musco(rank={"rule": "budget", "macs": 0.01}).prepare(net, context(net))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rank": {}}, "rank.rule is None"),
        ({"rank": {"rule": "guess"}}, "rank.rule is 'guess'"),
        ({"rank": {"rule": "cut", "keep": 0.5}}, "rank: keep is unknown"),
        ({"rank": {"rule": "cut", "times": 1.0}}, "times is 1.0"),
        ({"rank": {"rule": "cut", "times": "2"}}, "rank.times is '2'"),
        ({"rank": {"rule": "cut", "by": "bytes"}}, "by is 'bytes'"),
        ({"rank": {"rule": "evbmf", "weakening": 1.0}}, "weakening is 1.0"),
        ({"rank": {"rule": "evbmf", "smallest": 0}}, "smallest is 0"),
        ({"rank": {"rule": "energy", "keep": 1.5}}, "keep is 1.5"),
        ({"rank": {"rule": "error", "largest": 0.0}}, "largest is 0.0"),
        ({"rank": {"rule": "budget", "macs": 1.0}}, "macs is 1.0"),
        ({"form": "tucker"}, "form is 'tucker'"),
        ({"form": "cp", "rank": {"rule": "energy"}}, "cannot foresee"),
        ({"until": 1.0}, "until is 1.0"),
    ],
)
def test_what_cannot_be_meant_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        built(Musco, values, "stage 1")


def test_settings_are_told_with_their_defaults() -> None:
    assert Musco().rank == {"rule": "cut", "times": 2.0, "by": "parameters"}
    for name in RULES:
        told = Musco(rank={"rule": name}).rank
        assert rule_of(told) == rule_of({"rule": name}) and told["rule"] == name
