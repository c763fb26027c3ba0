"""Where a frame's time goes, and what leaving early saves: figures of one camera from what its worker counted."""

from dataclasses import dataclass
from datetime import datetime

from app.store.records import CameraStats

OPEN_ONLY = ("tail", "faces", "embed")  # stages that a frame which exits at the gate never reaches


@dataclass(frozen=True, slots=True)
class Timings:
    """Means since the camera was opened. Rates are None while there is nothing to divide by."""

    since: datetime
    seconds: float
    analysed: int  # frames
    stage_ms: dict[str, float]  # CPU ms per analysed frame, by stage
    frame_ms: float | None  # their sum
    cpu_share: float | None  # of one core
    exit_rate: float | None  # exited / analysed
    drop_rate: float | None  # dropped / (dropped + analysed)
    saved_ms_per_second: float | None
    saved_share: float | None
    lag: float  # seconds


def timings(stats: CameraStats) -> Timings:
    """Return the figures of one camera.

    What early exit saves is `exited` times the mean cost of the stages behind the gate on a frame that went on::

        saved = exited * (tail + faces + embed) / (analysed - exited)        CPU ms
        saved_ms_per_second = saved / seconds
        saved_share = saved / (saved + all stages)      of what the camera would cost if no frame ended at the gate

    It is what would be spent more, so the cost of `stem` and `gate` is not taken off. Without an open frame nobody can
    say what one costs: both are None.
    """
    spent, seconds = sum(stats.cpu_ms.values()), stats.seconds
    opened = stats.analysed - stats.exited
    saved = stats.exited * sum(stats.cpu_ms[stage] for stage in OPEN_ONLY) / opened if opened else None
    return Timings(
        since=stats.since,
        seconds=seconds,
        analysed=stats.analysed,
        stage_ms={stage: ms / stats.analysed for stage, ms in stats.cpu_ms.items()} if stats.analysed else {},
        frame_ms=_ratio(spent, stats.analysed),
        cpu_share=_ratio(spent / 1e3, seconds),
        exit_rate=_ratio(stats.exited, stats.analysed),
        drop_rate=_ratio(stats.dropped, stats.dropped + stats.analysed),
        saved_ms_per_second=None if saved is None else _ratio(saved, seconds),
        saved_share=None if saved is None else _ratio(saved, saved + spent),
        lag=stats.lag,
    )


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
