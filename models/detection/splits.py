"""Which pictures train a net, which choose its settings, and which only measure it.

A picture has a place of its own, which follows from its file name: SHA-256 of the name, one tenth for testing, one
tenth for validation; variants of one original, named ``ORIGINAL~n.jpg``, share it, and everything in a set that is for
measuring is for testing. Variants and near-duplicates, also between sets, form groups. A group has the strictest of its
members' own places: testing before validation before training. So which pictures are used together matters, but in one
direction: when sets grow or are joined, a picture's place may become stricter, never less strict. What is for testing
when its set is looked at alone trains and chooses nothing in any union with that set.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from app.types import Image

TRAIN, VALIDATION, TEST = "train", "validation", "test"
STRICTEST = (TEST, VALIDATION, TRAIN)
MEASURED = frozenset(  # sets that train and choose nothing
    {"pennfudan_persons_170", "cctv_room_persons_90", "lfw_pairs_150px"}
)
PARTS = 10  # the first is for testing, the second for validation, the rest for training
ALIKE = 6  # gradient hashes that differ by at most so many of their 64 bits show one scene
ROWS_AT_ONCE = 256
SIDE = 8


def split_of(name: str) -> str:
    """Return the own place of a picture ``SET/.../FILE``, by its name: ``train``, ``validation`` or ``test``."""
    if PurePosixPath(name).parts[0] in MEASURED:
        return TEST
    part = int(hashlib.sha256(PurePosixPath(original(name)).name.encode()).hexdigest(), 16) % PARTS
    return (TEST, VALIDATION)[part] if part < 2 else TRAIN


def original(name: str) -> str:
    """Return what the variants of one original have in common: the name up to the last ``~``, else to the suffix."""
    path = PurePosixPath(name)
    return str(path.with_name(path.stem.rpartition("~")[0] or path.stem))


def gradient_hash(image: Image) -> int:
    """Return 64 bits that say where a picture (H, W, 3), shrunk to 8 rows of 9 grey cells, grows lighter to the right.

    Rescaling, recompression and a change of brightness leave all but a few as they are.
    """
    grey = cv2.cvtColor(cv2.resize(image, (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    bits = (grey[:, 1:] > grey[:, :-1]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def splits(hashes: Mapping[str, int]) -> dict[str, str]:
    """Return the place of each picture: the strictest of its group.

    Args:
        hashes: gradient hash by name, ``SET/.../FILE``, of all pictures that are used together.
    """
    names = sorted(hashes)
    leaders = _leaders([original(name) for name in names], np.array([hashes[name] for name in names], np.uint64))
    groups: dict[int, set[str]] = defaultdict(set)
    for name, leader in zip(names, leaders, strict=True):
        groups[leader].add(split_of(name))
    places = {leader: min(own, key=STRICTEST.index) for leader, own in groups.items()}
    return {name: places[leader] for name, leader in zip(names, leaders, strict=True)}


def _leaders(originals: list[str], hashes: NDArray[np.uint64]) -> list[int]:
    """Return for each picture the lowest row of its group; rows of one group are connected by likeness."""
    leaders = list(range(len(originals)))

    def leader(row: int) -> int:
        while leaders[row] != row:
            leaders[row] = leaders[leaders[row]]
            row = leaders[row]
        return row

    def join(a: int, b: int) -> None:
        low, high = sorted((leader(a), leader(b)))
        leaders[high] = low

    first: dict[str, int] = {}
    for row, name in enumerate(originals):
        join(row, first.setdefault(name, row))
    for start in range(0, len(hashes), ROWS_AT_ONCE):
        differing = np.bitwise_count(hashes[start : start + ROWS_AT_ONCE, None] ^ hashes[None, start:])
        for a, b in np.argwhere(differing <= ALIKE).tolist():
            join(start + a, start + b)
    return [leader(row) for row in range(len(originals))]
