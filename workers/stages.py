"""Where a frame's time goes: CPU milliseconds by stage and the counters that belong to them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

STAGES = ("decode", "stem", "gate", "tail", "faces", "embed", "other")


@dataclass(slots=True)
class Stages:
    """Sums of one camera. Written by the inference loop, read by metrics, benchmarks and the demo."""

    analysed: int = 0
    exited: int = 0  # frames that ended at the gate
    cpu_ms: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    wall_ms: dict[str, float] = field(default_factory=dict)  # of the frame in hand alone

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the CPU time that the block costs this thread to `stage`."""
        cpu, wall = time.thread_time(), time.perf_counter()
        try:
            yield
        finally:
            self.cpu_ms[stage] += (time.thread_time() - cpu) * 1e3
            self.wall_ms[stage] = self.wall_ms.get(stage, 0.0) + (time.perf_counter() - wall) * 1e3
