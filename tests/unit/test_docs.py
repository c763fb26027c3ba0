"""What README and DESIGN say of the code is true: settings, the walk of a frame with file and line."""

import ast
import re
from pathlib import Path

from app.__main__ import COMMANDS
from app.settings import Settings

ROOT = Path(__file__).parents[2]
STEP = re.compile(r"^(?P<function>\S+)\s+(?P<file>\S+\.py):(?P<line>\d+)\s", re.M)


def line_of(path: Path, name: str) -> int | None:
    """Line of a function or method, by its dotted name."""
    scope: list[ast.stmt] = ast.parse(path.read_text()).body
    found = None
    for part in name.split("."):
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        found = next((node for node in scope if isinstance(node, kinds) and node.name == part), None)
        if found is None:
            return None
        scope = found.body
    return found.lineno if found else None


def test_the_walk_of_a_frame_is_true() -> None:
    steps = list(STEP.finditer((ROOT / "DESIGN.md").read_text()))
    assert len(steps) >= 15
    said = {match["function"]: f"{match['file']}:{match['line']}" for match in steps}
    true = {match["function"]: f"{match['file']}:{line_of(ROOT / match['file'], match['function'])}" for match in steps}
    assert said == true


def test_the_readme_lists_every_setting() -> None:
    said = set(re.findall(r"^\| `(CARDEA_[A-Z_]+)`", (ROOT / "README.md").read_text(), re.M))
    assert said == {f"CARDEA_{name.upper()}" for name in Settings.model_fields}


def test_every_command_has_a_module() -> None:
    assert all((ROOT / (module.replace(".", "/") + ".py")).is_file() for module, _ in COMMANDS.values())
