"""`cardea models train`: trains a net as a run file says; the run's folder keeps all that resuming needs."""

import argparse
import importlib
from pathlib import Path

from models.commands import CACHE, add_cache, add_sets, say
from models.run import Run
from models.training import TASKS
from models.training.fit import fit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("file", type=Path, help="run file, such as models/runs/stem.toml")
    parser.add_argument("--resume", action="store_true", help="go on where the run stopped")
    parser.add_argument("--runs", type=Path, default=CACHE / "runs", help="folder of all runs")
    add_sets(parser)
    add_cache(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train."""
    made = Run(arguments.file, arguments.runs, arguments.resume)
    kind = TASKS[made.plan.task]
    folders = arguments.sets or [arguments.cache / kind.sets]
    fit(made, importlib.import_module(kind.module).Task(made.plan, arguments.runs, arguments.cache, folders))
    say(f"{made.folder}: trained to step {made.plan.steps}")
    return 0
