"""The embedded server: ready, closed to others, back after a crash, and never left behind."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from fixtures_redis import STREAM, make_event, open_stream, wait_until

from app.embedded import EmbeddedServer
from app.errors import SetupError, StreamUnavailableError
from app.events import EventStream

PARENT = """
import sys, threading
from pathlib import Path
from app.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
threading.Thread(target=server.start).start()  # whose end must not be the server's
while not server.pid: pass
print(server.pid, flush=True)
threading.Event().wait()
"""


@contextlib.contextmanager
def running(folder: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def lives(process: int) -> bool:
    """A process that ended but was not waited for by whoever inherited it does not count."""
    status = Path(f"/proc/{process}/stat")
    with contextlib.suppress(FileNotFoundError):
        return status.read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def test_events_and_address_survive_a_restart(tmp_path: Path) -> None:
    with running(tmp_path / "stream") as server:
        first = server.url
        with open_stream(server.url) as stream:
            assert stream.add(make_event(1), has_snapshot=True)
    with pytest.raises(StreamUnavailableError), contextlib.closing(EventStream(first, STREAM, 1000)) as stream:
        stream.check()
    with running(tmp_path / "stream") as server, open_stream(server.url) as stream:
        assert server.url == first == (tmp_path / "stream" / "url").read_text().strip()
        assert not stream.add(make_event(1), has_snapshot=True)


def test_other_users_are_kept_out(tmp_path: Path) -> None:
    folder = tmp_path / "stream"
    with running(folder) as server:
        port, password = urlsplit(server.url).port, urlsplit(server.url).password
        assert password and len(password) > 20
        stranger = redis.Redis.from_url(f"redis://127.0.0.1:{port}", protocol=2)
        with contextlib.closing(stranger), pytest.raises(redis.AuthenticationError):
            stranger.ping()
        assert folder.stat().st_mode & 0o077 == 0
        for name in ("url", "valkey.conf"):
            assert (folder / name).stat().st_mode & 0o077 == 0
        assert password not in Path(f"/proc/{server.pid}/cmdline").read_text()
        assert password not in repr(server) + (folder / "valkey.log").read_text()


def test_a_dead_server_comes_back_where_it_was(tmp_path: Path) -> None:
    with running(tmp_path / "stream") as server, open_stream(server.url) as stream:
        for sequence in range(1, 4):
            before = server.pid
            assert stream.add(make_event(sequence), has_snapshot=True)
            os.kill(before, signal.SIGKILL)
            wait_until(lambda before=before: server.pid not in (0, before))

            def added(sequence: int = sequence) -> bool:
                with contextlib.suppress(StreamUnavailableError):
                    return not stream.add(make_event(sequence), has_snapshot=True)
                return False

            wait_until(added)


def test_a_hanging_server_can_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.embedded.STOP_SECONDS", 0.5)
    with running(tmp_path / "stream") as server:
        process = server.pid
        os.kill(process, signal.SIGSTOP)
    assert not lives(process)


def test_it_is_not_left_behind_by_a_killed_process(tmp_path: Path) -> None:
    folder = tmp_path / "stream"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, folder], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    process = int(parent.stdout.readline())
    assert lives(process)
    parent.kill()
    with running(folder) as successor:  # at once: it waits for the folder to be given up
        assert not lives(process)
        assert successor.pid != process
    parent.wait()
    parent.stdout.close()


def test_a_folder_has_one_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.embedded.LOCK_SECONDS", 0.2)
    with running(tmp_path / "stream"), pytest.raises(SetupError, match="another process uses"):
        EmbeddedServer(tmp_path / "stream").start()


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    with running(tmp_path / "first") as first:
        port = urlsplit(first.url).port
        assert port is not None
        with pytest.raises(SetupError, match=f"port {port} of 127.0.0.1 is taken"):
            EmbeddedServer(tmp_path / "second", port).start()


def test_damaged_data_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "stream"
    with running(folder) as server, open_stream(server.url) as stream:
        stream.add(make_event(1), has_snapshot=True)
    (file,) = (folder / "appendonlydir").glob("*.incr.aof")
    file.write_bytes(b"not a log of commands\n" + file.read_bytes())
    with pytest.raises(SetupError, match="did not start"):
        EmbeddedServer(folder).start()
