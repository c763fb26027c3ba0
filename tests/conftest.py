"""Fixtures live in ``fixtures_<area>.py`` beside this file; each is a plugin, found by its name."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

pytest_plugins = sorted(path.stem for path in HERE.glob("fixtures_*.py"))
pytest.register_assert_rewrite(*pytest_plugins)  # before one of them imports another
