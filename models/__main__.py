"""The toolchain's command line: ``python -m models`` or ``cardea models``. Each command is imported when chosen."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from app.errors import CardeaError

COMMANDS = {
    "train": ("models.commands.train", "train a net as a run file says"),
    "export": ("models.commands.export", "turn a trained run into an artefact"),
    "starter": ("models.commands.starter", "build the starter artefacts out of pinned registry packages"),
    "calibrate": ("models.commands.calibrate", "find the ranges that the starter detector's 8-bit nets are made with"),
    "parity": ("models.commands.parity", "compare the starter nets with their sources in the sources' own engines"),
    "thresholds": ("models.commands.thresholds", "measure how alike different people look to the embedder"),
    "label": ("models.commands.label", "mark persons and faces in pictures where several nets agree"),
    "align": ("models.commands.align", "cut the faces out of photographs into a set for training"),
    "compress": ("models.commands.compress", "make a net smaller, stage by stage, as a run file says"),
    "compare": ("models.commands.compare", "compare compressions: table and plots over several run files"),
    "grid": ("models.commands.grid", "run a compression for every combination of named values"),
    "latency": ("models.commands.latency", "collect times of nets, learn from them, predict what a net costs"),
    "study": ("models.commands.study", "compare ways to teach a small embedder, as a study's file says"),
    "evaluate": ("models.commands.evaluate", "measure a net or a rule on pictures with truth"),
    "yardstick": ("models.commands.yardstick", "write a net that `cardea bench embedder` compares ours with"),
}

EXTRA = ("onnx", "sklearn", "torch", "torch_pruning")  # what the runtime does without


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="cardea models", description="Builds, trains, compresses and measures nets.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, summary) in COMMANDS.items():
        commands.add_parser(name, help=summary, add_help=False)
    chosen, rest = parser.parse_known_args(words)
    module_name, summary = COMMANDS[chosen.command]
    command = argparse.ArgumentParser(prog=f"cardea models {chosen.command}", description=summary)
    try:
        module = importlib.import_module(module_name)
        module.add_arguments(command)
        return int(module.run(command.parse_args(rest)))
    except ModuleNotFoundError as error:
        if error.name not in EXTRA:
            raise
        failure = f"{error.name} is missing; get it with: make .venv/.train"
    except CardeaError as error:
        failure = str(error)
    print(f"cardea models {chosen.command}: {failure}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
