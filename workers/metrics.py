"""What a worker shows at ``/metrics``: read from its counters when somebody asks, so a frame pays nothing for it."""

from collections.abc import Iterator

from prometheus_client import Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from workers.worker import Worker


class WorkerMetrics(Collector):
    """Frames, stage times and states by camera; persons are never a label."""

    def __init__(self, worker: Worker, registry: CollectorRegistry) -> None:
        self._worker = worker
        registry.register(self)

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Yield the families as they are now."""
        frames = CounterMetricFamily("cardea_frames", "Frames by camera and fate.", labels=["camera", "fate"])
        stages = CounterMetricFamily(
            "cardea_stage_cpu_seconds", "CPU time of the analysis by camera and stage.", labels=["camera", "stage"]
        )
        states = GaugeMetricFamily("cardea_camera_online", "1 while frames come.", labels=["camera"])
        abandoned = CounterMetricFamily(
            "cardea_readers_abandoned", "Readers that hung in a decoder and were replaced.", labels=["camera"]
        )
        skipped = CounterMetricFamily("cardea_packets_skipped", "Packets that were never decoded.", labels=["camera"])
        wakes = CounterMetricFamily(
            "cardea_light_wakes", "Times that packets of a still scene told of motion.", labels=["camera"]
        )
        missed = CounterMetricFamily(
            "cardea_visits_missed_by_packets", "Visits of which packets did not tell.", labels=["camera"]
        )
        for camera, watched in self._worker.watched.items():
            counted = watched.pipeline.stages
            for fate, value in (
                ("decoded", watched.reader.decoded),
                ("analysed", counted.analysed),
                ("exited", counted.exited),
                ("dropped", watched.mailbox.dropped),
            ):
                frames.add_metric([camera, fate], value)
            for stage, ms in counted.cpu_ms.items():
                stages.add_metric([camera, stage], ms / 1e3)
            states.add_metric([camera], watched.state == "online")
            abandoned.add_metric([camera], watched.reader.abandoned)
            reading = watched.reader.counters
            skipped.add_metric([camera], reading.skipped)
            wakes.add_metric([camera], reading.woken)
            missed.add_metric([camera], reading.missed_by_packets)
        yield from (frames, stages, states, abandoned, skipped, wakes, missed)


def send_latency(registry: CollectorRegistry) -> Histogram:
    """Return the histogram of the seconds from decision to stream."""
    return Histogram(
        "cardea_decision_to_stream_seconds",
        "From the decision to the event in the stream.",
        buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 120),
        registry=registry,
    )
