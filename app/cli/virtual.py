"""A virtual camera as a process of its own, so that its work is not counted as ours."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from app.errors import SetupError
from workers.simulator.faults import Injection

USER = "cardea"


@contextmanager
def virtual_camera(clip: Path, faults: Sequence[Injection] = ()) -> Iterator[str]:
    """Run `cardea camera` with this clip behind a password and yield its URL, password included.

    Each fault comes at its time after the camera was started, and stays until the next one.

    Raises:
        SetupError: it did not start; its own words went to stderr.
    """
    password = secrets.token_urlsafe(12)
    command = [sys.executable, "-m", "app", "camera", str(clip), "--port", "0", "--user", USER]
    for injection in faults:
        command += ["--fault", f"{injection.fault}@{injection.after:g}"]
    environment = os.environ | {"CARDEA_CAMERA_PASSWORD": password}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            if not url:
                raise SetupError(f"the virtual camera did not start with {clip}")
            yield _with_login(url, password)
        finally:
            process.terminate()


def _with_login(url: str, password: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{USER}:{password}@{parts.netloc.rpartition('@')[2]}"))
