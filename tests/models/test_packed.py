"""XNOR and popcount against sums of products, padded words, padded maps, and whole layers against torch."""

from itertools import product

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from torch import Tensor  # noqa: E402
from torch.nn import functional  # noqa: E402

from models.compress.binary import Binary, BinaryConv2d, packed  # noqa: E402
from models.compress.binary_size import layer_size  # noqa: E402
from models.compress.estimators import sign  # noqa: E402
from models.compress.packed import Signs, convolve, dots, pack, pack_filters, patches  # noqa: E402


def fixture(*shape: int) -> Tensor:
    count = torch.arange(int(np.prod(shape)), dtype=torch.float64)
    values: Tensor = ((37 * count + 11) % 101) / 50 - 1
    return values.reshape(shape)


def signs(random: np.random.RandomState, *shape: int) -> Signs:
    return (random.randint(0, 2, shape) * 2 - 1).astype(np.int8)


def bits(number: int, count: int) -> Signs:
    return np.array([1 if number >> place & 1 else -1 for place in range(count)], np.int8)


def test_sums_of_products_of_all_pairs() -> None:
    for count in range(1, 9):
        rows = np.array(list(product((-1, 1), repeat=count)), np.int8)
        words = pack(rows)
        assert words.shape == (2**count, 1)
        assert np.array_equal(dots(words[:, None], words[None], count), rows.astype(int) @ rows.T.astype(int))


def test_the_worked_example() -> None:
    words = pack(bits(0b10110010, 8)), pack(bits(0b11010110, 8))
    assert [word.tolist() for word in words] == [[0b10110010], [0b11010110]]
    assert dots(*words, 8) == 2


@pytest.mark.parametrize("taps", [1, 63, 64, 65, 70, 128, 4608])
def test_bits_to_spare_count_for_nothing(taps: int) -> None:
    random = np.random.RandomState(taps)
    first, second = signs(random, 5, taps), signs(random, 5, taps)
    words = pack(first), pack(second)
    assert words[0].shape == (5, -(-taps // 64))
    sums = (first.astype(int) * second).sum(1)
    assert np.array_equal(dots(*words, taps), sums)
    padded = 64 * words[0].shape[1]  # what a count of all bits of the words would say
    assert np.array_equal(dots(*words, padded) - sums, np.full(5, -taps % 64))


def test_seventy_taps_leave_58_bits() -> None:
    ones = pack(np.ones((1, 70), np.int8))
    assert dots(ones, ones, 70) == 70 and dots(ones, ones, 128) == 128


@pytest.mark.parametrize("value", [0, 2])
def test_a_third_value_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="third value"):
        pack(np.array([1, -1, value], np.int8))


def test_no_rows() -> None:
    assert dots(pack(np.ones((0, 70), np.int8)), pack(np.ones((0, 70), np.int8)), 70).shape == (0,)


def test_what_pads_a_map() -> None:
    cells, weights = sign(fixture(1, 3, 5, 5)), sign(fixture(2, 3, 3, 3))
    zeros = functional.conv2d(cells, weights, None, 1, 1).numpy()
    maps, filters = cells.numpy().astype(np.int8), pack_filters(weights.numpy().astype(np.int8))
    plus, minus = (convolve(maps, filters, (3, 3), padding=(1, 1), value=value) for value in (1, -1))
    assert [int(found[0, 0, 0, 0]) for found in (zeros, plus, minus)] == [2, 1, 3]
    assert [int(found.sum()) for found in (zeros, plus, minus)] == [-16, -24, -8]
    assert np.array_equal(zeros, (plus + minus) / 2)
    assert np.array_equal(plus[..., 1:-1, 1:-1], minus[..., 1:-1, 1:-1])
    assert set((plus % 2).flatten()) == {1} and 0 in zeros % 2  # 27 signs make odd sums; a padded 0 is none


@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (2, 1)])
@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (2, 0)])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (3, 2)])
def test_convolution(kernel: tuple[int, int], padding: tuple[int, int], stride: tuple[int, int]) -> None:
    random = np.random.RandomState(0)
    maps, weights = signs(random, 2, 9, 7, 6), signs(random, 5, 9, *kernel)
    rows, columns = padding
    framed = functional.pad(torch.tensor(maps).double(), (columns, columns, rows, rows), value=1)
    expected = functional.conv2d(framed, torch.tensor(weights).double(), None, stride).numpy()
    assert np.array_equal(convolve(maps, pack_filters(weights), kernel, stride, padding), expected)
    assert patches(maps, kernel, stride, padding).shape == (2, *expected.shape[2:], 9 * kernel[0] * kernel[1])


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("combination", ["sum", "scaled"])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_layer_is_what_its_packed_form_computes(count: int, shared: bool, combination: str, stride: int) -> None:
    random = torch.Generator().manual_seed(count)
    conv = torch.nn.Conv2d(8, 6, 3, stride, 1)
    layer = BinaryConv2d(conv, Binary(thresholds=count, shared_weights=shared, combination=combination))
    with torch.no_grad():
        for value in layer.parameters():
            value.copy_(torch.randn(value.shape, generator=random) / 2)
        cells = torch.randn(2, 8, 7, 7, generator=random)
        cells[0, 0, 0, 0] = layer.thresholds[0, 0]  # at the threshold itself
        expected = layer(cells).numpy()
    shipped = packed(layer)
    found = shipped.run(cells.numpy())
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    if combination == "sum":
        sums = (found - shipped.bias[:, None, None]) / shipped.scales[:, None, None]
        assert np.abs(sums - sums.round()).max() < 1e-3 and np.abs(sums).max() > count


def test_words_hold_the_bits_that_are_accounted_for() -> None:
    for shared in (True, False):
        binary = Binary(thresholds=3, shared_weights=shared)
        layer = BinaryConv2d(torch.nn.Conv2d(64, 16, 3, bias=False), binary)
        shipped, size = packed(layer), layer_size((16, 64, 3, 3), 1, binary)
        assert 8 * shipped.filters.nbytes == size.weight_bits  # 576 taps fill nine words
        assert (shipped.thresholds.size, shipped.scales.size) == (size.thresholds, size.scales)
