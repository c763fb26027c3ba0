"""`cardea models calibrate`: finds the ranges of the detectors' maps, which their 8-bit nets are made with."""

import argparse

from app.packages import take
from models.calibration import calibration_pictures
from models.commands import add_cache, say
from models.precisions import STEM, detector_ranges, keep_ranges
from models.starter.person import SIDE, PersonNet
from models.starter.recipes import LEAN, PERSON, lean_nets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_cache(parser)


def run(arguments: argparse.Namespace) -> int:
    """Find them, and keep them; `cardea models starter` builds with them."""
    pictures = list(calibration_pictures(arguments.cache))
    starter = PersonNet(take(PERSON.source, arguments.cache)).files()
    for recipe, nets in ((PERSON, starter), (LEAN, lean_nets())):
        ranges = detector_ranges(nets, pictures, {STEM: (SIDE, SIDE)})
        keep_ranges(recipe.name, nets, ranges)
        say(f"{recipe.name}: the ranges of {sum(map(len, ranges.values()))} maps")
    return 0
