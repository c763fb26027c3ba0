"""Soft filter pruning: which filters go, when, and that the net without them is the net with them at zero."""

import copy
from collections.abc import Sequence
from itertools import pairwise

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")
pytest.importorskip("torch_pruning", reason="needs the train extra: pip install torch-pruning")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from app.errors import SetupError  # noqa: E402
from models.compress.groups import groups_of  # noqa: E402
from models.compress.layers import Filter, layers_of  # noqa: E402
from models.compress.recipe import replay  # noqa: E402
from models.compress.removal import Group, remove, silence, silent  # noqa: E402
from models.compress.sfp import (  # noqa: E402
    STEEPNESS,
    SoftFilterPruning,
    asymptotic,
    below_energy,
    filter_norms,
    group_norms,
    smallest,
)
from models.compress.stage import Context  # noqa: E402
from models.nets.mobilenetv2 import MobileNetV2  # noqa: E402
from models.nets.resnet import ResNet  # noqa: E402

EVERYTHING = {"first_and_last": True, "min_inputs": 0}
PICTURES = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8)


def net_of(depth: int = 8) -> ResNet:
    torch.manual_seed(0)
    return ResNet(depth, 10, 16)


def context(net: nn.Module, pictures: Tensor = PICTURES) -> Context:
    return Context(pictures, copy.deepcopy(net).eval(), 0)


def optimiser_of(net: nn.Module, momentum: float = 0.9) -> torch.optim.Optimizer:
    return torch.optim.SGD(net.parameters(), 0.05, momentum)


def train(net: nn.Module, optimiser: torch.optim.Optimizer, steps: int = 3) -> None:
    net.train()
    for _ in range(steps):
        optimiser.zero_grad()
        functional.cross_entropy(net(PICTURES), LABELS).backward()
        optimiser.step()


def answer(net: nn.Module) -> Tensor:
    with torch.no_grad():
        return net.eval()(PICTURES)


def numbers(net: nn.Module) -> int:
    return sum(value.numel() for value in net.parameters())


def fixture() -> Tensor:
    places = torch.arange(6 * 2 * 3 * 3, dtype=torch.float64)
    scale = torch.tensor([1, 0.2, 3, 0.5, 2, 0.1], dtype=torch.float64)
    return ((37 * places + 11) % 101 / 50 - 1).reshape(6, 2, 3, 3) * scale[:, None, None, None]


def test_the_weakest_half_of_the_fixture() -> None:
    norms = filter_norms(fixture())
    expected = [2.485478, 0.501087, 7.160391, 1.282342, 4.820290, 0.249367]
    assert norms.tolist() == pytest.approx(expected, abs=1e-6)
    assert smallest(norms, 0.5) == [1, 3, 5]


@pytest.mark.parametrize(
    ("filters", "ratio", "count"), [(10, 1 - 0.9, 1), (16, 1 - 0.9, 1), (64, 1 - 0.7, 19), (64, 0.3, 19), (10, 0.0, 0)]
)
def test_ratios_are_rounded_down_but_not_for_floating_point(filters: int, ratio: float, count: int) -> None:
    assert len(smallest(torch.ones(filters), ratio)) == count


def test_of_equal_filters_the_first_go() -> None:
    assert smallest(torch.ones(8), 0.25) == [0, 1]


def test_energy_that_stays_is_never_below_what_is_asked_for() -> None:
    norms = filter_norms(fixture())
    squares = norms.square()
    assert below_energy(norms, 0.95) == [1, 3, 5]
    assert (squares[[0, 2, 4]].sum() / squares.sum()).item() == pytest.approx(0.97631, abs=5e-6)
    assert (squares[[2, 4]].sum() / squares.sum()).item() == pytest.approx(0.90156, abs=5e-6)
    for energy in (0.1, 0.5, 0.9, 0.99, 0.999, 1.0):
        kept = [place for place in range(6) if place not in below_energy(norms, energy)]
        assert squares[kept].sum() >= (energy - 1e-8) * squares.sum()


def test_all_energy_spares_all_but_filters_that_are_zero_and_none_spares_one() -> None:
    norms = torch.tensor([0.0, 1e-3, 0.0, 5.0])
    assert below_energy(norms, 1.0) == [0, 2]
    assert below_energy(norms, 0.0) == [0, 1, 2]
    assert below_energy(torch.zeros(4), 0.5) == [0, 1, 2]


def test_the_asymptotic_schedule() -> None:
    assert pytest.approx(11.089989, abs=1e-6) == STEEPNESS
    progress = [0, 1 / 16, 1 / 8, 1 / 4, 1]
    assert [asymptotic(share) for share in progress] == pytest.approx([0, 0.5, 0.75, 0.9375, 1], abs=5e-5)
    assert asymptotic(1 / 8) == pytest.approx(0.75, abs=1e-12)


PUBLISHED = {  # depth: million multiply-adds, and percents that ratios of .1 to .4 save
    20: (40.550, [15.24, 29.31, 42.22, 53.96]),
    32: (68.862, [14.93, 28.77, 41.51, 53.16]),
    56: (125.485, [14.74, 28.42, 41.06, 52.63]),
    110: (252.887, [14.62, 28.21, 40.78, 52.31]),
}


@pytest.mark.parametrize(("depth", "millions", "percents"), [(depth, *row) for depth, row in PUBLISHED.items()])
def test_published_counts_of_residual_nets(depth: int, millions: float, percents: Sequence[float]) -> None:
    """They skip zero filters, leave out projections, and count blocks' inputs whole, but for the first block's."""
    layers = [layer for layer in layers_of(ResNet(depth, 10, 16), torch.zeros(1, 3, 32, 32)) if layer.kind == "conv"]
    layers = [layer for layer in layers if "shortcut" not in layer.name]

    def left(keep: float) -> float:
        whole_inputs = [place == 0 or (place % 2 == 1 and place > 1) for place in range(len(layers))]
        return sum(layer.macs * (keep if whole else keep**2) for layer, whole in zip(layers, whole_inputs, strict=True))

    assert left(1) / 1e6 == pytest.approx(millions, abs=5e-4)
    cuts = [100 * (1 - left(keep) / left(1)) for keep in (0.9, 0.8, 0.7, 0.6)]
    assert cuts == pytest.approx(percents, abs=5e-3)


@pytest.fixture(scope="module")
def eighteen() -> tuple[nn.Module, list[Group]]:
    net = ResNet(18, 10)
    return net, groups_of(net, PICTURES[:1])


KEPT = [(0.7, True, 0.7044), (0.5, True, 0.5083), (0.2, True, 0.2127)]
KEPT += [(0.7, False, 0.4896), (0.5, False, 0.2504), (0.447, False, 0.2000)]


@pytest.mark.parametrize(("keep", "inner", "share"), KEPT)
def test_what_is_left_of_resnet18(
    eighteen: tuple[nn.Module, list[Group]], keep: float, inner: bool, share: float
) -> None:
    whole, groups = eighteen
    assert numbers(whole) == 11_173_962
    net = copy.deepcopy(whole)
    remove(
        net, [(group, range(round(group.channels * keep), group.channels)) for group in groups if group.inner >= inner]
    )
    assert numbers(net) / numbers(whole) == pytest.approx(share, abs=5e-5)


@pytest.mark.parametrize("groups", ["inner", "all"])
@pytest.mark.parametrize("rule", [{"ratio": 0.5}, {"energy": 0.7}], ids=["ratio", "energy"])
def test_a_trained_net_answers_as_its_masked_one(rule: dict[str, float], groups: str) -> None:
    net, before = net_of(), numbers(net_of())
    stage = SoftFilterPruning(**rule, epochs=2, groups=groups, filter=Filter(**EVERYTHING))
    optimiser = optimiser_of(net)
    assert stage.prepare(net, context(net)) == []
    for epoch in range(2):
        stage.before_epoch(net, epoch)
        train(net, optimiser)
        stage.after_epoch(net, epoch)
    masked = answer(net)
    edits = stage.finish(net, context(net))
    moved = {id(value) for value in optimiser.state}  # parameters that a momentum is kept for
    assert not any(id(net.get_parameter(f"{edit.layer}.weight")) in moved for edit in edits)
    assert (answer(net) - masked).abs().max() < 1e-5 * masked.abs().max()
    assert numbers(net) < (0.75 if groups == "inner" else 0.5) * before
    fresh = ResNet(8, 10, 16)
    replay(fresh, edits)
    fresh.load_state_dict(net.state_dict())
    assert answer(fresh).equal(answer(net))


def test_inverted_residuals_lose_hidden_channels() -> None:
    torch.manual_seed(0)
    net = MobileNetV2(10, 16)
    stage = SoftFilterPruning(ratio=0.5)
    stage.prepare(net, context(net))
    hidden = net.get_submodule("blocks.7.depthwise.0").groups
    edits = stage.finish(net, context(net))
    assert net.get_submodule("blocks.7.depthwise.0").groups == hidden // 2
    assert net.get_submodule("linear").out_features == 10 and net.get_submodule("stem.0").out_channels == 16
    assert {edit.form for edit in edits} == {"removed"}


@pytest.mark.parametrize(
    "stage",
    [SoftFilterPruning(ratio=0.0, epochs=1), SoftFilterPruning(ratio=0.5, epochs=1, filter=Filter(only=["nothing"]))],
    ids=["ratio 0", "nothing chosen"],
)
def test_nothing_to_do_leaves_the_same_bits(stage: SoftFilterPruning) -> None:
    net = net_of()
    before = answer(net)
    stage.prepare(net, context(net))
    stage.after_epoch(net, 0)
    assert stage.finish(net, context(net)) == [] and answer(net).equal(before)


def test_only_groups_all_of_whose_writers_are_chosen_lose_channels() -> None:
    def writers(groups: str, **choice: object) -> set[str]:
        net = net_of()
        stage = SoftFilterPruning(ratio=0.5, groups=groups, filter=Filter(**choice))
        stage.prepare(net, context(net))
        edits = stage.finish(net, context(net))
        return {edit.layer for edit in edits if "outputs" in edit.values and "conv" in edit.layer}

    inner = {f"stages.{stage}.0.conv1" for stage in range(3)}
    assert writers("inner") == inner
    meeting = {f"stages.{stage}.0.{layer}" for stage in (1, 2) for layer in ("conv2", "shortcut.conv")}
    assert writers("all") == inner | meeting  # the stem is the first layer, so its group stays
    assert writers("all", **EVERYTHING) == inner | meeting | {"stem.conv", "stages.0.0.conv2"}
    assert writers("all", leave=["*.1.0.shortcut.conv"]) == inner | {x for x in meeting if ".2.0." in x}


def test_the_schedule_says_how_many_are_silent() -> None:
    net = net_of()
    stage = SoftFilterPruning(ratio=0.5, schedule="asymptotic", epochs=16, filter=Filter(only=["stages.1.0.conv1"]))
    stage.prepare(net, context(net))
    (group,) = (group for group in groups_of(net, PICTURES[:1]) if group.writers[0].name == "stages.1.0.conv1")
    counts = {}
    for epoch in (0, 1, 3, 15):
        stage.after_epoch(net, epoch)
        counts[epoch] = len(silent(net, group))
    assert counts == {0: 7, 1: 12, 3: 15, 15: 16}  # floors of 7.9998, 12, 15.0004 and 16


def _revived(momentum: float, epochs: int) -> int:
    """Return how many of a layer's 16 filters that are zeroed after the first epoch are not zero three steps later."""
    net = net_of()
    optimiser = optimiser_of(net, momentum)
    stage = SoftFilterPruning(ratio=0.5, epochs=epochs, filter=Filter(only=["stages.1.0.conv1"]))
    stage.prepare(net, context(net))
    (group,) = (group for group in groups_of(net, PICTURES[:1]) if group.writers[0].name == "stages.1.0.conv1")
    train(net, optimiser)
    stage.after_epoch(net, 0)
    before = silent(net, group)
    train(net, optimiser)
    return len(set(before) - set(silent(net, group)))


def test_gradients_alone_revive_filters_until_the_last_epoch_silences_their_channels() -> None:
    assert _revived(0.0, epochs=2) >= 4  # of those whose shifts are above 0, so that the rectifier is open
    assert _revived(0.0, epochs=1) == 0
    assert _revived(0.9, epochs=1) == 16  # why no step may lie behind the last epoch


def test_other_filters_are_chosen_as_training_goes_on_and_the_last_choice_is_removed_exactly() -> None:
    net, epochs = net_of(), 6
    optimiser = optimiser_of(net)
    train(net, optimiser, 20)
    stage = SoftFilterPruning(ratio=0.5, epochs=epochs)
    stage.prepare(net, context(net))
    groups = [group for group in groups_of(net, PICTURES[:1]) if group.inner]
    choices = []
    for epoch in range(epochs):
        stage.before_epoch(net, epoch)
        train(net, optimiser, 20)
        stage.after_epoch(net, epoch)
        choices.append([silent(net, group) for group in groups])
    assert sum(before != after for before, after in pairwise(choices)) >= 2
    masked = answer(net)
    edits = stage.finish(net, context(net))
    assert (answer(net) - masked).abs().max() < 1e-5 * masked.abs().max()
    gone = {edit.layer: edit.values["outputs"] for edit in edits if "outputs" in edit.values}
    for group, last in zip(groups, choices[-1], strict=True):
        assert set(range(group.channels)) - set(gone[group.writers[0].name]) == set(last)


def test_the_last_epoch_begins_without_the_filters_that_were_zeroed() -> None:
    net = net_of()
    optimiser = optimiser_of(net)
    stage = SoftFilterPruning(ratio=0.5, epochs=3)
    stage.prepare(net, context(net))
    for epoch in range(2):
        stage.before_epoch(net, epoch)
        train(net, optimiser)
        stage.after_epoch(net, epoch)
    groups = [group for group in groups_of(net, PICTURES[:1]) if group.inner]
    zeroed, soft = [(group, silent(net, group)) for group in groups], answer(net)
    stage.before_epoch(net, 2)
    last = answer(net)
    assert not torch.allclose(last, soft, rtol=1e-2)  # shifts were still at work
    remove(net, zeroed)
    assert (answer(net) - last).abs().max() < 1e-5 * last.abs().max()


def test_a_single_epoch_begins_with_the_whole_net() -> None:
    net = net_of()
    before, stage = answer(net), SoftFilterPruning(ratio=0.5, epochs=1)
    stage.prepare(net, context(net))
    stage.before_epoch(net, 0)
    assert answer(net).equal(before)


@pytest.mark.parametrize("schedule", ["constant", "asymptotic"])
def test_energy_decides_once_how_many_go(schedule: str) -> None:
    net, epochs = net_of(), 4
    optimiser = optimiser_of(net)
    groups = [group for group in groups_of(net, PICTURES[:1]) if group.inner]
    due = [len(below_energy(group_norms(net, group), 0.8)) for group in groups]
    stage = SoftFilterPruning(energy=0.8, epochs=epochs, schedule=schedule)
    stage.prepare(net, context(net))
    counts = []
    for epoch in range(epochs):
        stage.before_epoch(net, epoch)
        train(net, optimiser)
        stage.after_epoch(net, epoch)
        counts.append([len(silent(net, group)) for group in groups])
    assert counts[-1] == due and all(0 < count < group.channels for count, group in zip(due, groups, strict=True))
    assert counts == sorted(counts) and (schedule == "asymptotic" or counts == [due] * epochs)
    stage.finish(net, context(net))
    left = [net.get_submodule(group.writers[0].name).out_channels for group in groups]
    assert left == [group.channels - count for group, count in zip(groups, due, strict=True)]


def test_no_layer_outvotes_another_by_its_scale() -> None:
    net = net_of()
    group = next(group for group in groups_of(net, PICTURES[:1]) if not group.inner)
    before = group_norms(net, group)
    with torch.no_grad():
        net.get_submodule(group.writers[0].name).weight.mul_(100)
    torch.testing.assert_close(group_norms(net, group), before)
    silence(net, group, [3])
    assert group_norms(net, group)[3] == 0


class Squashed(nn.Sequential):
    """Channels that pass a sigmoid are a half where they were zero."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.Sigmoid(), nn.Conv2d(16, 4, 1))


def test_a_removal_that_is_missed_is_refused() -> None:
    net = Squashed()
    stage = SoftFilterPruning(ratio=0.5)
    stage.prepare(net, context(net))
    with pytest.raises(SetupError, match="leave"):
        stage.finish(net, context(net))


@pytest.mark.parametrize(
    ("field", "value"),
    [("ratio", 1.0), ("ratio", -0.1), ("energy", 1.5), ("schedule", "linear"), ("groups", "outer")],
)
def test_bad_values_are_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        SoftFilterPruning(**{field: value})
