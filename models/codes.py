"""The arithmetic of 8-bit codes: a real value is r = scale (q - zero), Jacob et al. 2018, equation 1.

Activations are unsigned with a zero point, weights signed without one and with a scale per output channel.
"""

import numpy as np

LEVELS = 255  # steps between the codes 0 and 255 of an activation
LARGEST_WEIGHT = 127  # symmetric: -128 is not used
SMALLEST = float(np.finfo(np.float32).tiny)  # a scale is never 0

Scale = tuple[np.float32, np.uint8]  # what one code is worth, and the code of 0


def quantisation(low: float, high: float) -> Scale:
    """Return scale and zero point of the range low..high with low <= 0 <= high: code = rint(value / scale) + zero.

    The zero point is the code of 0, so padding with zeros is exact.
    """
    scale = np.float32(max(high - low, SMALLEST) / LEVELS)
    return scale, np.uint8(np.clip(np.rint(-low / float(scale)), 0, LEVELS))


def quantised_weights(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return weights (out, in, k, k) as int8 codes in -127..127 and the scale (out,) of each output channel.

    scale = max |weight| of the channel / 127 (Jacob et al. 2018, section 3). Each k x k kernel keeps its sum to half a
    scale: a depthwise kernel that finds edges has large weights of both signs, and rounding each to its nearest code
    would let it answer to even surfaces. So the codes whose rounding went furthest astray go one step back until the
    sum fits, and a weight is right to one scale, not to half of one.
    """
    largest = np.abs(weights).max(axis=(1, 2, 3)).astype(np.float64)
    scales = (np.maximum(largest, SMALLEST) / LARGEST_WEIGHT).astype(np.float32)
    exact = (weights / scales[:, None, None, None].astype(np.float64)).reshape(-1, weights.shape[2] * weights.shape[3])
    codes = np.rint(exact)
    missing = np.rint(exact.sum(axis=1)) - codes.sum(axis=1)
    for row in np.flatnonzero(missing):
        step = np.sign(missing[row])
        astray = np.argsort(step * (codes[row] - exact[row]), kind="stable")[: int(abs(missing[row]))]
        codes[row, astray] += step
    return codes.reshape(weights.shape).clip(-LARGEST_WEIGHT, LARGEST_WEIGHT).astype(np.int8), scales


def lost_by_rounding(weights: np.ndarray, codes: np.ndarray, scales: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Return what each output channel (out,) of a convolution loses on average because its weights are rounded.

    The sum of (weight - scale code) times the mean of the input channel, padding left aside: added to the bias it takes
    the drift out of the net (Nagel et al. 2019, section 4.2).

    Args:
        weights: (out, in of one group, k, k).
        codes: of the weights, and their `scales` (out,).
        means: (in,) of the input's channels, on the pictures of calibration.
    """
    lost = (weights - codes * scales[:, None, None, None].astype(np.float64)).sum(axis=(2, 3))
    inside = weights.shape[1]
    groups = len(means) // inside
    return np.einsum("goi,gi->go", lost.reshape(groups, -1, inside), np.reshape(means, (groups, inside))).ravel()


def quantised_bias(bias: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return a bias (out,) as int32 codes of the products' scales (out,): it is added before they are rescaled."""
    return np.rint(bias / scales.astype(np.float64)).clip(-(2**31), 2**31 - 1).astype(np.int32)
