"""Takes entries out of the event stream, and their text out of the server's files.

A server marks a deleted entry and keeps its text in the block that it shares with its neighbours, on disk too. So the
stream is copied without it, block by block while events go on coming in, and the copy takes the stream's place.
"""

import json
import secrets
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, cast

import redis

from app.errors import StreamUnavailableError
from app.events import FILLED, connect, marker_of

SCAN = 500  # entries read or copied at a time
LEASE_MS = 30_000  # whoever reads, copies or waits renews this with each step
FILE_POLL = 0.02  # seconds
WRITING = ("aof_rewrite_in_progress", "aof_rewrite_scheduled", "rdb_bgsave_in_progress")  # of INFO persistence
COPYING, WRITING_FILES = "copying", "writing files"
Found = tuple[str, list[str]]  # the last entry that was looked at, or ""; entries and messages in turn

# Returns the last of the next entries, and those of them whose event or person is in a set: ids and messages in turn.
# The first id in a message is that of its event, and no text in it can look like a person, for its quotes are escaped.
# Renews the lease; "lost" when it has ended.
FIND = """
if redis.call('GET', KEYS[3]) ~= ARGV[3] then return {'lost', {}} end
redis.call('PEXPIRE', KEYS[3], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
local entries = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])
local found = {}
for _, entry in ipairs(entries) do
    local event = string.match(entry[2][2], '"id":"([^"]*)"') or ''
    local person = string.match(entry[2][2], '"person":{"id":"([^"]*)"') or ''
    if redis.call('SISMEMBER', KEYS[2], event) + redis.call('SISMEMBER', KEYS[2], person) > 0 then
        found[#found + 1] = entry[1]
        found[#found + 1] = entry[2][2]
    end
end
return {#entries > 0 and entries[#entries][1] or '', found}
"""

# Copies the next entries. The step that finds no more makes the copy the stream, with its last id and the groups that
# read it, pending entries and all, before anybody can add another entry. Returns the last id copied, "done", or "lost"
# when the lease has ended.
COPY = """
if redis.call('GET', KEYS[3]) ~= ARGV[1] then return 'lost' end
if redis.call('EXISTS', KEYS[1]) == 0 then return 'done' end
redis.call('PEXPIRE', KEYS[3], ARGV[2])
local entries = redis.call('XRANGE', KEYS[1], ARGV[3], '+', 'COUNT', ARGV[4])
for _, entry in ipairs(entries) do redis.call('XADD', KEYS[2], entry[1], unpack(entry[2])) end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
if #entries == tonumber(ARGV[4]) then return entries[#entries][1] end
local last = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #last, 2 do if last[i] == 'last-generated-id' then last = last[i + 1] break end end
if redis.call('EXISTS', KEYS[2]) == 0 then
    redis.call('XADD', KEYS[2], last, 'event', '')
    redis.call('XDEL', KEYS[2], last)
end
redis.call('XSETID', KEYS[2], last)
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local found = {}
    for i = 1, #group, 2 do found[group[i]] = group[i + 1] end
    local name = found['name']
    redis.call('XGROUP', 'CREATE', KEYS[2], name, found['last-delivered-id'])
    local pending = redis.call('XPENDING', KEYS[1], name, '-', '+', math.max(found['pending'], 1))
    for _, one in ipairs(pending) do
        local id, consumer, idle, deliveries = one[1], one[2], one[3], one[4]
        redis.call('XCLAIM', KEYS[2], name, consumer, 0, id, 'IDLE', idle, 'RETRYCOUNT', deliveries, 'FORCE', 'JUSTID')
    end
end
redis.call('PERSIST', KEYS[2])
redis.call('RENAME', KEYS[2], KEYS[1])
return 'done'
"""


class StreamEraser:
    """Removes what names somebody from the event stream. One process at a time does so.

    Args:
        url: of the server, with its password.
        key: of the stream.
    """

    def __init__(self, url: str, key: str) -> None:
        """Prepare the client; nothing is connected yet.

        Raises:
            SetupError: the URL cannot be read.
        """
        self._client = connect(url)
        self._key = key
        self._unclean = f"{key}:unclean"  # says what is still to be done for the files
        self._lock = f"{key}:erasing"  # holds the lease of whoever is at it
        self._scan = self._client.register_script(FIND)
        self._copy = self._client.register_script(COPY)

    def remove(self, subjects: Collection[str]) -> int:
        """Take the entries of these events that name a person out of the stream, and those that name these persons.

        Returns how many.

        The whole stream is read, oldest first: an event's id is remembered for a week, but entries may be older.

        Raises:
            StreamUnavailableError: no answer, or the stream is being filled, perhaps with what was read before an
                erasure, or another process is at it. Some may be out already.
        """
        removed = 0
        with self._errors(), self._lease() as lease:
            for entry, message in self._find(subjects, lease):
                if json.loads(message)["data"].get("person") is not None:
                    self._client.set(self._unclean, COPYING)
                    removed += self._client.xdel(self._key, entry)
        return removed

    def trim(self, before: datetime) -> None:
        """Drop the entries that were added before a moment by the server's clock, which their ids tell.

        Their text goes with the server's blocks of a hundred; one that still holds younger entries stays till then.

        Raises:
            StreamUnavailableError: no answer.
        """
        with self._errors():
            self._client.xtrim(self._key, minid=int(before.timestamp() * 1000), approximate=False)

    def rewrite(self, patience: float) -> bool:
        """Have the server write its files anew, without what was removed; without effect when that was done.

        Returns:
            False when it refuses, as managed servers do, or has not done so after `patience` seconds. Call it again.

        Raises:
            StreamUnavailableError: no answer, or another process is at it.
        """
        deadline = time.monotonic() + patience
        with self._errors():
            if not self._client.exists(self._unclean):
                return True
            with self._lease() as lease:
                try:
                    return self._clean(lease, deadline)
                except redis.exceptions.ResponseError:  # the command is not allowed or not known here
                    return False

    def _clean(self, lease: str, deadline: float) -> bool:
        if self._client.get(self._unclean) == COPYING:
            if not self._copied(lease, deadline):
                return False
            self._client.set(self._unclean, WRITING_FILES)
        done = self._new_log(lease, deadline) and self._new_snapshot(lease, deadline)
        if done:
            self._client.delete(self._unclean)
        return done

    def _find(self, subjects: Collection[str], lease: str) -> Iterator[tuple[str, str]]:
        """Yield entry and message of each event that is one of these or about one of these persons, oldest first."""
        wanted, ids, start = f"{self._key}:wanted:{lease}", sorted(subjects), "-"
        for first in range(0, len(ids), SCAN):
            self._client.sadd(wanted, *ids[first : first + SCAN])
        keys = [self._key, wanted, self._lock]
        while True:
            last, found = cast(Found, self._scan(keys=keys, args=[start, SCAN, lease, LEASE_MS]))
            if last == "lost":
                raise _ousted()
            yield from zip(found[::2], found[1::2], strict=True)
            if not last:
                break
            start = f"({last}"
        self._client.delete(wanted)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    @contextmanager
    def _lease(self) -> Iterator[str]:
        """Keep other processes out: the copy of one would bring back what another removed meanwhile."""
        mine = secrets.token_hex(8)
        if self._client.get(marker_of(self._key)) != FILLED:
            raise StreamUnavailableError("the event stream is new or being filled")
        if not self._client.set(self._lock, mine, nx=True, px=LEASE_MS):
            raise StreamUnavailableError("another process takes entries out of the event stream now")
        try:
            yield mine
        finally:
            if self._client.get(self._lock) == mine:
                self._client.delete(self._lock)

    def _copied(self, lease: str, deadline: float) -> bool:
        keys = [self._key, f"{self._key}:copy:{lease}", self._lock]
        step = "-"
        while step not in ("done", "lost") and time.monotonic() < deadline:
            step = str(self._copy(keys=keys, args=[lease, LEASE_MS, step if step == "-" else f"({step}", SCAN]))
        return step == "done"

    def _new_log(self, lease: str, deadline: float) -> bool:
        if not self._persistence()["aof_enabled"]:
            return True
        return self._anew(self._client.bgrewriteaof, "aof_last_bgrewrite_status", lease, deadline)

    def _new_snapshot(self, lease: str, deadline: float) -> bool:
        """Replace the snapshot of a server that writes its memory to disk now and then."""
        if not self._client.config_get("save").get("save"):
            return True
        return self._anew(self._client.bgsave, "rdb_last_bgsave_status", lease, deadline)

    def _anew(self, job: Callable[[], object], status: str, lease: str, deadline: float) -> bool:
        """Run a job of the server in the background, after one that runs already."""
        if not self._idle(lease, deadline):
            return False
        job()
        return self._idle(lease, deadline) and self._persistence()[status] == "ok"

    def _idle(self, lease: str, deadline: float) -> bool:
        """Wait until the server writes no file; False when it still does at the deadline."""
        while any(self._persistence().get(sign) for sign in WRITING):
            if time.monotonic() > deadline:
                return False
            if self._client.get(self._lock) != lease or not self._client.pexpire(self._lock, LEASE_MS):
                raise _ousted()
            time.sleep(FILE_POLL)
        return True

    def _persistence(self) -> dict[str, Any]:
        found: dict[str, Any] = self._client.info("persistence")
        return found

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            raise StreamUnavailableError(f"the event stream does not answer: {error}") from error


def _ousted() -> StreamUnavailableError:
    return StreamUnavailableError("the lease has ended: another process may take entries out of the event stream now")
