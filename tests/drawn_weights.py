"""Weights that are drawn, with and without a structure."""

import numpy as np

from models.numerics.tucker import Array


def normal(*shape: int) -> Array:
    return np.random.RandomState(0).standard_normal(shape)


def low_rank(outputs: int, inputs: int, rank: int, noise: float) -> Array:
    random = np.random.RandomState(0)
    core = random.standard_normal((rank, rank, 3, 3))
    bases = random.standard_normal((outputs, rank)), random.standard_normal((inputs, rank))
    return np.einsum("or,ip,rpkl->oikl", *bases, core) + noise * random.standard_normal((outputs, inputs, 3, 3))
