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

USER = "cardea"


@contextmanager
def virtual_camera(clips: Sequence[Path]) -> Iterator[list[str]]:
    """Run `cardea camera` with these clips behind a password and yield their URLs, password included.

    Raises:
        SetupError: it did not start; its own words went to stderr.
    """
    password = secrets.token_urlsafe(12)
    command = [sys.executable, "-m", "app", "camera", *map(str, clips), "--port", "0", "--user", USER]
    environment = os.environ | {"CARDEA_CAMERA_PASSWORD": password}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            urls = [process.stdout.readline().strip() for _ in clips]
            if not all(urls):
                raise SetupError("the virtual camera did not start")
            yield [_with_login(url, password) for url in urls]
        finally:
            process.terminate()


def _with_login(url: str, password: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{USER}:{password}@{parts.netloc.rpartition('@')[2]}"))
