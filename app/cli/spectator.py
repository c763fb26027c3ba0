"""Somebody who watches the event stream from outside, as a dashboard or door controller would."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import redis


@dataclass(slots=True)
class Tally:
    """What was seen so far. Latencies are milliseconds from the capture of the deciding frame to us."""

    granted: list[str] = field(default_factory=list)
    unknown: int = 0
    events: int = 0
    latencies: list[float] = field(default_factory=list)

    def count(self, event: dict[str, Any]) -> None:
        """Count one CloudEvent that just arrived."""
        self.events += 1
        data = event["data"]
        if "decision" not in data:
            return
        captured = datetime.fromisoformat(data["captured_at"])
        self.latencies.append((datetime.now(UTC) - captured).total_seconds() * 1e3)
        if data["decision"] == "granted":
            self.granted.append(data["person"]["name"])
        self.unknown += data["decision"] == "unknown"


def watch(redis_url: str, stream: str, seconds: float) -> Iterator[dict[str, Any] | None]:
    """Yield the CloudEvents that enter the stream for some seconds, and None a few times a second in between."""
    client = redis.Redis.from_url(redis_url, protocol=2, decode_responses=True)
    position = "0-0"
    end = time.monotonic() + seconds
    try:
        while (left := end - time.monotonic()) > 0:
            answer: Any = client.xread({stream: position}, block=max(min(round(left * 1000), 200), 1))
            for _, entries in answer or []:
                for entry, fields in entries:
                    position = entry
                    yield json.loads(fields["event"])
            yield None
    finally:
        client.close()


def percentiles(milliseconds: list[float]) -> dict[str, float | None]:
    """Return median and 95th percentile, None when there is nothing to rank."""
    if not milliseconds:
        return {"p50": None, "p95": None}
    p50, p95 = np.percentile(milliseconds, [50, 95])
    return {"p50": round(float(p50), 1), "p95": round(float(p95), 1)}


def resident_megabytes() -> float:
    """Return this process's resident memory in MB (10^6 bytes)."""
    with open("/proc/self/statm") as statm:  # noqa: PTH123  # a line of the kernel, not a file
        pages = int(statm.read().split()[1])
    return round(pages * 4096 / 1e6, 1)
