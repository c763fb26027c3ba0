"""A proxy in front of PostgreSQL's socket: a network that is slow or stands still."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOCKET = ".s.PGSQL.5432"
CHUNK = 65536


class Proxy:
    """Passes bytes on, each chunk `delay` seconds late, and none at all while `frozen`."""

    def __init__(self, source: Path, target: Path) -> None:
        self.delay = 0.0
        self.frozen = False
        self._source, self._target = source, target
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        """Accept connections until told to stop."""
        server = await asyncio.start_unix_server(self._accept, self._source / SOCKET)
        ready.set()
        await stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back, forth = await asyncio.open_unix_connection(self._target / SOCKET)
        except OSError:  # the server is down: say so as it would
            writer.close()
            return
        for one, other in ((reader, forth), (back, writer)):
            task = asyncio.create_task(self._pass_on(one, other))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(CHUNK):
                await asyncio.sleep(self.delay)
                while self.frozen:
                    await asyncio.sleep(0.02)
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass  # either side went away: the other is told below
        finally:
            writer.close()


@contextmanager
def running_proxy(source: Path, target: Path) -> Iterator[Proxy]:
    """Run a proxy in a thread: who connects to the socket in `source` reaches the one in `target`."""
    proxy, ready = Proxy(source, target), threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=[proxy.serve(ready, stop)], name="proxy")
    thread.start()
    assert ready.wait(10)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=10)
        loop.close()
