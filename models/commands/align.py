"""`cardea models align`: cuts the faces out of photographs, as the runtime would, into a set for training."""

import argparse
from pathlib import Path

from app.errors import SetupError
from app.vision.artefact import shipped
from app.vision.faces import FaceFinder
from models.commands import say
from models.detection.labelled import Pictures
from models.recognition.crops import pack


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--images", required=True, type=Path, help="ZIP or folder of photographs, one person each")
    parser.add_argument("--identities", type=Path, help="text: a photograph's name and its person on each line")
    parser.add_argument("--out", required=True, type=Path, help="the set to write, NAME.zip")


def run(arguments: argparse.Namespace) -> int:
    """Cut them."""
    identities = _identities(arguments.identities) if arguments.identities else {}
    outcome = pack(Pictures(arguments.images), identities, FaceFinder(shipped("face_finder")), arguments.out, say)
    say(f"{arguments.out}: {dict(outcome)}")
    return 0


def _identities(path: Path) -> dict[str, str]:
    """Return the person of each photograph; other lines, such as a heading of three words, are passed over.

    Raises:
        SetupError: the file cannot be read.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"--identities: {path} cannot be read ({error})") from error
    return dict(line.split() for line in lines if len(line.split()) == 2)
