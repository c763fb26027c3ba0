"""Smaller ranks for a layer that is factorised already, at the cost of its core.

Training leaves factors that are not orthonormal, so a decomposition of the core alone is far from the best. QR of the
outer factors moves what they hold into the core; the result is that of decomposing the dense weight again.
"""

from collections.abc import Sequence
from typing import cast

from models.compress.factorised import CpConv, Factorised, Pair, Tucker2Conv
from models.numerics import cp, tucker
from models.numerics.pairs import middle, recompressed_pair
from models.numerics.tucker import Array


def core_of(chain: Factorised) -> Array:
    """Return what is between orthonormal bases: its unfoldings have the singular values of the dense weight's.

    Of Tucker-2 (ro, ri, kh, kw), of a pair (r, r), of CP the kernel (o, i, k) itself, which has no such bases.
    """
    if isinstance(chain, Tucker2Conv):
        return tucker.orthonormal(chain.tucker()).core
    if isinstance(chain, Pair):
        return middle(*chain.pair())[1]
    return cast(CpConv, chain).terms().dense()


def recompressed(chain: Factorised, ranks: Sequence[int]) -> Factorised:
    """Return a chain of the same form with smaller ranks.

    Raises:
        ValueError: the chain cannot have these ranks.
    """
    smaller = type(chain)(chain.to_dense(), ranks)
    if isinstance(chain, Tucker2Conv):
        outputs, inputs = ranks
        found = tucker.recompressed(chain.tucker(), (outputs, inputs))
        return cast(Tucker2Conv, smaller).take(found, chain.bias)
    (rank,) = ranks
    if isinstance(chain, Pair):
        return cast(Pair, smaller).take(recompressed_pair(*chain.pair(), rank), chain.bias)
    terms = cp.recompressed(cast(CpConv, chain).terms(), rank)
    return cast(CpConv, smaller).take(terms, chain.bias)
