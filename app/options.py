"""Numbers on a command line: what is out of range is refused before anything begins."""

import argparse
import math


def positive(text: str) -> float:
    """Return a finite number above 0.

    Raises:
        ArgumentTypeError: it is 0, negative, infinite or not a number.
    """
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: must be a number above 0")
    return value


def at_least_one(text: str) -> int:
    """Return a whole number from 1 on.

    Raises:
        ArgumentTypeError: it is less.
    """
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be 1 or more")
    return value
