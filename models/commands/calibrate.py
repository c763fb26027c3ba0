"""`cardea models calibrate`: finds the ranges of the starter detector's maps, which its 8-bit nets are made with."""

import argparse

from app.packages import take
from models.calibration import calibration_pictures
from models.commands import add_cache, say
from models.precisions import STEM, detector_ranges, keep_ranges
from models.starter.person import SIDE, PersonNet
from models.starter.recipes import PERSON


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_cache(parser)


def run(arguments: argparse.Namespace) -> int:
    """Find them, and keep them; `cardea models starter --only detector` builds with them."""
    nets = PersonNet(take(PERSON.source, arguments.cache)).files()
    ranges = detector_ranges(nets, calibration_pictures(arguments.cache), {STEM: (SIDE, SIDE)})
    keep_ranges(PERSON.name, nets, ranges)
    say(f"{PERSON.name}: the ranges of {sum(map(len, ranges.values()))} maps")
    return 0
