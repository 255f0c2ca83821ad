"""Derived rows -> a batch of kind jobs: numbers become names, row numbers become texts."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import Batch, Kind, Receipt
from pipeline.arrays import Column, nest, offsets_of
from pipeline.batch import one_array
from pipeline.hash_table import Rows
from pipeline.hashing import hex_of
from pipeline.kinds import JOBS, list_of, required
from processors.jobs.derive import ENQUEUE_SPAN, Derived
from processors.jobs.facts import ERROR_SOURCES, LINK_STYLES, OUTCOMES, Role
from processors.jobs.window import Window

_OPERATIONS: Final = pa.array(["enqueue", "process"])
_OUTCOMES: Final = pa.array(OUTCOMES)
_ERROR_SOURCES: Final = pa.array(ERROR_SOURCES)
_LINK_STYLES: Final = pa.array(LINK_STYLES)
_LATER: Final = pa.array(["later_attempt"])
_LIST: Final = list_of(pa.string())


def job_rows(window: Window, derived: Derived, chosen: Rows, labels: Sequence[str], version: int) -> pa.Table:
    """Return the job rows at the places `chosen` in `derived`; `resource` is the window's number of a resource."""
    rows = derived.rows[chosen]
    facts, state = window.facts.take(rows), window.state.take(rows)
    execution = facts["role"] != Role.ENQUEUE
    resources, resource = window.resources.texts, pa.array(facts["resource"])
    own = window.texts.at(rows)
    queue = derived.queue[chosen]
    parent = window.texts.at(derived.parent[chosen])
    failing = derived.error_row[chosen] >= 0
    error = window.texts.at(derived.error_row[chosen])

    def text(column: str) -> Column:
        return own.column(column)

    def of_resource(column: str) -> Column:
        return one_array(resources.column(column)).take(resource)

    def of_other(column: str, others: Rows) -> Column:
        # for the most part rows have their own; others are looked up only if there are some
        return text(column) if np.array_equal(others, rows) else window.texts.at(others).column(column)

    columns = {
        "resource": resource,
        "operation": _named(execution.view(np.uint8), _OPERATIONS),
        "system": text("system"),
        "adapter": text("adapter"),
        "job_class": text("job_class"),
        # a row that is to have none has none of its own
        "queue": of_other("queue", np.where(queue < 0, rows, queue)),
        "job_id": of_other("job_id", state["id_row"]),
        "provider_job_id": text("provider_job_id"),
        "service_name": of_resource("service"),
        "host": of_resource("host"),
        "timestamp": pa.array(facts["start"]),
        "duration": pa.array(facts["end"] - facts["start"]),
        "trace_id": hex_of(facts["trace_hi"], facts["trace_lo"]),
        "span_id": hex_of(facts["span_id"]),
        "also_span_ids": _listed(derived.merged, chosen, len(derived.rows), _span_ids(window, derived.merged[1])),
        "outcome": _named(derived.outcome[chosen], _OUTCOMES),
        "outcome_source": _named(np.zeros(len(rows), np.uint8), _LATER, derived.later[chosen]),
        "is_retry_enqueue": pa.array(derived.retry[chosen]),
        "batch_count": _counts(facts["batch_count"], facts["batch_count"] >= 0),
        "attempt": _counts(facts["attempt"], facts["attempt"] >= 0),
        "attempt_inferred": _counts(derived.inferred[chosen], execution),
        "max_attempts": _counts(facts["max_attempts"], facts["max_attempts"] >= 0),
        "enqueued_at": _times(derived.enqueued[chosen]),
        "enqueued_at_source": _source_names(derived.enqueued_source[chosen], labels),
        "scheduled_for": _times(derived.due[chosen]),
        "queue_latency": _latencies(derived.latency[chosen]),
        "link_style": _named(derived.link_style[chosen], _LINK_STYLES, execution),
        "enqueue_span_id": _span_ids(window, derived.match[chosen]),
        "error_type": error.column("error_type"),
        "error_message": error.column("error_message"),
        "error_source": _named(derived.error[chosen], _ERROR_SOURCES, failing),
        "exception_stacktrace": error.column("exception_stacktrace"),
        "error_category": pa.nulls(len(rows), pa.string()),
        "error_transient": pa.nulls(len(rows), pa.bool_()),
        "error_fingerprint": pa.nulls(len(rows), pa.string()),
        "parent_job_id": _job_ids(window, derived.parent[chosen]),
        "parent_job_class": parent.column("job_class"),
        "flow_parent_job_id": _flow_parents(window, derived, chosen),
        "depends_on_job_ids": _listed(derived.waits, chosen, len(derived.rows), _job_ids(window, derived.waits[1])),
        "batch_id": text("batch_id"),
        "worker_id": pc.if_else(pa.array(execution), pc.coalesce(text("worker_id"), of_resource("worker")), _NULL),
        "version": pa.array(np.full(len(rows), version, np.uint64)),
        "is_deleted": pa.array(derived.deleted[chosen]),
    }
    return pa.Table.from_arrays([columns[name] for name in JOBS.names], schema=JOBS)


def job_batch(window: Window, table: pa.Table, receipt: Receipt) -> Batch:
    """Return the batch of `table`, with the resources that its rows have."""
    resources, number = window.resources.side(table.column("resource").to_numpy())
    position = JOBS.get_field_index("resource")
    table = table.set_column(position, JOBS.field(position), pa.array(number))
    return Batch(Kind.JOBS, table, receipt, MappingProxyType({"resource": resources}))


_NULL: Final = pa.scalar(None, pa.string())


def _named(numbers: npt.NDArray[Any], names: Column, present: npt.NDArray[np.bool_] | None = None) -> Column:
    """Return the names of an enumeration's numbers, null where not present."""
    mask = None if present is None else ~present
    places: Column = pa.array(numbers, mask=mask)
    return names.take(places)


def _counts(numbers: npt.NDArray[Any], present: npt.NDArray[np.bool_]) -> Column:
    return pa.array(numbers.astype(np.int32), mask=~present)


def _times(times: npt.NDArray[np.uint64]) -> Column:
    return pa.array(times, mask=times == 0)


def _latencies(latencies: npt.NDArray[np.int64]) -> Column:
    return pa.array(np.maximum(latencies, 0).astype(np.uint64), mask=latencies < 0)


def _source_names(sources: npt.NDArray[np.int64], labels: Sequence[str]) -> Column:
    numbers = np.where(sources == ENQUEUE_SPAN, len(labels), sources)
    places: Column = pa.array(numbers, mask=numbers < 0)
    return pa.array([*labels, "enqueue_span"], pa.string()).take(places)


def _span_ids(window: Window, rows: Rows) -> Column:
    texts = hex_of(window.facts["span_id"][rows])
    return texts if (rows >= 0).all() else pc.if_else(pa.array(rows >= 0), texts, _NULL)


def _job_ids(window: Window, rows: Rows) -> Column:
    if not (rows >= 0).any():
        return pa.nulls(len(rows), pa.string())
    return window.texts.at(np.where(rows >= 0, window.state["id_row"][rows], -1)).column("job_id")


def _flow_parents(window: Window, derived: Derived, chosen: Rows) -> Column:
    flow, by_row = derived.flow[chosen], derived.flow_by_row[chosen]
    if not (flow >= 0).any():
        return pa.nulls(len(chosen), pa.string())
    said = window.texts.at(np.where(by_row, -1, flow)).column("flow_parent_job_id")
    return pc.coalesce(said, _job_ids(window, np.where(by_row, flow, -1)))


def _listed(pairs: tuple[Rows, Rows], chosen: Rows, rows: int, texts: Column) -> Column:
    """Return for each of `chosen` the sorted texts of its pairs."""
    if len(texts) == 0:
        return nest(np.zeros(len(chosen) + 1, np.int64), texts, required("item", pa.string()))
    place_of = np.full(rows, -1)
    place_of[chosen] = np.arange(len(chosen))
    places = place_of[pairs[0]]
    kept = np.flatnonzero((places >= 0) & texts.is_valid().to_numpy(zero_copy_only=False))
    offsets = offsets_of(np.bincount(places[kept], minlength=len(chosen)))
    if len(kept) == 0:
        return nest(offsets, pa.array([], pa.string()), required("item", pa.string()))
    texts = texts.take(pa.array(kept))
    ranks = texts.dictionary_encode()
    order_of = np.argsort(pc.sort_indices(ranks.dictionary).to_numpy())
    order = np.lexsort((order_of[ranks.indices.to_numpy()], places[kept]))
    return nest(offsets, texts.take(pa.array(order)), required("item", pa.string()))
