"""Which channels go together, and that a net from which silent channels were taken answers as before."""

from collections.abc import Callable, Sequence

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")
pytest.importorskip("torch_pruning", reason="needs the train extra: pip install torch-pruning")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from models.compress.groups import groups_of, tensors_of  # noqa: E402
from models.compress.recipe import replay  # noqa: E402
from models.compress.removal import Group, apply_removed, remove, silence, silent  # noqa: E402
from models.compress.stage import Edit  # noqa: E402
from models.nets.mobilefacenet import MobileFaceNet  # noqa: E402
from models.nets.mobilenetv2 import MobileNetV2  # noqa: E402
from models.nets.resnet import ResNet  # noqa: E402
from models.nets.ssdlite import SSDLite  # noqa: E402

EXACT = 1e-5


class Joined(nn.Module):
    """Two convolutions side by side, a normalisation over both, a linear reader of all pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(10)
        self.slopes = nn.PReLU(10)
        self.hidden = nn.Linear(10 * 4 * 4, 12)
        self.last = nn.Linear(12, 5)

    def forward(self, pictures: Tensor) -> Tensor:
        """Classify (n, 3, 4, 4)."""
        cells = self.slopes(self.norm(torch.cat([self.left(pictures), self.right(pictures)], 1)))
        return self.last(functional.relu(self.hidden(cells.flatten(1))))


class Grouped(nn.Module):
    """A convolution in groups between two plain ones, and a map that is read and given out as well."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.grouped = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=2)
        self.second, self.third = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return two maps."""
        cells = self.second(self.grouped(self.first(pictures)))
        return cells, self.third(cells)


class Preactivated(nn.Module):
    """A stream of additions that is normalised where it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.norm, self.norm_last = nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return a map."""
        stream = self.stem(pictures)
        stream = stream + self.inner(functional.relu(self.norm(stream)))
        return self.last(functional.relu(self.norm_last(stream)))


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "residual": (lambda: ResNet(8, 10, 16), (3, 16, 16)),
    "inverted residuals": (lambda: MobileNetV2(10, 16), (3, 16, 16)),
    "padding by size, several maps": (SSDLite, (3, 64, 48)),
    "slopes of each channel": (MobileFaceNet, (3, 112, 112)),
    "side by side": (Joined, (3, 4, 4)),
    "normalised before": (Preactivated, (3, 8, 8)),
}


def shaken(build: Callable[[], nn.Module]) -> nn.Module:
    """Return a net whose normalisations have seen something."""
    torch.manual_seed(0)
    net = build().eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return net


def answer(net: nn.Module, pictures: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([output.flatten() for output in tensors_of(net.eval()(pictures))])


def names(members: Sequence[object]) -> list[str]:
    return [member.name for member in members]


def by_writer(groups: Sequence[Group], name: str) -> Group:
    return next(group for group in groups if name in names(group.writers))


@pytest.mark.parametrize(("build", "shape"), NETS.values(), ids=NETS)
def test_what_is_removed_was_silent_and_is_not_missed(build: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    net = shaken(build)
    pictures = torch.rand(2, *shape)
    before = sum(value.numel() for value in net.parameters())
    going = [
        (group, torch.randperm(group.channels)[: group.channels // 2].tolist())
        for group in groups_of(net, pictures[:1])
    ]
    untouched = answer(net, pictures)
    for group, channels in going:
        silence(net, group, channels)
        assert set(silent(net, group)) == set(channels)
    masked = answer(net, pictures)
    edits = remove(net, going)
    removed = answer(net, pictures)
    assert (masked - untouched).abs().max() > 1e-3 * masked.abs().max()
    assert (removed - masked).abs().max() < EXACT * max(float(masked.abs().max()), 1.0)
    assert sum(value.numel() for value in net.parameters()) < 0.6 * before
    fresh = build()
    replay(fresh, edits)
    fresh.load_state_dict(net.state_dict())
    assert answer(fresh, pictures).equal(removed)


def test_groups_of_a_residual_net() -> None:
    groups = groups_of(ResNet(8, 10, 16), torch.rand(1, 3, 16, 16))
    assert [group.inner for group in groups].count(True) == 3
    stem = by_writer(groups, "stem.conv")
    assert names(stem.writers) == ["stem.conv", "stages.0.0.conv2"]
    assert names(stem.followers) == ["stem.norm", "stages.0.0.norm2"]
    assert names(stem.readers) == ["stages.0.0.conv1", "stages.1.0.conv1", "stages.1.0.shortcut.conv"]
    last = by_writer(groups, "stages.2.0.conv2")
    assert names(last.writers) == ["stages.2.0.conv2", "stages.2.0.shortcut.conv"] and names(last.readers) == [
        "head.linear"
    ]
    assert "head.linear" not in [name for group in groups for name in names(group.writers)]  # outputs of the net


def test_groups_of_inverted_residuals() -> None:
    groups = groups_of(MobileNetV2(10, 16), torch.rand(1, 3, 16, 16))
    hidden = by_writer(groups, "blocks.3.expand.0")
    assert hidden.inner and names(hidden.readers) == ["blocks.3.project.0"]
    assert names(hidden.followers) == ["blocks.3.expand.1", "blocks.3.depthwise.0", "blocks.3.depthwise.1"]
    assert names(by_writer(groups, "blocks.5.project.0").writers) == [
        f"blocks.{block}.project.0" for block in (3, 4, 5)
    ]


def test_a_group_knows_its_places_behind_a_concatenation_and_a_flattening() -> None:
    group = by_writer(groups_of(Joined(), torch.rand(1, 3, 4, 4)), "right")
    assert names(group.followers) == ["norm", "slopes"] and group.followers[0].places == tuple(
        (4 + row,) for row in range(6)
    )
    assert group.readers[0].places[1] == tuple(range(5 * 16, 6 * 16))


def test_what_cannot_be_cut_or_is_given_out_is_in_no_group() -> None:
    assert groups_of(Grouped(), torch.rand(1, 3, 8, 8)) == []


def test_looking_for_groups_leaves_a_net_as_it_was() -> None:
    net = ResNet(8, 10, 16).train()
    net.head.requires_grad_(False)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with torch.no_grad():
        groups_of(net, torch.rand(1, 3, 16, 16))
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())
    assert net.training and all(value.grad is None for value in net.parameters())
    assert not any(value.requires_grad for value in net.head.parameters())


def test_with_filters_alone_at_zero_a_removal_is_not_exact() -> None:
    net = shaken(lambda: ResNet(8, 10, 16))
    pictures = torch.rand(2, 3, 16, 16)
    group = by_writer(groups_of(net, pictures[:1]), "stages.1.0.conv1")
    with torch.no_grad():
        net.get_submodule("stages.1.0.conv1").weight[:16] = 0
    zeroed = answer(net, pictures)
    remove(net, [(group, range(16))])
    assert (answer(net, pictures) - zeroed).abs().max() > 100 * EXACT * zeroed.abs().max()


def test_a_constant_behind_a_zero_filter_folds_into_a_bias_in_the_interior_only() -> None:
    gain, shift, mean, variance = 1.5, -0.2, -0.8, 4.0
    constant = max(shift - mean * gain / (variance + 1e-5) ** 0.5, 0.0)
    places = torch.arange(36, dtype=torch.float64)
    kernels = ((37 * places + 11) % 101 / 50 - 1).reshape(4, 1, 3, 3)
    emitted = functional.conv2d(torch.full((1, 1, 6, 6), constant, dtype=torch.float64), kernels, padding=1)
    missed = (emitted - constant * kernels.sum((1, 2, 3))[None, :, None, None]).abs()
    assert missed[..., 1:-1, 1:-1].max() < 1e-12
    assert missed.max().item() == pytest.approx(0.96, abs=0.005) and emitted.abs().max().item() == pytest.approx(
        1.03, abs=0.005
    )


def test_removing_nothing_leaves_no_edit_and_the_same_bits() -> None:
    net = shaken(lambda: ResNet(8, 10, 16))
    pictures = torch.rand(2, 3, 16, 16)
    before = answer(net, pictures)
    assert remove(net, [(group, []) for group in groups_of(net, pictures[:1])]) == []
    assert answer(net, pictures).equal(before)


def test_one_channel_has_to_stay() -> None:
    net = Joined()
    group = by_writer(groups_of(net, torch.rand(1, 3, 4, 4)), "left")
    with pytest.raises(ValueError, match="all 4 channels that left writes"):
        remove(net, [(group, range(4))])


def test_layers_record_their_new_shapes() -> None:
    net = MobileNetV2(10, 16)
    group = by_writer(groups_of(net, torch.rand(1, 3, 16, 16)), "blocks.3.expand.0")
    kept = group.channels - 30
    remove(net, [(group, range(30))])
    expand, depthwise = net.get_submodule("blocks.3.expand.0"), net.get_submodule("blocks.3.depthwise.0")
    assert expand.out_channels == net.get_submodule("blocks.3.project.0").in_channels == kept
    assert depthwise.groups == depthwise.in_channels == depthwise.out_channels == kept
    assert net.get_submodule("blocks.3.depthwise.1").num_features == kept


def test_channels_are_taken_from_known_layers_only() -> None:
    with pytest.raises(TypeError, match="GroupNorm"):
        apply_removed(nn.Sequential(nn.GroupNorm(2, 4)), Edit("removed", "0", {"outputs": [0, 1]}))


def test_frozen_layers_stay_frozen() -> None:
    net = Joined()
    net.left.requires_grad_(False)
    remove(net, [(by_writer(groups_of(net, torch.rand(1, 3, 4, 4)), "left"), [0])])
    assert not net.left.weight.requires_grad and net.norm.weight.requires_grad
