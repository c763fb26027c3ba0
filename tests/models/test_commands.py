"""The toolchain's command line where a package of the train extra is missing."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("missing", "command"), [("torch", "train"), ("onnx", "starter")])
@pytest.mark.parametrize("entry", ["app", "models"])
def test_a_missing_package_is_told(missing: str, command: str, entry: str) -> None:
    words = [command] if entry == "models" else ["models", command]
    code = (
        "import sys\n"
        f"sys.modules[{missing!r}] = None\n"  # how Python marks what cannot be imported
        f"from {entry}.__main__ import main\n"
        f"sys.exit(main({words!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    said = f"cardea models {command}: {missing} is missing; get it with: make .venv/.train\n"
    assert (done.returncode, done.stderr) == (1, said)
