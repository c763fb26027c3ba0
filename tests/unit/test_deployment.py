"""Image, compose file, unit and board speak of commands, settings, files and metrics that exist."""

import argparse
import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from app.__main__ import COMMANDS
from app.api.metrics import StoreMetrics
from app.api.middleware import Watch
from app.settings import Settings
from workers.metrics import send_latency

ROOT = Path(__file__).parents[2]
SETTINGS = {f"CARDEA_{name.upper()}" for name in Settings.model_fields}
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
UNIT = (ROOT / "examples" / "cardea.service").read_text()


def parses(words: list[str]) -> bool:
    """Whether `cardea` takes these words."""
    module = importlib.import_module(COMMANDS[words[0]][0])
    parser = argparse.ArgumentParser(exit_on_error=False)
    module.add_arguments(parser)
    parser.parse_args(words[1:])
    return True


def test_every_setting_that_is_named_exists() -> None:
    named = set(re.findall(r"\bCARDEA_[A-Z_]+", DOCKERFILE + UNIT + (ROOT / "compose.yaml").read_text()))
    assert named
    assert named <= SETTINGS


def test_the_image_copies_what_there_is_and_runs_without_rights() -> None:
    steps = [line.split() for line in DOCKERFILE.replace("\\\n", " ").splitlines() if line[:1].isupper()]
    copied = [name for words in steps if words[0] == "COPY" and "--from" not in words[1] for name in words[1:-1]]
    assert {"app", "workers", "migrations", "requirements.txt"} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert all(f"!{name}" in ignored for name in copied)
    last = max(index for index, words in enumerate(steps) if words[0] == "FROM")
    final = steps[last:]
    assert ["USER", "cardea"] in final
    assert final.index(["USER", "cardea"]) > max(i for i, words in enumerate(final) if words[0] == "RUN")
    assert any(words[0] == "HEALTHCHECK" for words in final)
    assert parses(json.loads(" ".join(next(words[1:] for words in final if words[0] == "CMD"))))


def test_the_compose_file_names_real_commands_and_keeps_rights_small() -> None:
    services = COMPOSE["services"]
    assert set(services) == {"postgres", "redis", "api", "worker"}
    for name in ("api", "worker"):
        service = services[name]
        command = service["command"]
        assert parses(command.split() if isinstance(command, str) else command)
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert set(service["environment"]) <= SETTINGS
        assert all(needed["condition"] == "service_healthy" for needed in service["depends_on"].values())
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service.get("ports", []))
    assert "noeviction" in " ".join(services["redis"]["command"])
    volumes = {volume.partition(":")[0] for service in services.values() for volume in service.get("volumes", [])}
    assert volumes == set(COMPOSE["volumes"])


def test_no_password_is_written_down() -> None:
    passwords = re.findall(r"^\s+\w*(?:PASSWORD|AUTH): (\S+)", (ROOT / "compose.yaml").read_text(), re.M)
    assert passwords
    assert all(value.startswith("${") for value in passwords)


def test_the_unit_is_valid(tmp_path: Path) -> None:
    program = re.search(r"^ExecStart=(\S+) (\w+)$", UNIT, re.M)
    assert program
    assert parses([program[2]])
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "cardea.service"
    unit.write_text(UNIT.replace(program[1], sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_board_asks_for_metrics_that_exist(sqlite_url: str) -> None:
    from fixtures_store import store_at

    registry = CollectorRegistry()
    StoreMetrics(store_at(sqlite_url), registry)
    Watch(None, registry)  # type: ignore[arg-type] - only its metrics are asked for
    send_latency(registry)
    sources = generate_latest(registry).decode() + (ROOT / "workers" / "metrics.py").read_text()
    board = json.loads((ROOT / "examples" / "grafana.json").read_text())
    asked = {
        re.sub(r"_(total|bucket)$", "", name)
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"\bcardea_\w+", target["expr"])
    }
    assert len(asked) > 8
    assert [name for name in asked if name not in sources] == []


def test_an_installed_wheel_needs_no_checkout(tmp_path: Path) -> None:
    wheels, installed = tmp_path / "wheels", tmp_path / "installed"
    source = tmp_path / "source"
    source.mkdir()
    for name in ("app", "workers", "migrations"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(source)]
    subprocess.run([*pip, *build], check=True, cwd=tmp_path)
    (wheel,) = wheels.iterdir()
    subprocess.run([*pip, "install", "--no-deps", "--target", str(installed), str(wheel)], check=True, cwd=tmp_path)
    assert not (installed / "models").exists()
    code = (
        "import app, pathlib\n"
        f"assert pathlib.Path(app.__file__).is_relative_to({str(installed)!r}), app.__file__\n"
        "from app.keyring import Keyring\n"
        "from app.store.engine import Store\n"
        f"Store('sqlite:///{tmp_path}/new.db', Keyring(pathlib.Path('{tmp_path}/keys'))).migrate()\n"
        "from app.vision.artefact import shipped\n"
        "print(shipped('embedder').card.id)\n"
    )
    environment = {"PYTHONPATH": str(installed), "PATH": "/usr/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    assert "embedder" in done.stdout
