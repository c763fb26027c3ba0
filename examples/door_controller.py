"""A door controller: reads Cardea's event stream and opens one door. Needs `redis` alone; copy it and make it yours.

    python door_controller.py --url redis://... --door main-entrance --command "gpioset 0 17=1"

A grant is advice that goes stale, so each message is refused unless it passes every check of `judge`. An id is written
down *before* the door is moved: a crash in between leaves the door shut, and never opens it twice. The message is
acknowledged *after*, so one that nobody finished is delivered again, to this controller or to another of its group,
and is then refused as repeated or late. One that fails time after time goes to the dead-letter stream.

One JSON line per decision goes to stdout, messages go to stderr. SIGTERM ends the program with status 0.

Clocks: expiry is judged by this machine's clock without any allowance. If that clock is slow by s seconds, a grant is
honoured up to s seconds too long; but a message from the future by more than --clock-tolerance tells that the clocks
disagree, and is refused. If it is fast, good grants are refused. So keep NTP running on both sides. Whatever a message
says of its expiry, --longest seconds after the capture it is worth nothing, nor after so long in the stream: else a
grant of a worker whose clock was an hour ahead would become good an hour later, for a controller that was away.
"""

import argparse
import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import redis

DELIVERIES = 5  # then a message is put aside
COMMAND_SECONDS = 5
FORGET = timedelta(days=1)  # ids are kept for so long; their grants have expired long before


class Memory:
    """What was seen, kept through restarts: ids, and the newest owner epoch and sequence number of each camera."""

    def __init__(self, path: str) -> None:
        self._file = sqlite3.connect(path)
        self._file.execute("PRAGMA synchronous=full")
        self._file.execute("CREATE TABLE IF NOT EXISTS seen (id PRIMARY KEY, at)")
        self._file.execute("CREATE TABLE IF NOT EXISTS newest (camera PRIMARY KEY, epoch, sequence)")

    def knows(self, event: str) -> bool:
        """Return whether this id was noted before."""
        return self._file.execute("SELECT 1 FROM seen WHERE id = ?", (event,)).fetchone() is not None

    def newest(self, camera: str) -> tuple[int, int]:
        """Return the highest epoch and sequence number noted for a camera."""
        return self._file.execute("SELECT epoch, sequence FROM newest WHERE camera = ?", (camera,)).fetchone() or (0, 0)

    def note(self, event: dict, now: datetime) -> None:
        """Remember an event; it is on disk when this returns."""
        place = max((event["data"]["owner_epoch"], event["data"]["sequence"]), self.newest(event["source"]))
        with self._file:
            self._file.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (event["id"], now.isoformat()))
            self._file.execute("INSERT OR REPLACE INTO newest VALUES (?, ?, ?)", (event["source"], *place))
            self._file.execute("DELETE FROM seen WHERE at < ?", ((now - FORGET).isoformat(),))


def judge(
    event: dict, sent_at: datetime, memory: Memory, now: datetime, tolerance: timedelta, longest: timedelta
) -> str | None:
    """Return why the door stays shut, None to open it."""
    data = event["data"]
    if memory.knows(event["id"]):
        return "repeated"
    if (data["owner_epoch"], data["sequence"]) <= memory.newest(event["source"]):
        return "out_of_order"  # overtaken, or sent by a worker that lost this camera to another one
    if data["decision"] != "granted":
        return data["decision"]
    captured, decided, expires = (
        datetime.fromisoformat(data[name]) for name in ("captured_at", "decided_at", "expires_at")
    )
    if now > min(expires, captured + longest, sent_at + longest):
        return "expired"
    return "clocks_disagree" if max(captured, decided) > now + tolerance else None


def handle(entry: str, fields: dict[str, str], memory: Memory, options: argparse.Namespace) -> None:
    """Judge one message and act. Raises whatever a message of another kind or a failing command brings about."""
    event = json.loads(fields["event"])
    if not event["type"].startswith("org.cardea.access.") or options.door not in ("", event["data"]["door"]):
        return
    now = datetime.now(UTC)
    sent_at = datetime.fromtimestamp(int(entry.partition("-")[0]) / 1e3, UTC)  # by the server's clock
    tolerance, longest = timedelta(seconds=options.clock_tolerance), timedelta(seconds=options.longest)
    reason = judge(event, sent_at, memory, now, tolerance, longest)
    memory.note(event, now)
    if reason is not None:
        print(json.dumps({"refused": event["id"], "reason": reason}), flush=True)
        return
    if options.command:
        subprocess.run(shlex.split(options.command), timeout=COMMAND_SECONDS, check=True, stdout=sys.stderr)
    print(json.dumps({"opened": event["id"], "person": event["data"]["person"], "at": now.isoformat()}), flush=True)


def put_aside(client: redis.Redis, options: argparse.Namespace) -> None:
    """Move messages that failed again and again to the dead-letter stream."""
    for entry in client.xpending_range(options.stream, options.group, "-", "+", 100, idle=options.idle_ms):
        if entry["times_delivered"] >= DELIVERIES:
            with client.pipeline(transaction=True) as step:
                for _, fields in client.xrange(options.stream, entry["message_id"], entry["message_id"]):
                    step.xadd(f"{options.stream}:dead", fields, maxlen=1000)
                step.xack(options.stream, options.group, entry["message_id"]).execute()
            print(f"{entry['message_id']} is put aside", file=sys.stderr)


def read(client: redis.Redis, memory: Memory, options: argparse.Namespace, stop: threading.Event) -> None:
    """Handle messages until told to stop; raises RedisError when the server goes away."""
    try:
        client.xgroup_create(options.stream, options.group, id="0", mkstream=True)
    except redis.ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):  # it is there already
            raise
    while not stop.is_set():
        put_aside(client, options)
        messages = client.xautoclaim(options.stream, options.group, options.consumer, options.idle_ms, count=10)[1]
        for _, fresh in client.xreadgroup(options.group, options.consumer, {options.stream: ">"}, count=10, block=500):
            messages += fresh
        for entry, fields in messages:
            try:
                handle(entry, fields, memory, options)
            except Exception as error:  # one bad message must not stop the door: unacknowledged, it will come again
                print(f"{entry} failed: {error!r}", file=sys.stderr)
            else:
                client.xack(options.stream, options.group, entry)


def main() -> None:
    """Read the command line and work until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default=os.environ.get("CARDEA_REDIS_URL", "redis://localhost"), help="of the server")
    parser.add_argument("--stream", default="cardea:events")
    parser.add_argument("--group", default="door", help="one per door")
    parser.add_argument("--consumer", default="controller", help="one per process of the group")
    parser.add_argument("--door", default="", help="open for this door alone; empty: for all")
    parser.add_argument("--command", default="", help="what opens the door; without it only the JSON line appears")
    parser.add_argument("--memory", default="door-controller.db", help="file of the ids seen")
    parser.add_argument("--clock-tolerance", type=float, default=0.5, help="seconds that the two clocks may differ")
    parser.add_argument("--longest", type=float, default=30.0, help="seconds after which no grant is worth anything")
    parser.add_argument("--idle-ms", type=int, default=10_000, help="take over after this; longer than a grant lives")
    options = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    memory = Memory(options.memory)
    client = redis.Redis.from_url(options.url, protocol=2, decode_responses=True, socket_timeout=3)
    while not stop.is_set():
        try:
            read(client, memory, options, stop)
        except redis.RedisError as error:  # away, restarting, or emptied, and our group with it
            print(f"trying again: {error}", file=sys.stderr)
            stop.wait(0.5)


if __name__ == "__main__":
    main()
