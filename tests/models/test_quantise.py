"""Quantisation: its arithmetic, small nets whose graphs are known, and the shipped 8-bit nets."""

from pathlib import Path

import numpy as np
import pytest
from fixtures_starter import take_or_skip

from app.errors import SetupError
from app.portraits import PORTRAITS
from app.vision.artefact import Artefact, shipped
from app.vision.processor import preferred_precision, read_cpuinfo
from app.vision.runtime import ort
from models.calibration import calibration_pictures
from models.codes import lost_by_rounding, quantisation, quantised_bias, quantised_weights
from models.precisions import STEM, TAIL, TWINS, detector_ranges, in_float, keep_ranges, kept_ranges
from models.quantise import Range, Ranges, calibrate, convolutions, float_convolutions, quantised
from models.starter.graph import Graph, Map
from models.starter.recipes import PERSON

ROWS, COLUMNS = 12, 20  # of the small nets' maps: not square


def random() -> np.random.Generator:
    return np.random.default_rng(5)


def weights(*shape: int) -> np.ndarray:
    return random().normal(0, 0.4, shape).astype(np.float32)


def block(residual: bool = True) -> bytes:
    """An inverted residual: expansion, depthwise, projection, sum; and a convolution behind it."""
    graph = Graph("block", {"x": [1, 4, ROWS, COLUMNS]})
    source = Map("x", 4, ROWS, COLUMNS)
    cells = graph.clipped(graph.convolution(source, weights(16, 4, 1, 1), weights(16), 1), 0, 6)  # conv0
    cells = graph.clipped(graph.convolution(cells, weights(16, 1, 3, 3), weights(16), 1), 0, 6)  # conv2
    cells = graph.convolution(cells, weights(4, 16, 1, 1), weights(4), 1)  # conv4
    cells = graph.sum(source, cells) if residual else cells  # add5
    cells = graph.convolution(cells, weights(8, 4, 3, 3), weights(8), 1)
    graph.node("Identity", cells.name, output="y")
    return graph.model({"y": [1, 8, ROWS, COLUMNS]})


def batches(count: int = 4, channels: int = 4) -> list[np.ndarray]:
    return [draw.astype(np.float32) for draw in random().normal(0, 2, (count, 1, channels, ROWS, COLUMNS))]


def ran(model: bytes, batch: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: batch})[0])


def test_the_code_of_zero_is_exact() -> None:
    scale, zero = quantisation(-1.0, 3.0)
    assert (round(float(scale), 7), zero) == (0.0156863, 64)
    values = np.array([-1.2, -1, 0, 0.5, 2.9999, 3.5])
    assert (np.rint(values / scale) + zero).clip(0, 255).tolist() == [0, 0, 64, 96, 255, 255]
    assert quantisation(0.0, 6.0)[1] == 0
    assert quantisation(0.0, 0.0)[0] > 0  # a map that is always zero


def test_each_channel_has_its_own_scale() -> None:
    rows = np.array([[0.1, -0.2], [2, 1.5]], np.float32)[:, :, None, None]
    codes, scales = quantised_weights(rows)
    assert codes.dtype == np.int8 and codes[:, :, 0, 0].tolist() == [[64, -127], [127, 95]]
    errors = np.abs(codes[:, :, 0, 0] * scales[:, None] - rows[:, :, 0, 0]).max(axis=1)
    np.testing.assert_allclose(errors, [0.000787, 0.003937], atol=1e-6)


def test_kernels_keep_their_sums() -> None:
    # Edge filters: weights of 20 that cancel out. Rounding alone would leave a sum of up to 4.5 codes.
    kernels = random().normal(0, 10, (64, 1, 3, 3))
    kernels = (kernels - kernels.mean(axis=(2, 3), keepdims=True)).astype(np.float32)
    codes, scales = quantised_weights(kernels)
    assert (np.rint(kernels / scales[:, None, None, None]).sum(axis=(1, 2, 3)) != 0).any()
    assert (codes.sum(axis=(1, 2, 3), dtype=int) == 0).all()
    assert (np.abs(codes * scales[:, None, None, None] - kernels).max(axis=(1, 2, 3)) <= scales * 1.0001).all()


def test_a_channel_of_zeros_stays_one() -> None:
    codes, scales = quantised_weights(np.zeros((2, 3, 3, 3), np.float32))
    assert not codes.any() and (scales > 0).all()


@pytest.mark.parametrize(("kernel", "inputs"), [((6, 4, 3, 3), 4), ((8, 1, 3, 3), 8), ((8, 2, 1, 1), 4)])
def test_the_bias_takes_up_what_rounding_loses(kernel: tuple[int, ...], inputs: int) -> None:
    # Even maps, each channel at its mean: with the correction the rounded convolution gives what the exact one does.
    exact, means = weights(*kernel), random().uniform(0, 6, inputs)
    codes, scales = quantised_weights(exact)
    lost = lost_by_rounding(exact, codes, scales, means)
    groups = inputs // kernel[1]
    for output in range(kernel[0]):
        first = output // (kernel[0] // groups) * kernel[1]
        seen = means[first : first + kernel[1], None, None]
        difference = (exact[output] * seen).sum() - (codes[output] * float(scales[output]) * seen).sum()
        assert abs(difference - lost[output]) < 1e-4
    assert np.abs(lost).max() > 1e-3


@pytest.mark.parametrize("residual", [True, False])
def test_a_block_becomes_integers_and_stays_right(residual: bool) -> None:
    model = block(residual)
    ranges = calibrate(model, batches())
    twin = quantised(model, ranges)
    assert float_convolutions(model) != [] and float_convolutions(twin) == []
    for batch in batches(8)[4:]:
        expected = ran(model, batch)
        error = np.sqrt(np.mean((ran(twin, batch) - expected) ** 2)) / expected.std()
        assert error < 0.03


def test_ranges_hold_zero_and_end_with_the_rectifier() -> None:
    ranges = calibrate(block(), batches())
    assert set(ranges) == {"x", "clip1", "clip3", "conv4", "add5", "conv6"}
    assert all(one.low <= 0 <= one.high for one in ranges.values())
    assert ranges["clip1"].low == 0 and ranges["clip1"].high <= 6
    assert (ranges["x"].low, ranges["x"].high) == (float(np.min(batches())), float(np.max(batches())))
    np.testing.assert_allclose(ranges["x"].means, np.mean(batches(), axis=(0, 1, 3, 4)), atol=1e-6)


def test_a_range_beyond_the_rectifier_would_go_unnoticed() -> None:
    model = block()
    ranges = calibrate(model, batches())
    wider = Range(0.0, 8.0, ranges["clip3"].means)
    assert float_convolutions(quantised(model, ranges | {"clip3": wider})) == ["conv2"]


@pytest.mark.parametrize("kept", [["conv0"], ["conv0", "conv2"], ["conv6"]])
def test_what_shall_stay_in_floats_stays(kept: list[str]) -> None:
    model = block()
    twin = quantised(model, calibrate(model, batches(), kept), kept)
    assert len(float_convolutions(twin)) == len(kept)
    assert convolutions(twin) == convolutions(model) == ["conv0", "conv2", "conv4", "conv6"]
    np.testing.assert_allclose(ran(twin, batches(1)[0]), ran(model, batches(1)[0]), atol=0.3)


def test_floats_between_integers_are_refused() -> None:
    model = block()
    with pytest.raises(ValueError, match="conv2 lies between codes"):
        quantised(model, calibrate(model, batches(), ["conv2"]), ["conv2"])


def test_the_runtime_computes_what_the_codes_say() -> None:
    if preferred_precision(read_cpuinfo()) != "int8":
        pytest.skip("this processor may overflow")
    graph = Graph("one", {"x": [1, 4, ROWS, COLUMNS]})
    kernel, bias = weights(6, 4, 1, 1), weights(6)
    cells = graph.clipped(graph.convolution(Map("x", 4, ROWS, COLUMNS), kernel, bias, 1), 0, 6)
    graph.node("Identity", cells.name, output="y")
    model = graph.model({"y": [1, 6, ROWS, COLUMNS]})
    ranges = calibrate(model, batches())
    (scale, zero), (step, _) = (quantisation(ranges[name].low, ranges[name].high) for name in ("x", "clip1"))
    codes, scales = quantised_weights(kernel)
    bias = bias + lost_by_rounding(kernel, codes, scales, np.array(ranges["x"].means))
    inputs = (np.rint(batches(1)[0][0] / scale) + zero).clip(0, 255).astype(int) - int(zero)
    products = np.einsum("oi,ihw->ohw", codes[:, :, 0, 0].astype(int), inputs)
    offsets = quantised_bias(bias, scale * scales)
    expected = np.rint((products + offsets[:, None, None]) * (scale * scales / step)[:, None, None]).clip(0, 255)
    found = np.rint(ran(quantised(model, ranges), batches(1)[0])[0] / step)
    assert np.abs(found - expected).max() <= 1 and (found == expected).mean() > 0.999


def sums(*, at_the_end: bool) -> bytes:
    """x -> a, a -> b, a + b, and a convolution more unless the net ends there."""
    graph = Graph("sums", {"x": [1, 4, ROWS, COLUMNS]})
    first = graph.clipped(graph.convolution(Map("x", 4, ROWS, COLUMNS), weights(4, 4, 1, 1), weights(4), 1), 0, 6)
    end = graph.sum(first, graph.convolution(first, weights(4, 4, 3, 3), weights(4), 1))
    if not at_the_end:
        end = graph.convolution(end, weights(4, 4, 1, 1), weights(4), 1)
    graph.node("Identity", end.name, output="y")
    return graph.model({"y": [1, 4, ROWS, COLUMNS]})


def test_a_sum_of_two_maps_in_floats_stays_in_floats() -> None:
    # Else both would be put into codes, and the runtime's blocked layout undone, to be added and read once.
    model = sums(at_the_end=False)
    kept = convolutions(model)[:2]
    ranges = calibrate(model, batches(), kept)
    assert set(ranges) == {"add3", "conv4"}
    assert float_convolutions(quantised(model, ranges, kept)) == ["clip1", "conv2"]  # the first with its rectifier


def test_a_sum_at_the_end_is_one_of_integers() -> None:
    model = sums(at_the_end=True)
    ranges = calibrate(model, batches())
    step, _ = quantisation(ranges["add3"].low, ranges["add3"].high)
    steps = ran(quantised(model, ranges), batches(1)[0]) / step
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
    assert np.unique(np.rint(steps)).size > 10


def test_what_only_passes_maps_on_keeps_their_scale() -> None:
    graph = Graph("pyramid", {"x": [1, 4, ROWS, COLUMNS]})
    fine = graph.clipped(graph.convolution(Map("x", 4, ROWS, COLUMNS), weights(4, 4, 1, 1), weights(4), 1), 0, 6)
    coarse = graph.node("MaxPool", fine.name, kernel_shape=[2, 2], strides=[2, 2])
    enlarged = graph.node(
        "Resize",
        coarse,
        "",
        graph.constant(np.array([1, 1, 2, 2], np.float32)),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    joined = graph.sum(fine, Map(enlarged, 4, ROWS, COLUMNS))
    end = graph.convolution(joined, weights(4, 4, 3, 3), weights(4), 1)
    graph.node("Identity", end.name, output="y")
    model = graph.model({"y": [1, 4, ROWS, COLUMNS]})
    twin = quantised(model, calibrate(model, batches()))
    assert float_convolutions(twin) == []
    expected = ran(model, batches(1)[0])
    assert np.sqrt(np.mean((ran(twin, batches(1)[0]) - expected) ** 2)) < 0.03 * expected.std()


def test_the_same_ranges_give_the_same_bytes() -> None:
    model = block()
    ranges = calibrate(model, batches())
    assert quantised(model, ranges) == quantised(model, dict(reversed(ranges.items())))


def test_without_pictures_or_ranges_nothing_is_made_up() -> None:
    with pytest.raises(ValueError, match="no batches"):
        calibrate(block(), [])
    with pytest.raises(KeyError, match="conv4"):
        quantised(block(), {name: Range(0.0, 1.0, (0.0,)) for name in ("x", "clip1", "clip3")})


def float_nets(artefact: Artefact) -> dict[str, bytes]:
    return {name: (artefact.folder / name).read_bytes() for name in TWINS}


@pytest.mark.parametrize("name", TWINS)
def test_both_run_on_integers(name: str, starter_detector: Artefact) -> None:
    for artefact in (starter_detector, shipped("detector")):
        nets = float_nets(artefact)
        left = float_convolutions((artefact.folder / TWINS[name]).read_bytes())
        assert len(left) == len(in_float(name, nets)) == {STEM: 3, TAIL: 0}[name]
        assert len(convolutions(nets[name])) == {STEM: 9, TAIL: 79}[name]


def test_both_are_made_with_the_kept_ranges(starter_detector: Artefact) -> None:
    for artefact in (starter_detector, shipped("detector")):
        nets = float_nets(artefact)
        ranges = kept_ranges(artefact.card.name, nets)
        for name, twin in TWINS.items():
            made = quantised(nets[name], ranges[name], in_float(name, nets))
            assert made == (artefact.folder / twin).read_bytes()


def test_ranges_belong_to_exact_nets(tmp_path: Path) -> None:
    nets = {STEM: b"stem", TAIL: b"tail"}
    ranges: dict[str, Ranges] = {STEM: {"a": Range(-1.0, 2.5, (0.5,))}, TAIL: {"b": Range(0.0, 6.0, (1.0, 2.0))}}
    with pytest.raises(SetupError, match="cardea models calibrate"):
        kept_ranges("net", nets, tmp_path)
    keep_ranges("net", nets, ranges, tmp_path)
    assert kept_ranges("net", nets, tmp_path) == ranges
    with pytest.raises(SetupError, match=STEM):
        kept_ranges("net", nets | {STEM: b"other"}, tmp_path)


def test_the_kept_ranges_are_those_of_the_calibration_pictures(packages: Path, starter_detector: Artefact) -> None:
    for portrait in PORTRAITS.values():
        take_or_skip(portrait)
    nets = float_nets(starter_detector)
    some = detector_ranges(nets, calibration_pictures(packages, 6), {STEM: PERSON.input["size"]})
    kept = kept_ranges(PERSON.name, nets)
    for file, found in some.items():
        assert set(found) == set(kept[file])
        for name, one in found.items():
            whole = kept[file][name]
            span = whole.high - whole.low
            # Six of the pictures reach no further than all of them, and not much less far.
            assert whole.low - 0.01 * span <= one.low and one.high <= whole.high + 0.01 * span
            assert one.high - one.low > 0.3 * span
            assert len(one.means) == len(whole.means)
