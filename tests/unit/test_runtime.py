"""Nothing of a house is sent anywhere: ONNX Runtime's telemetry is off."""

import ast
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
OPEN_A_NET = "from app.vision.artefact import shipped; shipped('embedder').open('embedder.onnx')"
THE_SAME_WITHOUT_US = "import onnxruntime; onnxruntime.InferenceSession('app/artefacts/face-yunet/finder.onnx')"


def left_in_home(home: Path, code: str) -> list[str]:
    """Names of the files that a process leaves in its user's home folder."""
    # As on somebody's server: in CI and in tests the library says nothing by itself.
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    ours = {"HOME": str(home), "ORT_DISABLE_TELEMETRY": "0"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=kept | ours, check=True, timeout=60)
    return sorted(path.name for path in home.rglob("*") if path.is_file())


def test_opening_a_net_leaves_no_device_id_and_no_events(tmp_path: Path) -> None:
    assert left_in_home(tmp_path, OPEN_A_NET) == []


def test_the_library_by_itself_would_leave_them(tmp_path: Path) -> None:
    assert "deviceid" in left_in_home(tmp_path, THE_SAME_WITHOUT_US)


def test_nobody_imports_the_library_past_the_module_that_silences_it() -> None:
    guilty = []
    for path in [path for package in ("app", "workers", "models") for path in (ROOT / package).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            named += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if "onnxruntime" in named:
                guilty.append(str(path.relative_to(ROOT)))
    assert guilty == ["app/vision/runtime.py"]
