"""What a session counts, as Prometheus reads it. No label names a source, a file or a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.live.badge import AT_MODEL_RATE, Badge
from service.live.session import Session
from service.live.sessions import Sessions

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


# What a picture lacks, by the badge that says so; with any other badge it lacks nothing.
DEGRADED = {
    **dict.fromkeys(AT_MODEL_RATE.values(), "model_rate"),
    Badge.LATE: "model_late",
    Badge.OFF: "model_off",
    Badge.LOST: "source_lost",
    Badge.STALE: "picture_stale",
}


class SessionCollector(Collector):
    """Reads every session when asked, told apart by the label `session`, which is its id."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def collect(self) -> Iterable[Metric]:
        """The sessions as they are now."""
        yield GaugeMetricFamily("trocar_sessions", "Sessions", len(self._sessions))
        merged: dict[str, Metric] = {}
        for live in self._sessions:
            for metric in _metrics_of(live.session):
                family = merged.setdefault(
                    metric.name, Metric(metric.name, metric.documentation, metric.type)
                )
                for sample in metric.samples:
                    labels = {"session": live.id, **sample.labels}
                    family.add_sample(sample.name, labels, sample.value)
        yield from merged.values()


def exposition(sessions: Sessions) -> bytes:
    """All numbers in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(SessionCollector(sessions))
    return generate_latest(registry)


def _metrics_of(session: Session) -> Iterable[Metric]:
    status = session.status()
    yield from session.numbers.stage_seconds.collect()
    outcomes = {
        "masked": status.frames_masked,
        "plain": status.frames_shown_plain,
        "dropped": status.frames_dropped.total,
    }
    causes = asdict(status.frames_dropped)
    yield _counter("trocar_frames", "Frames by what became of them", "outcome", outcomes)
    yield _counter("trocar_frames_dropped", "Frames not shown", "cause", causes)
    yield _counter(
        "trocar_learner_updates", "Class updates by what became of them", "result", status.updates
    )
    yield _counter("trocar_lessons", "Lessons of people", "result", asdict(status.lessons))
    for name, text, value in (
        ("trocar_frames_in", "Frames that the source gave", status.frames_in),
        ("trocar_frames_sent", "Pictures made ready for viewers", status.frames_sent),
        ("trocar_model_failures", "Steps that failed", status.model_failures),
        ("trocar_model_starts", "Starts of the model's process", status.model_starts),
        ("trocar_learner_failures", "Updates that failed", status.learner_failures),
        ("trocar_source_losses", "Times the source was lost", status.source_losses),
    ):
        yield CounterMetricFamily(name, text, value)
    yield GaugeMetricFamily("trocar_viewers", "Viewers connected", status.viewers)
    yield _degraded(status.badge)


def _degraded(badge: Badge) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "trocar_degraded", "One for what the picture lacks now", labels=["reason"]
    )
    for reason in sorted(set(DEGRADED.values())):
        family.add_metric([reason], DEGRADED.get(badge) == reason)
    return family


def _counter(name: str, text: str, label: str, values: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
