"""`cardea models export`: turns a trained run into an artefact, or the gate's stem into its file."""

import argparse
from pathlib import Path

from models.calibration import calibration_pictures
from models.commands import add_cache, say
from models.detection.export import export
from models.detection.gate_stem_export import export_gate_stem
from models.run import Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--out", type=Path, required=True, help="folder of the artefact, or of the file")
    add_cache(parser)


def run(arguments: argparse.Namespace) -> int:
    """Export."""
    pictures = calibration_pictures(arguments.cache)
    if Plan.read(arguments.run / "run.toml").task == "gate_stem":
        difference = export_gate_stem(arguments.run, arguments.out, pictures)
        say(f"ONNX differs from torch by {difference:.1e} of the largest feature")
    else:
        export(arguments.run, arguments.out, pictures, say)
    say(f"{arguments.out}: exported")
    return 0
