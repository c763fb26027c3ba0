"""The live view: pictures of watched cameras, sent through Redis to whoever looks at them now.

Pub/sub keeps nothing: a picture that nobody receives is gone, and no file of the server ever holds a face. A worker
sends only while somebody is subscribed. A message is one JSON object:

    camera, at        which camera, and when the frame was captured
    width, height     of the picture in pixels; all boxes are x1 y1 x2 y2 in shares 0..1 of it
    jpeg              the picture, base64
    persons           [{box, track, state, person}]; state is "seen" or a decision, person is an id for those who are
                      known: a worker knows no names, whoever shows the picture asks the store
    faces             [{box}]
    motion            {columns, rows, active}: a grid over the picture and the indices (row * columns + column) of the
                      cells that differ from the background
    zones             polygons [[x, y], ...] where people count; empty: everywhere
    exited            whether the frame ended at the gate
    why               why it did not: warming_up, motion, followed, broken or off; null when it did
    strength          of the clearest cell: from 1 on it opens the gate
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress

import redis
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

PAUSE = 1.0  # seconds between tries while Redis is away
ANSWER = 2.0  # seconds after which a silent Redis is taken for gone


def channel(stream: str, camera: str) -> str:
    """Return the channel of a camera, beside the event stream's key."""
    return f"{stream}:live:{camera}"


async def subscribe(redis_url: str, stream: str, cameras: Iterable[str]) -> AsyncGenerator[str, None]:
    """Yield the messages of these cameras until the caller ends: ``async with aclosing(subscribe(...)) as messages``.

    Of each camera at most one message waits, the newest: a slow reader sees fewer pictures, never old ones. While
    Redis is away there are none; it is tried again every second.
    """
    client = Redis.from_url(
        redis_url,
        protocol=2,
        decode_responses=True,
        socket_connect_timeout=ANSWER,
        socket_timeout=ANSWER,
        retry=Retry(NoBackoff(), 0),
    )
    newest = _Newest()
    receiving = asyncio.create_task(_receive(client, [channel(stream, camera) for camera in cameras], newest))
    try:
        while True:
            yield await newest.take()
    finally:
        receiving.cancel()
        with suppress(asyncio.CancelledError):
            await receiving


class _Newest:
    """One message per camera."""

    def __init__(self) -> None:
        self._waiting: dict[str, str] = {}
        self._some = asyncio.Event()

    def put(self, source: str, message: str) -> None:
        self._waiting[source] = message
        self._some.set()

    async def take(self) -> str:
        await self._some.wait()
        source = next(iter(self._waiting))  # who has waited longest
        message = self._waiting.pop(source)
        if not self._waiting:
            self._some.clear()
        return message


async def _receive(client: Redis, channels: list[str], newest: _Newest) -> None:
    async with client:
        while True:
            with suppress(redis.RedisError, OSError):
                async with client.pubsub() as pubsub:
                    await _follow(pubsub, channels, newest)
            await asyncio.sleep(PAUSE)


async def _follow(pubsub: PubSub, channels: list[str], newest: _Newest) -> None:
    """Pass messages on until the connection fails, or is silent although it was asked for a sign of life."""
    await pubsub.subscribe(*channels)
    asked = False
    while (message := await pubsub.get_message(timeout=ANSWER)) is not None or not asked:
        asked = message is None
        if message is None:
            await pubsub.ping()
        elif message["type"] == "message":
            newest.put(message["channel"], message["data"])
