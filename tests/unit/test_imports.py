"""The borders of the layout: who may import whom, and that the runtime runs without torch."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# The most exact name that fits a module decides; `None` stands for everything of ours.
ALLOWED: dict[str, tuple[str, ...] | None] = {
    "app.types": (),
    "app.errors": (),
    "app.settings": (),
    "app.sources": (),
    "app.packages": ("app.errors",),
    "app.side_job": (),
    "app.ahead": (),
    "app.keyring": ("app.errors",),
    "app.portraits": ("app.packages", "app.errors"),
    "app.vision": ("app.types", "app.errors", "app.vision"),
    "app.photos": ("app.types", "app.errors", "app.vision"),
    "app.enrolment": (
        "app.ahead",
        "app.side_job",
        "app.types",
        "app.errors",
        "app.vision",
        "app.photos",
        "app.fusion",
        "app.gallery_health",
        "app.store",
        "app.enrolment",
    ),
    "app.comparison": ("app.types", "app.intervals"),
    "app.reembedding": ("app.ahead", "app.types", "app.errors", "app.vision", "app.photos", "app.store"),
    "app.fusion": ("app.types",),
    "app.gallery": ("app.types", "app.errors", "app.fusion"),
    "app.access": ("app.types", "app.errors"),
    "app.gallery_health": ("app.types", "app.access", "app.fusion", "app.intervals"),
    "app.live": (),
    "app.memory": (),
    "app.intervals": (),
    "app.options": (),
    "app.mqtt": ("app.side_job", "app.types", "app.errors", "app.events", "app.store.records", "app.mqtt"),
    "app.webhooks": ("app.side_job", "app.errors", "app.events", "app.store", "app.webhooks"),
    "app.advice": ("app.types",),
    "app.camera_check": ("app.types",),
    "app.timings": ("app.store",),
    "app.events": ("app.types", "app.errors"),
    "app.retention": ("app.side_job", "app.errors", "app.store"),
    "app.stream_erasure": ("app.errors", "app.events"),
    "app.embedded": ("app.errors",),
    "app.store": ("app.types", "app.errors", "app.keyring", "app.memory", "app.store"),
    "app.api": ("app",),
    "app.web": ("app",),
    "app.cli": None,
    "app.__main__": ("app.errors", "app.cli", "app.memory"),
    "workers": ("app", "workers"),
    "models": (
        "app.ahead",
        "app.types",
        "app.errors",
        "app.vision",
        "app.packages",
        "app.portraits",
        "app.fusion",
        "app.intervals",
        "app.memory",
        "app.options",
        "models",
    ),
}
BARRED = {"app.api": ("app.cli", "app.web"), "app.web": ("app.cli",), "workers": ("app.api", "app.cli", "app.settings")}


def modules() -> dict[str, Path]:
    found = {}
    for package in ("app", "workers", "models"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def rule(module: str) -> str:
    fitting = [prefix for prefix in ALLOWED if within(module, prefix)]
    assert fitting, f"{module} has no row in the import table"
    return max(fitting, key=len)


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: write imports out in full"
            names.add(node.module)
    return names


def test_every_module_keeps_to_the_import_table() -> None:
    wrong = []
    for module, path in modules().items():
        if module in ("app", "workers", "models"):
            continue
        allowed = ALLOWED[rule(module)]
        barred = BARRED.get(rule(module), ())
        for name in imports(path):
            if name.partition(".")[0] not in ("app", "workers", "models"):
                continue
            fits = allowed is None or any(within(name, prefix) for prefix in allowed)
            if not fits or any(within(name, prefix) for prefix in barred):
                wrong.append(f"{module} imports {name}")
    assert not wrong


def test_torch_is_named_under_models_alone() -> None:
    guilty = [
        module
        for module, path in modules().items()
        if not within(module, "models") and any(within(name, "torch") for name in imports(path))
    ]
    assert not guilty


def test_the_runtime_loads_neither_torch_nor_the_toolchain() -> None:
    names = [name for name in modules() if not within(name, "models")]
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('torch', 'onnx', 'models')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
