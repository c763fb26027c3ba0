"""The command line: `cardea COMMAND`. Data goes to stdout, messages to stderr; each command is imported when chosen."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from app.errors import CardeaError
from app.memory import begin_anew

EXIT_FAILED = 1  # the command ran and what it was to show did not hold
EXIT_SETUP = 2  # wrong words on the command line, or the surroundings are not ready

COMMANDS = {
    "up": ("app.cli.up", "API and one worker in one process, with embedded database and event stream by default"),
    "serve": ("app.cli.serve", "the API alone"),
    "work": ("app.cli.work", "a worker alone: watches cameras, sends events"),
    "db": ("app.cli.db", "look after the database: `cardea db check`"),
    "enrol": ("app.cli.enrol", "enrol hundreds of people from a folder, a table or a CompreFace dump"),
    "gallery": ("app.cli.gallery", "change the embedder without losing people: reembed, compare, switch, and back"),
    "backup": ("app.cli.backup", "write everything worth keeping into one file, while Cardea runs"),
    "restore": ("app.cli.restore", "put a backup in the place of the database"),
    "retention": ("app.cli.retention", "delete now what is older than it may be, or count it"),
    "keys": ("app.cli.keys", "list, rotate and retire the keys that seal photos and templates"),
    "demo": ("app.cli.demo", "the whole story in a minute: a resident and a stranger at a virtual door"),
    "camera": ("app.cli.camera", "a virtual RTSP camera that plays clips"),
    "check-camera": ("app.cli.check_camera", "open a source once and say what comes: JSON on stdin and stdout"),
    "bench": ("app.cli.bench", "measure, and print JSON"),
}
# Those that run for months and handle names of people who may be erased: whether they do so in more than one place.
FORGETFUL = {"up": True, "serve": True, "work": False}
MODELS = "build, train, compress and measure nets (needs the `train` extra)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status.

    Args:
        argv: None takes those of the process, which is then ours: it may be replaced, see `app.memory`.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["models"]:
        return _models(words[1:])
    parser = argparse.ArgumentParser(prog="cardea", description="Cardea knows who stands at the door.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, summary) in COMMANDS.items():
        commands.add_parser(name, help=summary, add_help=False)
    commands.add_parser("models", help=MODELS, add_help=False)
    chosen, rest = parser.parse_known_args(words)
    if argv is None and chosen.command in FORGETFUL:
        begin_anew(always=FORGETFUL[chosen.command])
    module = importlib.import_module(COMMANDS[chosen.command][0])
    command = argparse.ArgumentParser(prog=f"cardea {chosen.command}", description=COMMANDS[chosen.command][1])
    module.add_arguments(command)
    arguments = command.parse_args(rest)
    try:
        return int(module.run(arguments))
    except CardeaError as error:
        print(f"cardea {chosen.command}: {error}", file=sys.stderr)
        return EXIT_SETUP
    except KeyboardInterrupt:
        return 130


def _models(words: list[str]) -> int:
    """Hand over to the offline toolchain, which is no part of the installed runtime."""
    sys.path.insert(0, str(Path(__file__).parents[1]))  # the toolchain is in the checkout, but never installed
    try:
        toolchain = importlib.import_module("models.__main__")
    except ModuleNotFoundError as error:
        print(
            f"cardea models: {error.name} is missing. Run it in a checkout with the train extra:\n"
            "  make .venv/.train && .venv/bin/cardea models",
            file=sys.stderr,
        )
        return EXIT_SETUP
    return int(toolchain.main(words))


if __name__ == "__main__":
    sys.exit(main())
