"""Turns the shop's records into spans and log records of the OpenTelemetry SDK, one resource per played process.

Spans get the ids and times of the records, so a run can be repeated bit by bit; all else is the SDK's normal way.
"""

from __future__ import annotations

from opentelemetry._logs import Logger, LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, Tracer

from pipeline.demo.instruments import Instruments
from pipeline.demo.places import SAMPLED, context_of, resource_of
from pipeline.demo.records import Instance, LogEntry, Record, Scope, SpanRecord

KINDS = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}
SEVERITIES = {
    "DEBUG": SeverityNumber.DEBUG,
    "INFO": SeverityNumber.INFO,
    "WARN": SeverityNumber.WARN,
    "ERROR": SeverityNumber.ERROR,
}


class GivenIds(IdGenerator):
    """Hands out the ids of the record that is being told."""

    trace_id = 0
    span_id = 0

    def generate_span_id(self) -> int:
        return self.span_id

    def generate_trace_id(self) -> int:
        return self.trace_id


class Telemetry:
    """Tells records through the processors given. To be used by one thread."""

    def __init__(self, spans: SpanProcessor, logs: LogRecordProcessor, instruments: Instruments) -> None:
        self._spans, self._logs, self._instruments = spans, logs, instruments
        self._ids = GivenIds()
        self._limits = SpanLimits()
        self._providers: dict[Instance, tuple[TracerProvider, LoggerProvider]] = {}
        self._tracers: dict[tuple[Instance, Scope], Tracer] = {}
        self._loggers: dict[tuple[Instance, str], Logger] = {}

    def tell(self, record: Record) -> None:
        """Hand one record to the SDK; the batch processors send it when they see fit."""
        if isinstance(record, SpanRecord):
            self._span(record)
        elif isinstance(record, LogEntry):
            self._log(record)
        self._instruments.note(record)

    def _span(self, record: SpanRecord) -> None:
        self._ids.trace_id, self._ids.span_id = record.trace_id, record.span_id
        span = self._tracer(record.instance, record.scope).start_span(
            record.name,
            context=context_of(record.trace_id, record.parent_id, is_remote=record.remote_parent),
            kind=KINDS[record.kind],
            attributes=record.attributes,
            links=[
                Link(SpanContext(trace, span_id, is_remote=True, trace_flags=SAMPLED))
                for trace, span_id in record.links
            ],
            start_time=record.start_ns,
        )
        for mark in record.marks:
            span.add_event(mark.name, mark.attributes, timestamp=mark.at_ns)
        if record.error is not None:
            span.set_status(Status(StatusCode.ERROR, record.error))
        span.end(record.end_ns)

    def _log(self, entry: LogEntry) -> None:
        key = entry.instance, entry.logger
        if key not in self._loggers:
            self._loggers[key] = self._provider(entry.instance)[1].get_logger(entry.logger)
        self._loggers[key].emit(
            LogRecord(
                timestamp=entry.at_ns,
                observed_timestamp=entry.at_ns,
                context=context_of(entry.trace_id, entry.span_id),
                severity_number=SEVERITIES[entry.severity],
                severity_text=entry.severity,
                body=entry.body,
                attributes=entry.attributes,
            )
        )

    def _tracer(self, instance: Instance, scope: Scope) -> Tracer:
        key = instance, scope
        if key not in self._tracers:
            provider = self._provider(instance)[0]
            self._tracers[key] = provider.get_tracer(scope.name, scope.version, schema_url=scope.schema_url or None)
        return self._tracers[key]

    def _provider(self, instance: Instance) -> tuple[TracerProvider, LoggerProvider]:
        if instance not in self._providers:
            resource = resource_of(instance)
            tracers = TracerProvider(
                sampler=ALWAYS_ON,
                resource=resource,
                shutdown_on_exit=False,
                id_generator=self._ids,
                span_limits=self._limits,
            )
            tracers.add_span_processor(self._spans)
            loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
            loggers.add_log_record_processor(self._logs)
            self._providers[instance] = tracers, loggers
        return self._providers[instance]
