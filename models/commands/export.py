"""`cardea models export`: turns a trained run into the files of its net, with what is known of them."""

import argparse
from pathlib import Path

from models.calibration import calibration_pictures
from models.commands import add_cache, add_sets, say
from models.detection.export import export_detector
from models.detection.gate_stem_export import export_gate_stem
from models.recognition.export import ACTIVATIONS, export_embedder
from models.run import Plan
from models.training import TASKS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--out", type=Path, required=True, help="folder of the artefact, or of the file")
    add_sets(parser)
    add_cache(parser)


def run(arguments: argparse.Namespace) -> int:
    """Export."""
    task = Plan.read(arguments.run / "run.toml").task
    if task in ACTIVATIONS:
        folders = arguments.sets or [arguments.cache / TASKS[task].sets]
        difference = export_embedder(arguments.run, arguments.out, arguments.cache, folders)
        say(f"cosine of each face's vectors by torch and ONNX: at least {1 - difference:.6f}")
    elif task == "gate_stem":
        difference = export_gate_stem(arguments.run, arguments.out, calibration_pictures(arguments.cache))
        say(f"ONNX differs from torch by {difference:.1e} of the largest feature")
    else:
        difference = export_detector(arguments.run, arguments.out, calibration_pictures(arguments.cache))
        say(f"ONNX differs from torch by {difference:.1e} of the largest value")
    say(f"{arguments.out}: exported")
    return 0
