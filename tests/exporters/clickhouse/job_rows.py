"""Job rows to write: batches of kind jobs from plain dictionaries, and the slow twin of their columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from pipeline import SHAPES, Batch, Kind, Receipt
from pipeline.kinds import Signal
from tests.exporters.clickhouse.messages import decoded

Row = dict[str, Any]

SECOND = 1_000_000_000
RENAMED = {"resource": "ResourceAttributes"}
ZERO_FOR_NULL = frozenset({"batch_count", "attempt_inferred"})
STAY_NULL = frozenset({"attempt", "max_attempts", "enqueued_at", "scheduled_for", "queue_latency", "error_transient"})
TIMES = ("timestamp", "enqueued_at", "scheduled_for")
LATEST = 2**63 - 1

_numbers = count(1)


def job_row(**fields: Any) -> Row:
    """Return an execution with an identity of its own; what is not given is null, empty or a plain success."""
    number = next(_numbers)
    defaults: Row = {
        "resource": 0,
        "operation": "process",
        "system": "sidekiq",
        "job_class": "Mail",
        "queue": "default",
        "job_id": f"job-{number}",
        "service_name": "shop",
        "timestamp": number * SECOND,
        "duration": SECOND,
        "trace_id": f"{number:032x}",
        "span_id": f"{number:016x}",
        "also_span_ids": [],
        "outcome": "enqueued" if fields.get("operation") == "enqueue" else "succeeded",
        "is_retry_enqueue": False,
        "depends_on_job_ids": [],
        "version": 1,
        "is_deleted": False,
    }
    unknown = fields.keys() - set(SHAPES[Kind.JOBS].schema.names)
    assert not unknown, unknown
    return {**dict.fromkeys(SHAPES[Kind.JOBS].schema.names), **defaults, **fields}


def jobs_batch(rows: Sequence[Mapping[str, Any]], token: str = "", resources: int = 2) -> Batch:
    """Return a batch of the rows; `resource` 0 has one attribute, each further one more."""
    shape = SHAPES[Kind.JOBS]
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=shape.schema)
    request = ExportTraceServiceRequest()
    for number in range(resources):
        group = request.resource_spans.add()
        for key, value in list(resource_attributes(number)):
            group.resource.attributes.add(key=key).value.string_value = value
        group.scope_spans.add().spans.add(name="x")
    resource = decoded(Signal.TRACES, request).sides["resource"]
    assert resource.num_rows == resources
    return Batch(Kind.JOBS, table, Receipt.issue(token or f"jobs-{next(_numbers)}"), {"resource": resource})


def resource_attributes(number: int) -> Iterator[tuple[str, str]]:
    yield "service.name", "shop"
    yield from ((f"key{i}", f"value{i}") for i in range(number))


def expected(row: Mapping[str, Any]) -> Row:
    """Return what the table has of a row, times in nanoseconds."""
    return {RENAMED.get(name) or _camel(name): _value(name, value) for name, value in row.items()}


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _value(name: str, value: Any) -> Any:
    if name == "resource":
        return list(resource_attributes(value))
    if name == "is_deleted":
        return int(value)
    if value is None:
        return 0 if name in ZERO_FOR_NULL else None if name in STAY_NULL else ""
    return min(value, LATEST) if name in TIMES else value


def _values(name: str, type_: pa.DataType, *, nullable: bool) -> st.SearchStrategy[Any]:
    strategy: st.SearchStrategy[Any]
    if name == "resource":
        strategy = st.integers(0, 1)
    elif name in TIMES:
        strategy = st.sampled_from([0, 1, 1_795_300_000_123_456_789, LATEST, LATEST + 1, 2**64 - 1])
    elif type_ == pa.string():
        strategy = st.sampled_from(["", "a", "é", "name with 'quotes' and \\", "x" * 300])
    elif type_ == pa.bool_():
        strategy = st.booleans()
    elif type_ == pa.int32():
        strategy = st.sampled_from([-1, 0, 1, 2**31 - 1])
    elif type_ == pa.uint64():
        strategy = st.sampled_from([0, 1, 2**53 + 1, 2**64 - 1])
    else:
        strategy = st.lists(st.sampled_from(["", "a", "é"]), max_size=3)
    return st.one_of(st.none(), strategy) if nullable else strategy


ROWS = st.fixed_dictionaries(
    {field.name: _values(field.name, field.type, nullable=field.nullable) for field in SHAPES[Kind.JOBS].schema}
)
