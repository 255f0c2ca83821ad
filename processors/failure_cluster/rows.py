"""What is read of job rows: one record an execution, and the texts of those that failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import Batch
from pipeline.arrays import Column
from pipeline.batch import one_array
from pipeline.hashing import Hashes, combined, mixed, name_hashes, text_hashes
from pipeline.kinds import required
from pipeline.records import Records, together
from processors.failure_cluster.executions import ROW
from processors.failure_cluster.names import Names
from processors.failure_cluster.samples import Samples, priorities
from processors.failure_cluster.units import Units

TEXTS: Final = pa.schema([required(name, pa.string()) for name in ("message", "trace_id", "job_id")])

LONGEST_MESSAGE: Final = 500

_COLUMNS: Final = (
    "resource",
    "operation",
    "system",
    "job_class",
    "queue",
    "job_id",
    "worker_id",
    "timestamp",
    "duration",
    "trace_id",
    "span_id",
    "outcome",
    "error_type",
    "error_message",
    "error_category",
    "error_fingerprint",
    "version",
    "is_deleted",
)
_FAULT_COLUMNS: Final = (
    "system",
    "queue",
    "job_id",
    "trace_id",
    "error_type",
    "error_message",
    "error_category",
    "error_fingerprint",
)

_FAILED: Final = pa.array(["failed", "retried"])
_FACTORS: Final = tuple(mixed(np.arange(1, 5, dtype=np.uint64)) | np.uint64(1))
_HALF: Final = np.uint64(29)

_UNTYPED: Final = "type:"
"""Stands before an error type that takes the place of a missing fingerprint."""


@dataclass(slots=True)
class Reading:
    """Executions of one batch or more, and texts of those that failed."""

    rows: Records = field(default_factory=lambda: np.zeros(0, ROW))
    texts: pa.Table = field(default_factory=TEXTS.empty_table)


@dataclass(frozen=True, slots=True)
class Unread:
    """Job rows as they came. Small batches are read together: a call costs as much for ten rows as for a thousand."""

    table: pa.Table
    resources: Column
    """Attributes of each resource."""
    ends: npt.NDArray[np.int64]
    """When the executions among the rows ended."""

    @classmethod
    def of(cls, batch: Batch) -> Unread:
        """Take of a batch of kind jobs what will be read."""
        ends = batch.column("timestamp").to_numpy().astype(np.int64)
        ends += batch.column("duration").to_numpy().astype(np.int64)
        executed = _executed(batch.column("operation"))
        if not executed.all():
            ends = ends[executed]
        attributes = one_array(batch.sides["resource"].column("attributes"))
        return cls(batch.table.select(_COLUMNS), attributes, ends)


def read(unread: Sequence[Unread], units: Units, names: Names, passing: Samples) -> Reading:
    """Return the executions among job rows (of at least one batch); `bucket` is left 0.

    `passing` says which successes may become samples; what only samples have is not read of the others.
    """
    table = pa.concat_tables([part.table for part in unread]).combine_chunks()
    resources = _resources(unread, table)
    executed = _executed(one_array(table.column("operation")))
    if not executed.all():
        table, resources = table.filter(pa.array(executed)), resources[executed]

    def column(name: str) -> Column:
        return one_array(table.column(name))

    rows = np.zeros(len(resources), ROW)
    if len(rows) == 0:
        return Reading()
    rows["end"] = end = np.concatenate([part.ends for part in unread])
    rows["start"] = np.minimum(column("timestamp").to_numpy().astype(np.int64), end)
    rows["trace"] = trace = id_hashes(column("trace_id"), 32)
    rows["key"] = key = combined(trace, id_hashes(column("span_id"), 16))
    rows["unit"] = unit = units.of(column("job_class"), column("queue"))
    rows["version"] = column("version").to_numpy()
    rows["deleted"] = deleted = column("is_deleted").to_numpy(zero_copy_only=False)
    fails: Column = pc.is_in(column("outcome"), value_set=_FAILED)
    failed = fails.to_numpy(zero_copy_only=False) & ~deleted
    priority = priorities(key, end)
    welcome = failed | passing.welcome(unit, priority)
    rows["priority"] = np.where(welcome, priority, -np.inf)
    samples = np.flatnonzero(welcome)
    rows["queue"][samples] = names.hashes(column("queue").take(samples))
    rows["worker"][samples] = names.hashes(column("worker_id").take(samples))
    attributes = names.resource_hashes(pa.concat_arrays([part.resources for part in unread]))
    rows["resource"][samples] = attributes[resources[samples]]
    places = np.flatnonzero(failed)
    rows["texts"] = -1
    rows["texts"][places] = np.arange(len(places))
    return Reading(rows, _read_faults(rows, places, table, names))


def _executed(operation: Column) -> npt.NDArray[np.bool_]:
    same: Column = pc.equal(operation, pa.scalar("process"))
    executed: npt.NDArray[np.bool_] = same.to_numpy(zero_copy_only=False)
    return executed


def _resources(unread: Sequence[Unread], table: pa.Table) -> npt.NDArray[np.int64]:
    """Return the number of each row's resource among those of all parts."""
    before = np.cumsum([0, *(len(part.resources) for part in unread[:-1])])
    rows = [part.table.num_rows for part in unread]
    numbers: npt.NDArray[np.int64] = one_array(table.column("resource")).to_numpy() + np.repeat(before, rows)
    return numbers


def id_hashes(ids: Column, width: int) -> Hashes:
    """Return a hash of ids of `width` hex digits, cheaper than that of any text; other ids are cut or filled up."""
    rows = len(ids)
    _, offsets_buffer, data = ids.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[ids.offset : ids.offset + rows + 1]
    if rows and (np.diff(offsets) == width).all():
        words = np.frombuffer(data, "<u8", rows * width // 8, offsets[0]).reshape(rows, width // 8)
    else:
        # ids of a wrong length are rare enough for a loop
        filled = b"".join((value or "").encode()[:width].ljust(width, b"\0") for value in ids.to_pylist())
        words = np.frombuffer(filled, "<u8").reshape(rows, width // 8)
    total = np.zeros(rows, np.uint64)
    for place, factor in enumerate(_FACTORS[: width // 8]):
        total += (words[:, place] ^ (words[:, place] >> _HALF)) * factor
    return mixed(total)


def _read_faults(rows: Records, places: npt.NDArray[np.int64], table: pa.Table, names: Names) -> pa.Table:
    """Fill in how the executions at some places failed; return their texts."""
    failed = table.select(_FAULT_COLUMNS).take(places)

    def column(name: str) -> Column:
        return one_array(failed.column(name))

    types = column("error_type")
    instead = pc.binary_join_element_wise(pa.scalar(_UNTYPED), types, "")
    fingerprints: Column = pc.coalesce(column("error_fingerprint"), instead)
    job_id = column("job_id")
    # job ids are unique within the system, those of BullMQ within the queue
    queue = pc.if_else(pc.equal(column("system"), pa.scalar("bullmq")), column("queue"), pa.scalar(None, pa.string()))
    units = rows["unit"][places].astype(np.uint64)
    job = combined(name_hashes(column("system")), name_hashes(queue), units, text_hashes(job_id))
    job[~job_id.is_valid().to_numpy(zero_copy_only=False)] = 0
    rows["fingerprint"][places] = names.hashes(fingerprints)
    rows["type"][places] = names.hashes(types)
    rows["category"][places] = names.hashes(column("error_category"))
    rows["job"][places] = job
    message = pc.utf8_slice_codeunits(pc.fill_null(column("error_message"), pa.scalar("")), 0, LONGEST_MESSAGE)
    texts = [message, column("trace_id"), pc.fill_null(job_id, pa.scalar(""))]
    return pa.Table.from_arrays(texts, schema=TEXTS)


def fingerprint_text(text: str) -> str:
    """Return a fingerprint as it was; empty where the error's type took its place."""
    return "" if text.startswith(_UNTYPED) else text


def joined(readings: list[Reading]) -> Reading:
    """Return all in one."""
    if len(readings) == 1:
        return readings[0]
    shift = 0
    for reading in readings:
        reading.rows["texts"][reading.rows["texts"] >= 0] += shift
        shift += reading.texts.num_rows
    texts = [reading.texts for reading in readings if reading.texts.num_rows]
    return Reading(
        together([reading.rows for reading in readings]) if readings else np.zeros(0, ROW),
        pa.concat_tables(texts).combine_chunks() if texts else TEXTS.empty_table(),
    )


def rest_of(rows: Records, texts: pa.Table) -> Reading:
    """Return some rows of a reading, which are the caller's to change, with no texts but theirs."""
    failed = np.flatnonzero(rows["texts"] >= 0)
    used = rows["texts"][failed]
    rows["texts"][failed] = np.arange(len(failed))
    return Reading(rows, texts.take(used).combine_chunks())
