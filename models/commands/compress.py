"""`cardea models compress`: makes a net smaller in the stages of a run file."""

import argparse
from pathlib import Path

from models.commands import add_cache, add_sets, print_json, say
from models.compress.grid import BASES
from models.compress.run import compress
from models.compress.run_file import RunFile
from models.compress.tasks import open_task


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("file", type=Path, help="run file, such as models/runs/compress/distil.toml")
    parser.add_argument("--out", required=True, type=Path, help="folder that gets a folder of the file's name")
    add_sets(parser)
    add_cache(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do the run, or what is left of it; the status is 1 when its outcome is not accepted."""
    plan = RunFile.read(arguments.file)
    folder = arguments.out / arguments.file.stem
    task = open_task(plan.task, arguments.sets or [arguments.cache / "faces"])
    report = compress(plan, task, folder, arguments.out / BASES, say)
    figures = report["stages"][-1]["figures"] if report["stages"] else report["base"]
    print_json({name: report[name] for name in ("accepted", "failures", "epochs")} | figures, on_one_line=False)
    say(f"{folder}: done")
    return 0 if report["accepted"] else 1
