"""What the long-running commands share: what they say first, and how they end."""

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from app.errors import SetupError
from app.settings import Settings


def announce(address: str, key: str | None) -> None:
    """Say where the API is, and on the first run the key, which is never shown again."""
    print(f"Cardea answers at {address}: open it in a browser. API: {address}/openapi.json", file=sys.stderr)
    if key is not None:
        print(f"This is the first run. Your operator key, shown only now:\n\n  {key}\n", file=sys.stderr)


def shared_redis(settings: Settings) -> str:
    """Return the Redis URL that this process shares with others.

    Raises:
        SetupError: none is set.
    """
    if settings.redis_url is None:
        raise SetupError("set CARDEA_REDIS_URL (and CARDEA_DATABASE_URL): this command shares both with others")
    return settings.redis_url.get_secret_value()


def wait_for_signal(*sound: Callable[[], bool]) -> int:
    """Wait for SIGINT or SIGTERM and return 0; return 1 when one part of the process says that it runs no longer."""
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    while not asked.wait(0.2):
        if not all(part() for part in sound):
            return 1
    return 0
