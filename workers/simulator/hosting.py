"""A virtual camera for code that is not asynchronous: it runs in a thread with an event loop of its own."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from urllib.parse import quote

from workers.simulator.clip import Clip
from workers.simulator.faults import DEFAULT_LOSS, Fault
from workers.simulator.server import VirtualCamera

_ANSWER_SECONDS = 10.0


class RunningCamera:
    """A handle on a camera in another thread."""

    def __init__(self, camera: VirtualCamera, loop: asyncio.AbstractEventLoop, source: str) -> None:
        self._camera = camera
        self._loop = loop
        self.source = source  # with user and password, as a camera's row has it

    @property
    def url(self) -> str:
        """The address without user and password."""
        return self._camera.url

    @property
    def viewers(self) -> int:
        """Clients that are playing."""
        return self._camera.viewers

    @property
    def fault(self) -> Fault:
        """What is wrong at present."""
        return self._camera.fault

    def inject(self, fault: Fault, percent: float = DEFAULT_LOSS) -> None:
        """Put the camera into a state, see `Fault`, and return when it is in it.

        Raises:
            ValueError: a swap without a second clip.
        """
        asyncio.run_coroutine_threadsafe(self._camera.inject(fault, percent), self._loop).result(_ANSWER_SECONDS)


@contextmanager
def running_camera(
    *clips: Clip,
    host: str = "127.0.0.1",
    port: int = 0,
    user: str | None = None,
    password: str = "",
    tls: ssl.SSLContext | None = None,
    session_seconds: float = 60.0,
) -> Iterator[RunningCamera]:
    """Run a camera while the block lasts; the arguments are those of `VirtualCamera`.

    Raises:
        OSError: the port is taken or the host is not ours.
    """
    camera = VirtualCamera(
        clips, host=host, port=port, user=user, password=password, tls=tls, session_seconds=session_seconds
    )
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        runner.run(camera.start())
        thread = Thread(target=loop.run_forever, name="virtual-camera", daemon=True)
        thread.start()
        credentials = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user else ""
        try:
            yield RunningCamera(camera, loop, camera.url.replace("://", f"://{credentials}", 1))
        finally:
            asyncio.run_coroutine_threadsafe(camera.stop(), loop).result(_ANSWER_SECONDS)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
