"""The shop's metrics, by the SDK's metrics API.

| metric | type | unit | attributes | from |
|---|---|---|---|---|
| `jobs.executed` | counter | `{job}` | class, queue, outcome | every worker |
| `jobs.in_flight` | up-down counter | `{job}` | queue | every worker |
| `flower.task.runtime.seconds` | histogram | seconds | task, worker | Celery workers |
| `messaging.process.duration` | exponential histogram | s | destination, class | Sidekiq workers |
| `bullmq.jobs.completed`, `.failed`, `.delayed` | counter | 1 | queue, job | BullMQ workers |
| `bullmq.job.duration` | histogram | ms | queue, job | BullMQ workers |
| `jobs.queue.size` | gauge | `{job}` | system, queue | `queue-exporter` |
| `jobs.queue.latency` | gauge | s | system, queue | `queue-exporter`: wait of the job last started |
| `process.cpu.time` | counter | s | cpu.mode | `jobsight-demo`: the demo's real process |
| `process.memory.usage` | up-down counter | By | | `jobsight-demo` |

Points are stamped by the SDK when they are collected.
"""

from __future__ import annotations

import math
import os
import resource
import socket
import sys
import threading
from collections import Counter as Tallies
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Meter, Observation, UpDownCounter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

from pipeline.demo.places import context_of, resource_of
from pipeline.demo.records import Execution, Instance, Moved, Record, SpanRecord

SCOPE = "jobsight.demo"
DURATIONS = {
    "python": ("flower.task.runtime.seconds", "seconds"),
    "ruby": ("messaging.process.duration", "s"),
    "nodejs": ("bullmq.job.duration", "ms"),
}
"""Name and unit of the run time, by the worker's language; first and last are what the instrumentations send."""

BULLMQ_STATES = {"succeeded": "completed", "failed": "failed", "retried": "delayed", "discarded": "failed"}


@dataclass(frozen=True, slots=True)
class WorkerInstruments:
    """What one worker process counts."""

    executed: Counter
    in_flight: UpDownCounter
    duration: Histogram
    states: dict[str, Counter]


class Instruments:
    """Counts records and exports the counts whenever `collect` is called (from any thread)."""

    def __init__(self, exporter: MetricExporter) -> None:
        self._exporter = exporter
        self._readers: list[PeriodicExportingMetricReader] = []
        self._workers: dict[Instance, WorkerInstruments] = {}
        self._waiting: Tallies[tuple[str, str]] = Tallies()
        self._lock = threading.Lock()
        queues = self._meter(
            Resource({"service.name": "queue-exporter", "host.name": "worker-1", "service.version": "1.0.0"})
        )
        queues.create_observable_gauge("jobs.queue.size", [self._queue_sizes], "{job}", "Jobs that wait in the queue.")
        self._latency = queues.create_gauge("jobs.queue.latency", "s", "How long the job last started had waited.")
        here: dict[str, str | int] = {
            "service.name": "jobsight-demo",
            "host.name": socket.gethostname(),
            "process.pid": os.getpid(),
        }
        own = self._meter(Resource(here))
        own.create_observable_counter("process.cpu.time", [_cpu_seconds], "s", "Processor time of the demo itself.")
        own.create_observable_up_down_counter(
            "process.memory.usage", [_memory_bytes], "By", "Resident memory of the demo."
        )

    def note(self, record: Record) -> None:
        """Count what the record says."""
        if isinstance(record, Moved):
            if record.waiting:
                with self._lock:
                    self._waiting[record.system, record.queue] += record.waiting
            if record.running:
                self._worker(record.instance).in_flight.add(
                    record.running, {"messaging.destination.name": record.queue}
                )
        elif isinstance(record, SpanRecord) and isinstance(record.fact, Execution):
            self._executed(record, record.fact)

    def collect(self) -> None:
        """Export everything once; returns when the exporter has answered."""
        for reader in tuple(self._readers):
            reader.collect()

    def _executed(self, record: SpanRecord, fact: Execution) -> None:
        here = context_of(record.trace_id, record.span_id)
        worker = self._worker(record.instance)
        worker.executed.add(
            1, {"job.class": fact.job_class, "job.queue": fact.queue, "job.outcome": fact.outcome}, here
        )
        took_ns = record.end_ns - record.start_ns
        if fact.system == "celery":
            worker.duration.record(
                took_ns / 1e9, {"task": fact.job_class, "worker": f"w1@{record.instance.host}"}, here
            )
        elif fact.system == "sidekiq":
            labels = {"messaging.destination.name": fact.queue, "job.class": fact.job_class}
            worker.duration.record(took_ns / 1e9, labels, here)
        else:
            labels = {"bullmq.queue.name": fact.queue, "bullmq.job.name": fact.job_class}
            worker.duration.record(took_ns / 1e6, labels, here)
            worker.states[BULLMQ_STATES[fact.outcome]].add(1, labels, here)
        if fact.waited_ns is not None:
            queue = {"messaging.system": fact.system, "messaging.destination.name": fact.queue}
            self._latency.set(fact.waited_ns / 1e9, queue)

    def _worker(self, instance: Instance) -> WorkerInstruments:
        if instance not in self._workers:
            meter = self._meter(resource_of(instance))
            name, unit = DURATIONS[instance.language]
            self._workers[instance] = WorkerInstruments(
                executed=meter.create_counter("jobs.executed", "{job}", "Executions of jobs."),
                in_flight=meter.create_up_down_counter("jobs.in_flight", "{job}", "Jobs that run now."),
                duration=meter.create_histogram(name, unit, "The time it took to run the job."),
                states={
                    state: meter.create_counter(f"bullmq.jobs.{state}", "1", f"Number of jobs {state}.")
                    for state in ("completed", "failed", "delayed")
                },
            )
        return self._workers[instance]

    def _meter(self, played: Resource) -> Meter:
        # Collected on demand: a thread for each of a dozen played processes would be waste.
        reader = PeriodicExportingMetricReader(self._exporter, export_interval_millis=math.inf)
        exponential = View(
            instrument_name="messaging.process.duration", aggregation=ExponentialBucketHistogramAggregation()
        )
        provider = MeterProvider([reader], played, shutdown_on_exit=False, views=[exponential])
        self._readers.append(reader)
        return provider.get_meter(SCOPE)

    def _queue_sizes(self, _options: CallbackOptions) -> Iterable[Observation]:
        with self._lock:
            waiting = list(self._waiting.items())
        for (system, queue), jobs in waiting:
            yield Observation(jobs, {"messaging.system": system, "messaging.destination.name": queue})


def _cpu_seconds(_options: CallbackOptions) -> Iterable[Observation]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    yield Observation(usage.ru_utime, {"cpu.mode": "user"})
    yield Observation(usage.ru_stime, {"cpu.mode": "system"})


def _memory_bytes(_options: CallbackOptions) -> Iterable[Observation]:
    """Resident memory now where the system tells it, else its peak, all that `resource` knows."""
    try:
        resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        yield Observation(resident * resource.getpagesize())
    except OSError:
        # ru_maxrss counts kilobytes, but bytes on macOS
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        yield Observation(peak if sys.platform == "darwin" else peak * 1024)
