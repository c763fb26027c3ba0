"""The live stream: from the Redis stream to one building's server-sent events (WHATWG HTML, section 9.2).

A client that comes back with `Last-Event-ID` gets what it missed. When that cannot be promised, because the stream was
trimmed or lost or could not be reached at first, an event named ``gap`` says so: the history has the rest. Signs of
life carry the place reached, so that a client of a quiet building does not fall behind the trimmed part.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import anyio
import redis
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import format_sse_event
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from app.api.auth import check_key
from app.api.problems import ProblemError
from app.api.services import Services
from app.errors import StoreUnavailableError

BATCH = 100
POLL = 1.0  # seconds that one look at the stream waits; the server's end is noticed between two
PAUSE = 1.0  # seconds between tries while Redis is away
ANSWER = 2.0  # seconds after which a silent Redis is taken for gone
RETRY_MS = 2000  # what a client waits before it comes back
START = "0-0"


@dataclass(frozen=True, slots=True)
class Entry:
    """What a client may be told. `building` is None for what concerns everybody."""

    place: str  # in the stream
    kind: str  # access | camera | gap
    building: str | None
    text: str  # JSON


class StreamReader:
    """Follows the Redis stream for one client, through outages.

    Args:
        after: place of the last entry that the client has; None begins with what comes from now on.
    """

    def __init__(self, url: str, key: str, after: str | None) -> None:
        self._client = Redis.from_url(
            url,
            protocol=2,
            decode_responses=True,
            socket_connect_timeout=ANSWER,
            socket_timeout=POLL + ANSWER,
            retry=Retry(NoBackoff(), 0),
        )
        self._key = key
        self._joined = False
        self._missed_start = False
        self.place = after

    async def close(self) -> None:
        """Give the connection back."""
        await self._client.aclose()

    async def next(self) -> list[Entry]:
        """Return what came within about a second; nothing while Redis is away."""
        try:
            if self._joined:
                return await self._read()
            requested = self.place
            missing = await self._join()
            self._joined = True
        except redis.RedisError:  # a closed or silent connection, a server that is loading its data
            self._joined = False
            self._missed_start |= self.place is None
            await asyncio.sleep(PAUSE)
            return []
        told = json.dumps({"requested": requested, "resumed": self.place})
        return [Entry(str(self.place), "gap", None, told)] if missing else []

    async def _join(self) -> bool:
        """Find the place to go on from, after every connection; return whether entries may be missing."""
        last, trimmed = await self._state()
        if self.place is None:
            self.place = last
            return self._missed_start
        if self.place == START:
            return trimmed
        if await self._client.xrange(self._key, self.place, self.place):
            return False
        if _order(self.place) > _order(last):
            self.place = START  # the stream was lost: whatever it holds now is new
        return True

    async def _state(self) -> tuple[str, bool]:
        """Return the place of the newest entry that there ever was, and whether entries were removed."""
        try:
            state = await self._client.xinfo_stream(self._key)
        except redis.ResponseError as error:
            if "no such key" in str(error):
                return START, False
            raise
        return state["last-generated-id"], state.get("entries-added") != state["length"]  # Redis 6 does not tell

    async def _read(self) -> list[Entry]:
        answer: Any = await self._client.xread({self._key: str(self.place)}, BATCH, int(POLL * 1000))
        rows: list[tuple[str, dict[str, str]]] = answer[0][1] if answer else []
        if rows:
            self.place = rows[-1][0]
        return [_entry(place, fields["event"]) for place, fields in rows if "event" in fields]


async def live_events(services: Services, secret: str, building: str, after: str | None) -> AsyncIterator[bytes]:
    """Yield one building's events in the text form of server-sent events, until client, key or server ends.

    Args:
        secret: of the key, which is looked at again with every sign of life.
        after: the client's `Last-Event-ID`.
    """
    reader = StreamReader(services.redis_url, services.stream, after)
    spoken = time.monotonic()
    try:
        yield format_sse_event(comment="welcome", retry=RETRY_MS)
        while not services.closing.is_set():
            for entry in await reader.next():
                if entry.building in (None, building):
                    yield format_sse_event(data_str=entry.text, event=entry.kind, id=entry.place)
            if time.monotonic() - spoken >= services.heartbeat:
                if not await run_in_threadpool(_still_valid, services, secret):
                    return
                yield format_sse_event(comment="alive", id=reader.place)
                spoken = time.monotonic()
    finally:
        with anyio.CancelScope(shield=True):  # a client that leaves cancels us here
            await reader.close()


def _entry(place: str, text: str) -> Entry:
    event = json.loads(text)
    kind = "access" if event["type"].startswith("org.cardea.access.") else "camera"
    return Entry(place, kind, event["data"]["building"], text)


def _still_valid(services: Services, secret: str) -> bool:
    """Whether the key still opens the stream; while the store is away, a key stays what it was."""
    try:
        check_key(services, secret)
    except ProblemError:
        return False
    except StoreUnavailableError:
        return True
    return True


def _order(place: str) -> tuple[int, ...]:
    return tuple(int(part) for part in place.split("-"))
