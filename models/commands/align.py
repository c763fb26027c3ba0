"""`cardea models align`: cuts the faces out of photographs, as the runtime would, into a set for training."""

import argparse
from pathlib import Path

from app.vision.artefact import shipped
from app.vision.faces import FaceFinder
from models.commands import say
from models.detection.labelled import Pictures
from models.evaluate.recognition_tables import read_identities
from models.recognition.crops import pack


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--images", required=True, type=Path, help="ZIP or folder of photographs, one person each")
    parser.add_argument("--identities", type=Path, help="text: a photograph's name and its person on each line")
    parser.add_argument("--out", required=True, type=Path, help="the set to write, NAME.zip")


def run(arguments: argparse.Namespace) -> int:
    """Cut them."""
    identities = read_identities(arguments.identities) if arguments.identities else {}
    outcome = pack(Pictures(arguments.images), identities, FaceFinder(shipped("face_finder")), arguments.out, say)
    say(f"{arguments.out}: {dict(outcome)}")
    return 0
