"""An event as the world sees it: CloudEvents 1.0 in JSON, structured mode, and the Redis stream that carries it.

Consumers match on these names, so within ``v1`` fields are only ever added. `examples/README.md` explains each field
and what a consumer must check before it opens a door.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.errors import SetupError, StreamEmptyError, StreamUnavailableError
from app.types import AccessEvent, CameraEvent, Event, TamperEvent

ANSWER_SECONDS = 2.0  # a server that is silent for longer is taken for gone
Sent = tuple[Event, bool]  # an event, and whether it has a snapshot
LOST = "the event stream is new or has lost its data"
FULL = "the event stream is full: raise the server's maxmemory, or free memory there"
REMEMBER_SECONDS = 7 * 24 * 3600  # how long a second copy of an event is recognised

FILLING, FILLED = "filling", "filled"  # what the marker says

# Adds events unless their ids were added before, in one atomic step: a sender whose answer was lost, or who died before
# it could note the success, just sends again. Each id is remembered in a key of its own, because the stream is trimmed.
# Without the marker nothing is added: the server is new or has lost its data.
ADD_ONCE = """
local marker = redis.call('GET', KEYS[2])
if marker ~= 'filled' and marker ~= ARGV[3] then return -1 end
local added = 0
for i = 3, #KEYS do
    if redis.call('EXISTS', KEYS[i]) == 0 then
        local entry = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'event', ARGV[i + 1])
        redis.call('SET', KEYS[i], entry, 'EX', ARGV[2])
        added = added + 1
    end
end
return added
"""


def connect(url: str) -> redis.Redis:
    """Return a client; nothing is connected yet.

    Raises:
        SetupError: the URL cannot be read.
    """
    try:
        return redis.Redis.from_url(
            url,
            protocol=2,
            decode_responses=True,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),  # trying again is the sender's business
        )
    except ValueError:  # its text may repeat the password
        raise SetupError("the Redis URL cannot be read; it begins with redis://, rediss:// or unix://") from None


def marker_of(key: str) -> str:
    """Return the key that says whether a stream has what it should: see `EventStream`."""
    return f"{key}:marker"


class EventStream:
    """The stream of all events, in any Redis from 6.2 on or Valkey. Threads may share it.

    The server must not evict keys (``maxmemory-policy noeviction``, the default): it would forget what was sent.
    Beside the stream lies a marker, which goes when the server loses its data: then nothing is added until somebody
    has put in again what the stream held (`filling`).

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``, with its password.
        key: of the stream.
        length: events kept, about.
    """

    def __init__(self, url: str, key: str, length: int) -> None:
        """Prepare the client; nothing is connected yet.

        Raises:
            SetupError: the URL cannot be read.
        """
        self._client = connect(url)
        self._key = key
        self._marker = marker_of(key)
        self.length = length
        self._add_once = self._client.register_script(ADD_ONCE)

    def add(self, event: Event, has_snapshot: bool) -> bool:
        """Append the event; False when the stream has or had it already.

        Raises:
            StreamEmptyError: the stream is new or has lost its data; fill it first.
            StreamUnavailableError: no answer, or none that helps. The event may have been added: add it again.
        """
        return self._add([(event, has_snapshot)], FILLED) == 1

    def require(self) -> None:
        """Make sure that the stream has what it should.

        Raises:
            StreamEmptyError: it is new or has lost its data; fill it first.
            StreamUnavailableError: no answer.
        """
        self._add([], FILLED)

    @contextmanager
    def filling(self) -> Iterator[Callable[[Sequence[Sent]], int]]:
        """Fill a stream that is new or has lost its data; it takes events by `add` when the block has ended.

        Several processes may do so at once, each from the oldest event on: every id is added once, and in that order.

        Yields:
            Adds events, each with whether it has a snapshot, and returns how many were not there yet.

        Raises:
            StreamEmptyError: the data was lost again meanwhile.
            StreamUnavailableError: as for `add`. What was added stays.
        """
        with self._errors():
            self._client.set(self._marker, FILLING, nx=True)
        yield lambda records: self._add(records, FILLING)
        with self._errors():
            kept = self._client.set(self._marker, FILLED, xx=True)
        if kept is None:
            raise StreamEmptyError(LOST)

    def _add(self, records: Sequence[Sent], accepted: str) -> int:
        """Add events while the marker is `FILLED` or `accepted`; return how many were new."""
        messages = [
            json.dumps(to_cloud_event(event, has_snapshot), ensure_ascii=False, separators=(",", ":"))
            for event, has_snapshot in records
        ]
        ids = [f"{self._key}:sent:{event.id}" for event, _ in records]
        with self._errors():
            added = int(
                self._add_once(
                    keys=[self._key, self._marker, *ids], args=[self.length, REMEMBER_SECONDS, accepted, *messages]
                )
            )
        if added < 0:
            raise StreamEmptyError(LOST)
        return added

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except redis.exceptions.OutOfMemoryError as error:
            raise StreamUnavailableError(FULL) from error
        except redis.RedisError as error:
            raise StreamUnavailableError(f"the event stream took no event: {error}") from error

    def check(self) -> None:
        """Ask the server for a sign of life.

        Raises:
            StreamUnavailableError: it gives none.
        """
        try:
            self._client.ping()
        except redis.RedisError as error:
            raise StreamUnavailableError(f"the event stream does not answer: {error}") from error

    def close(self) -> None:
        """Close all connections."""
        self._client.close()


def to_cloud_event(event: Event, has_snapshot: bool = True) -> dict[str, Any]:
    """Return the event as a JSON-safe mapping; ``sequence`` grows per camera when compared as text.

    Args:
        event: as it is now, so that an erased person is in no later message.
        has_snapshot: whether the picture of an access event can be fetched.
    """
    if isinstance(event, AccessEvent):
        subject, moment = f"visits/{event.visit}", event.decided_at
        data = _access_data(event, has_snapshot)
    elif isinstance(event, CameraEvent):
        subject, moment = f"cameras/{event.camera}", event.at
        data = _camera_data(event)
    else:
        subject, moment = f"cameras/{event.camera}", event.at
        data = _tamper_data(event)
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": f"/buildings/{event.building}/cameras/{event.camera}",
        "type": f"org.cardea.{event.type}.v1",
        "subject": subject,
        "time": _time(moment),
        "sequence": f"{event.owner_epoch:010d}.{event.sequence:012d}",
        "datacontenttype": "application/json",
        "data": data,
    }


def _access_data(event: AccessEvent, has_snapshot: bool) -> dict[str, Any]:
    return {
        "sequence": event.sequence,
        "owner_epoch": event.owner_epoch,
        "building": event.building,
        "camera": event.camera,
        "door": event.door,
        "visit": event.visit,
        "decision": str(event.decision),
        "reasons": [str(reason) for reason in event.reasons],
        "person": None if event.person is None else {"id": event.person, "name": event.person_name},
        "similarity": _rounded(event.similarity),
        "threshold": _rounded(event.threshold),
        "margin": _rounded(event.margin),
        "quality": _rounded(event.quality),
        "box": None if event.box is None else [_rounded(edge) for edge in event.box],
        "nets": event.nets,
        "captured_at": _time(event.captured_at),
        "decided_at": _time(event.decided_at),
        "expires_at": _time(event.expires_at),
        "latency_ms": {stage: round(float(spent), 2) for stage, spent in event.latency_ms.items()},
        "snapshot": f"/v1/buildings/{event.building}/events/{event.id}/snapshot" if has_snapshot else None,
    }


def _camera_data(event: CameraEvent) -> dict[str, Any]:
    return {
        "sequence": event.sequence,
        "owner_epoch": event.owner_epoch,
        "building": event.building,
        "camera": event.camera,
        "state": str(event.state),
        "previous": None if event.previous is None else str(event.previous),
        "detail": event.detail,
        "at": _time(event.at),
    }


def _tamper_data(event: TamperEvent) -> dict[str, Any]:
    return {
        "sequence": event.sequence,
        "owner_epoch": event.owner_epoch,
        "building": event.building,
        "camera": event.camera,
        "tampered": event.ended_at is None,
        "kind": str(event.kind),
        "detail": event.detail,
        "since": _time(event.since),
        "ended_at": None if event.ended_at is None else _time(event.ended_at),
        "ended_by": None if event.ended_by is None else str(event.ended_by),
        "at": _time(event.at),
    }


def _time(moment: datetime) -> str:
    """Return RFC 3339 in UTC, to the microsecond."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _rounded(share: float | None) -> float | None:
    """Return four decimals: float32 has no more to say that anybody could use."""
    return None if share is None else round(float(share), 4)
