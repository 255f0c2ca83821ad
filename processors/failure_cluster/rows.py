"""What is read of job rows: one record an execution, and the texts of those that failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import Batch
from pipeline.arrays import Column, unnest
from pipeline.batch import one_array
from pipeline.columns import any_value_text
from pipeline.hashing import Hashes, combined, mixed, text_hashes
from pipeline.kinds import required
from processors.failure_cluster.records import Records, together
from processors.failure_cluster.units import Units

ROW: Final = np.dtype(
    [
        ("bucket", np.int64),  # the step of time that it counts in
        ("start", np.int64),
        ("end", np.int64),
        ("key", np.uint64),  # (trace id, span id)
        ("version", np.int64),
        ("trace", np.uint64),
        ("queue", np.uint64),
        ("worker", np.uint64),
        ("resource", np.uint64),
        ("fault", np.int64),  # row of the faults; -1: did not fail
        ("unit", np.int32),
        ("deleted", np.bool_),
    ]
)
"""One execution. Texts are hashes, whose texts `Names` has; times are nanoseconds since 1970."""

FAULTS: Final = pa.schema(
    [
        *(required(name, pa.uint64()) for name in ("fingerprint", "type", "category", "job")),
        *(required(name, pa.string()) for name in ("message", "trace_id", "job_id")),
    ]
)

LONGEST_MESSAGE: Final = 500

_ROW_COLUMNS: Final = [
    "resource",
    "job_class",
    "queue",
    "worker_id",
    "timestamp",
    "duration",
    "trace_id",
    "span_id",
    "outcome",
    "version",
    "is_deleted",
]
_FAULT_COLUMNS: Final = [
    "system",
    "queue",
    "job_id",
    "trace_id",
    "error_type",
    "error_message",
    "error_category",
    "error_fingerprint",
]

_FAILED: Final = pa.array(["failed", "retried"])
_FACTORS: Final = tuple(mixed(np.arange(1, 5, dtype=np.uint64)) | np.uint64(1))
_HALF: Final = np.uint64(29)

_UNTYPED: Final = "type:"
"""Stands before an error type that takes the place of a missing fingerprint."""


class Names:
    """The texts of hashes, and what resources say. Bounded: what nobody refers to any more is swept out."""

    def __init__(self, attributes: tuple[str, ...]) -> None:
        self._patterns = attributes
        self._wanted: dict[str, bool] = {}
        self.texts: dict[int, str] = {}
        self.resources: dict[int, tuple[tuple[str, str], ...]] = {}

    def hashes(self, texts: Column) -> Hashes:
        """Return the hash of each text, 0 for null and ""; new ones are remembered."""
        encoded = texts.dictionary_encode(null_encoding="encode")
        values = encoded.dictionary
        hashes = text_hashes(values)
        for place, number in enumerate(hashes.tolist()):
            if number not in self.texts:
                text = values[place].as_py()
                if not text:
                    hashes[place] = 0
                else:
                    self.texts[number] = text
        return hashes[encoded.indices.to_numpy()] if len(hashes) else np.zeros(len(texts), np.uint64)

    def text(self, number: int) -> str:
        return self.texts.get(number, "")

    def resource_hashes(self, side: pa.Table) -> Hashes:
        """Return the hash of each resource's attributes; those of new resources that may be causes are remembered."""
        offsets, items = unnest(one_array(side.column("attributes")))
        keys, values = items.field("key"), any_value_text(items.field("value"))
        totals = np.concatenate([np.zeros(1, np.uint64), np.cumsum(combined(text_hashes(keys), text_hashes(values)))])
        # sums of 64 bits may run over: differences are right all the same
        hashes = mixed(totals[offsets[1:]] - totals[offsets[:-1]])
        for row, number in enumerate(hashes.tolist()):
            if number not in self.resources:
                span = slice(int(offsets[row]), int(offsets[row + 1]))
                pairs = zip(keys[span].to_pylist(), values[span].to_pylist(), strict=True)
                self.resources[number] = tuple(sorted((key, value) for key, value in pairs if self._may_be(key, value)))
        return hashes

    def _may_be(self, key: str, value: str) -> bool:
        wanted = self._wanted.get(key)
        if wanted is None:
            if len(self._wanted) > 10_000:
                self._wanted.clear()
            wanted = self._wanted[key] = any(fnmatchcase(key, pattern) for pattern in self._patterns)
        return wanted and value != ""

    def sweep(self, texts: set[int], resources: set[int]) -> None:
        """Forget all but these."""
        self.texts = {number: text for number, text in self.texts.items() if number in texts}
        self.resources = {number: pairs for number, pairs in self.resources.items() if number in resources}


@dataclass(slots=True)
class Reading:
    """Executions of one batch or more, and their faults."""

    rows: Records = field(default_factory=lambda: np.zeros(0, ROW))
    faults: pa.Table = field(default_factory=FAULTS.empty_table)


def read(batch: Batch, units: Units, names: Names) -> Reading:
    """Return the executions of a batch of kind jobs; `bucket` is left 0."""
    # whole rows of jobs are wide, and moving them is most of the cost
    table = batch.table.select(_ROW_COLUMNS)
    chosen: Column = pc.equal(batch.column("operation"), pa.scalar("process"))
    every = pc.all(chosen).as_py()
    if not every:
        table = table.filter(chosen)
    number = table.num_rows
    if number == 0:
        return Reading()

    def column(name: str) -> Column:
        return one_array(table.column(name))

    rows = np.zeros(number, ROW)
    start = column("timestamp").to_numpy().astype(np.int64)
    rows["start"] = start
    rows["end"] = start + column("duration").to_numpy().astype(np.int64)
    trace = id_hashes(column("trace_id"), 32)
    rows["trace"] = trace
    rows["key"] = combined(trace, id_hashes(column("span_id"), 16))
    rows["version"] = column("version").to_numpy().astype(np.int64)
    rows["queue"] = names.hashes(column("queue"))
    rows["worker"] = names.hashes(column("worker_id"))
    rows["resource"] = names.resource_hashes(batch.sides["resource"])[column("resource").to_numpy()]
    rows["unit"] = units.of(column("job_class"), column("queue"))
    rows["deleted"] = column("is_deleted").to_numpy(zero_copy_only=False)
    fails: Column = pc.is_in(column("outcome"), value_set=_FAILED)
    failed = fails.to_numpy(zero_copy_only=False) & ~rows["deleted"]
    places = np.flatnonzero(failed)
    rows["fault"] = -1
    rows["fault"][places] = np.arange(len(places))
    if len(places) == 0:
        return Reading(rows)
    of_batch = places if every else np.flatnonzero(chosen.to_numpy(zero_copy_only=False))[places]
    return Reading(rows, _faults(batch.table.select(_FAULT_COLUMNS).take(of_batch), rows["unit"][places], names))


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


def _faults(table: pa.Table, units: npt.NDArray[np.int32], names: Names) -> pa.Table:
    def column(name: str) -> Column:
        return one_array(table.column(name))

    types = column("error_type")
    instead = pc.binary_join_element_wise(pa.scalar(_UNTYPED), types, "")
    fingerprint: Column = pc.coalesce(column("error_fingerprint"), instead)
    job_id = column("job_id")
    # job ids are unique within the system, those of BullMQ within the queue
    queue = pc.if_else(pc.equal(column("system"), pa.scalar("bullmq")), column("queue"), pa.scalar(None, pa.string()))
    job = combined(text_hashes(column("system")), text_hashes(queue), units.astype(np.uint64), text_hashes(job_id))
    job[~job_id.is_valid().to_numpy(zero_copy_only=False)] = 0
    message = pc.utf8_slice_codeunits(pc.fill_null(column("error_message"), pa.scalar("")), 0, LONGEST_MESSAGE)
    return pa.table(
        {
            "fingerprint": pa.array(names.hashes(fingerprint)),
            "type": pa.array(names.hashes(types)),
            "category": pa.array(names.hashes(column("error_category"))),
            "job": pa.array(job),
            "message": message,
            "trace_id": column("trace_id"),
            "job_id": pc.fill_null(job_id, pa.scalar("")),
        },
        FAULTS,
    )


def fingerprint_text(text: str) -> str:
    """Return a fingerprint as it was; empty where the error's type took its place."""
    return "" if text.startswith(_UNTYPED) else text


def joined(readings: list[Reading]) -> Reading:
    """Return all in one."""
    if len(readings) == 1:
        return readings[0]
    shift = 0
    for reading in readings:
        reading.rows["fault"][reading.rows["fault"] >= 0] += shift
        shift += reading.faults.num_rows
    faults = [reading.faults for reading in readings if reading.faults.num_rows]
    return Reading(
        together([reading.rows for reading in readings]) if readings else np.zeros(0, ROW),
        pa.concat_tables(faults).combine_chunks() if faults else FAULTS.empty_table(),
    )


def rest_of(rows: Records, faults: pa.Table) -> Reading:
    """Return some rows of a reading, which are the caller's to change, with no faults but theirs."""
    failed = rows["fault"] >= 0
    used = rows["fault"][failed]
    rows["fault"][failed] = np.arange(len(used))
    return Reading(rows, faults.take(used).combine_chunks())
