"""Rounds of low-rank compression on a small residual net."""

import copy
import math
from dataclasses import replace
from itertools import chain as joined

import pytest
from drawn_weights import low_rank, normal

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from torch import Tensor, nn  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from app.errors import SetupError  # noqa: E402
from models.compress.factorised import CpConv, Factorised, PairConv1x1, PairLinear, Tucker2Conv  # noqa: E402
from models.compress.kinds import KINDS  # noqa: E402
from models.compress.layers import Filter, layers_of  # noqa: E402
from models.compress.musco import Musco, candidate_of, whole_layers  # noqa: E402
from models.compress.ranks import RULES, rule_of  # noqa: E402
from models.compress.recipe import replay  # noqa: E402
from models.compress.stage import Context, Edit  # noqa: E402
from models.compress.svd_training import SvdTraining  # noqa: E402
from models.compress.typed import built  # noqa: E402


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


@pytest.mark.parametrize(("count", "groups"), [(4, 2), (5, 2), (2, 3), (6, 1), (0, 1)])
def test_layers_are_cut_in_groups(net: Net, count: int, groups: int) -> None:
    whole, surroundings = copy.deepcopy(net), context(net)
    stage = Musco(rounds=2, ft_every=count)
    assert stage.turns(net, surroundings) == 2 * groups
    cut = [[edit.layer for edit in stage.prepare(net, replace(surroundings, turn=turn))] for turn in range(groups)]
    at_once = [edit.layer for edit in Musco().prepare(whole, surroundings)]
    assert list(joined(*cut)) == at_once and all(len(one) <= (count or 6) for one in cut)
    assert all(value.equal(whole.state_dict()[name]) for name, value in net.state_dict().items())
    assert stage.turns(net, surroundings) == 2 * groups  # though half of them are chains by now
    before = {name: chain.ranks for name, chain in chains(net).items()}
    again = [edit.layer for edit in stage.prepare(net, replace(surroundings, turn=groups))]  # a second round
    assert again and set(again) <= set(cut[0])
    changed = [name for name, chain in chains(net).items() if chain.ranks != before[name]]
    assert sorted(changed) == sorted(again)


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


@pytest.mark.parametrize("rule", ["evbmf", "energy", "error", "budget"])
def test_a_chain_whose_error_a_rule_cannot_foresee_stays(net: Net, rule: str) -> None:
    chosen = Filter(only=["first.conv1", "first.conv2"])
    Musco(form="cp", rank={"rule": "cut", "times": 1.2}, filter=Filter(only=["first.conv1"])).prepare(net, context(net))
    before = copy.deepcopy(net.first.conv1.state_dict())
    tables = {"evbmf": {"smallest": 4}, "budget": {"macs": 0.9}}
    edits = Musco(rank={"rule": rule, **tables.get(rule, {})}, filter=chosen).prepare(net, context(net))
    assert [edit.layer for edit in edits] == ["first.conv2"]
    assert all(value.equal(before[name]) for name, value in net.first.conv1.state_dict().items())


def test_a_chain_that_another_stage_took_apart_is_cut_on(net: Net) -> None:
    chosen = Filter(kernel_above=1, min_inputs=8)
    edits = Musco(rank={"rule": "cut", "times": 1.5}, filter=chosen).prepare(net, context(net))
    apart = SvdTraining(energy=0.5, filter=chosen)
    edits += apart.prepare(net, context(net)) + apart.finish(net, context(net))
    assert {type(chain.core) for chain in chains(net).values() if isinstance(chain, Tucker2Conv)} == {nn.Sequential}
    before = parameters(net)
    edits += Musco(filter=chosen).prepare(net, context(net))
    assert parameters(net) < before and any(edit.layer.endswith("core.0") for edit in edits)
    fresh = Net()
    replay(fresh, edits)
    fresh.load_state_dict(net.state_dict())
    assert fresh.eval()(PICTURES).equal(net.eval()(PICTURES))


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
        ({"ft_every": -1}, "ft_every is -1"),
        ({"ft_every": 2, "rank": {"rule": "budget"}}, "is of all layers at once"),
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
