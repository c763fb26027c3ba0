"""`cardea models label`: marks persons and faces in pictures by machine, where several nets agree."""

import argparse
from pathlib import Path

from models.commands import add_cache, say
from models.detection.labelling import label
from models.detection.teachers import Teachers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--images", required=True, type=Path, help="zip file or folder of pictures, a set among them")
    parser.add_argument("--truth", type=Path, help="COCO file of what is known of them (default: boxes.json inside)")
    parser.add_argument("--out", required=True, type=Path, help="the set to write, NAME.zip; run again to go on")
    parser.add_argument("--yolox", type=Path, metavar="ONNX", help="weights of YOLOX-nano, to ask it for persons too")
    add_cache(parser)


def run(arguments: argparse.Namespace) -> int:
    """Label them."""
    label(arguments.images, arguments.truth, arguments.out, Teachers(arguments.cache, arguments.yolox), say)
    return 0
