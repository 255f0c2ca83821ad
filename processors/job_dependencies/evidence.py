"""What job rows say, as records: one a row, texts as numbers, ids as hashes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import Batch
from pipeline.arrays import Column, parents_of, unnest
from pipeline.hash_table import union
from pipeline.hashing import Hashes, combined, mixed, order_of, span_hashes, text_hash, text_hashes, words_of_hex
from pipeline.records import Records
from processors.job_dependencies.facts import NONE, ROW, blank, columns_of
from processors.job_dependencies.names import Names

_QUEUE_IS_PART_OF_ID: Final = "bullmq"
"""The system whose ids are unique inside a queue only (job-conventions, section 1)."""

_COLUMNS: Final = (
    *("trace_id", "span_id", "enqueue_span_id", "also_span_ids", "timestamp", "duration", "version", "queue_latency"),
    *("system", "queue", "job_id", "job_class", "parent_job_id", "parent_job_class", "service_name", "batch_count"),
    *("operation", "outcome", "link_style", "is_deleted", "is_retry_enqueue"),
)

_LINKS: Final = pa.array(["link", "dangling_link"])


@dataclass(slots=True, eq=False)
class Evidence:
    """Rows, and pairs of a row's place and the hash of a span that was merged into it."""

    rows: Records
    merged: tuple[npt.NDArray[np.int64], Hashes]


def evidence_of(batches: Sequence[Batch], names: Names) -> Evidence:
    """Return what some batches of kind jobs say; of several versions of a row the newest."""
    columns = columns_of(batches, _COLUMNS)
    rows = blank(len(columns["span_id"]), ROW)
    trace = words_of_hex(columns["trace_id"], 16)
    span_ids = columns["span_id"]
    span = words_of_hex(span_ids, 8)[:, 0]
    rows["trace_hi"], rows["trace_lo"] = trace[:, 0], trace[:, 1]
    rows["span"] = span_hashes(trace, span)
    rows["own_id"] = mixed(span)
    match = words_of_hex(columns["enqueue_span_id"], 8)[:, 0]
    rows["match"] = np.where(match != 0, mixed(match), np.uint64(0))
    for field, column in (("time", "timestamp"), ("duration", "duration"), ("version", "version")):
        rows[field] = columns[column].to_numpy()
    rows["latency"] = _or_none(columns["queue_latency"])
    for field, column in (
        ("job_class", "job_class"),
        ("parent_class", "parent_job_class"),
        ("service", "service_name"),
    ):
        rows[field] = names.numbers(columns[column])
    execution = _true(pc.equal(columns["operation"], pa.scalar("process")))
    rows["execution"] = execution
    rows["deleted"] = columns["is_deleted"].to_numpy(zero_copy_only=False)
    rows["retry"] = columns["is_retry_enqueue"].to_numpy(zero_copy_only=False)
    failed = _true(pc.equal(columns["outcome"], pa.scalar("failed")))
    rows["failed"] = failed & execution
    rows["link"] = _true(pc.is_in(columns["link_style"], value_set=_LINKS))
    _identify(rows, columns, failed)
    chosen = _newest(rows)
    return Evidence(
        rows if len(chosen) == len(rows) else rows.take(chosen),
        _merged(columns["also_span_ids"], trace, rows["deleted"], chosen),
    )


def _newest(rows: Records) -> npt.NDArray[np.int64]:
    """Return the places of the newest version of each row, ascending."""
    order = order_of(rows["span"])
    spans = rows["span"][order]
    equal = np.flatnonzero(spans[1:] == spans[:-1])
    if len(equal) == 0:
        return np.arange(len(rows))
    several = order[union(equal, equal + 1)]
    several = several[np.lexsort((rows["version"][several], rows["span"][several]))]
    kept = np.ones(len(rows), np.bool_)
    kept[several[:-1][rows["span"][several[1:]] == rows["span"][several[:-1]]]] = False
    return np.flatnonzero(kept)


def _identify(rows: Records, columns: Mapping[str, Column], failed: npt.NDArray[np.bool_]) -> None:
    """Fill in which job each row is about, by what name children know it, and which parent it names."""
    ids = text_hashes(columns["job_id"])
    named = ids != 0
    systems = columns["system"]
    encoded = systems.dictionary_encode()
    distinct = encoded.dictionary.to_pylist()
    place = np.array(list(map(text_hash, distinct)), np.uint64)[encoded.indices.to_numpy()]
    if _QUEUE_IS_PART_OF_ID in distinct:
        scoped = encoded.indices.to_numpy() == distinct.index(_QUEUE_IS_PART_OF_ID)
        place = np.where(scoped, combined(place, text_hashes(columns["queue"])), place)
    # without an id, an enqueue and the execution that was matched with it are one job
    nameless = np.where(rows["execution"] & (rows["match"] != 0), rows["match"], rows["own_id"])
    rows["key"] = np.where(named, combined(place, ids), mixed(nameless))
    rows["name_key"] = np.where(named, combined(rows["job_class"].astype(np.uint64), ids), np.uint64(0))
    parents = text_hashes(columns["parent_job_id"])
    parent_classes = rows["parent_class"].astype(np.uint64)
    rows["parent_key"] = np.where(parents != 0, combined(parent_classes, parents), np.uint64(0))
    rows["has_parent"] = (parents != 0) | (parent_classes != 0)
    several = _or_none(columns["batch_count"]) > 0
    rows["unsent"] = ~rows["execution"] & (failed | (several & ~named))


def _merged(
    also: Column, trace: npt.NDArray[np.uint64], deleted: npt.NDArray[np.bool_], chosen: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], Hashes]:
    offsets, ids = unnest(also)
    place_of = np.full(len(also), NONE)
    place_of[chosen] = np.arange(len(chosen))
    if len(ids) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.uint64)
    rows = parents_of(offsets)
    spans = span_hashes(trace[rows], words_of_hex(ids, 8)[:, 0])
    kept = (place_of[rows] >= 0) & ~deleted[rows] & (spans != 0)
    return place_of[rows[kept]], spans[kept]


def _or_none(numbers: Column) -> npt.NDArray[np.int64]:
    """Return numbers as int64, -1 for null."""
    if numbers.null_count == len(numbers):
        return np.full(len(numbers), NONE, np.int64)
    width: int = numbers.type.bit_width // 8
    data = np.frombuffer(numbers.buffers()[1], f"i{width}", len(numbers), numbers.offset * width)
    return np.where(numbers.is_valid().to_numpy(zero_copy_only=False), data, np.int64(NONE))


def _true(booleans: Column) -> npt.NDArray[np.bool_]:
    mask: npt.NDArray[np.bool_] = booleans.fill_null(False).to_numpy(zero_copy_only=False)
    return mask
