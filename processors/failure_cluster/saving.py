"""The watch as bytes and back: numpy's own format for the columns, JSON for what is few."""

from __future__ import annotations

from io import BytesIO
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
import orjson
import pyarrow as pa

from processors.failure_cluster.calls import CALL
from processors.failure_cluster.clusters import Cluster
from processors.failure_cluster.executions import ROW
from processors.failure_cluster.ledger import ENTRY
from processors.failure_cluster.rows import TEXTS, Reading, joined
from processors.failure_cluster.samples import SAMPLE
from processors.failure_cluster.seen import FAILED
from processors.failure_cluster.watch import Watch

FORMAT: Final = 2
"""Raised when an older process could not read what a newer one saved."""

_NOT_ONE: Final = "not a saved state of processor failure_cluster"

_SHAPES: Final = {
    "rows": ROW, "failing": SAMPLE, "passing": SAMPLE, "entries": ENTRY, "counted": FAILED, "calls": CALL,
}  # fmt: skip


def saved(watch: Watch) -> bytes:
    """Return everything that the watch knows."""
    books = watch.books
    watch.read()
    waiting = joined(watch.pending)
    watch.pending = [waiting] if len(waiting.rows) else []
    seen, loops = books.seen.items(), books.loops.state()
    head = {
        "format": FORMAT,
        "step_ns": books.step_ns,
        "next": watch.next,
        "newest": watch.newest,
        "units": books.units.as_json(),
        "texts": list(books.names.texts.items()),
        "resources": list(books.names.resources.items()),
        "messages": [(key, *texts) for key, texts in books.texts.items()],
        "clusters": [cluster.as_json() for cluster in books.clusters],
        "waiting": books.waiting,
    }
    columns: dict[str, Any] = {
        "rows": waiting.rows,
        "failing": books.failing.rows,
        "passing": books.passing.rows,
        "entries": books.ledger.entries,
        "counted": books.counted.rows,
        "calls": books.calls.calls,
        "seen_keys": seen[0],
        "seen_versions": seen[1],
        "loop_jobs": loops[0],
        "loop_ends": loops[1],
        "loop_counts": loops[2],
        "level_failures": books.levels.failures,
        "level_executions": books.levels.executions,
        "head": np.frombuffer(orjson.dumps(head), np.uint8),
        "texts": np.frombuffer(_bytes_of(waiting.texts), np.uint8),
    }
    for name, ring in (("uncovered", books.uncovered), ("failed", books.failed), *_named(books.executions)):
        columns[f"ring_{name}"], step = ring.state()
        columns[f"step_{name}"] = np.array([step])
    file = BytesIO()
    np.savez(file, **columns)
    return file.getvalue()


def restore(watch: Watch, state: bytes) -> None:
    """Take over what `saved` gave. Raises ValueError for bytes that are no such state, or of another resolution."""
    try:
        with np.load(BytesIO(state), allow_pickle=False) as file:
            columns = {name: file[name] for name in file.files}
        head = orjson.loads(columns["head"].tobytes())
    except (AttributeError, EOFError, KeyError, OSError, ValueError, BadZipFile) as error:
        raise ValueError(f"{_NOT_ONE}: {error}") from error
    try:
        _take_over(watch, head, columns)
    except (KeyError, TypeError, IndexError, pa.ArrowInvalid) as error:
        raise ValueError(f"{_NOT_ONE}: {error}") from error


def _take_over(watch: Watch, head: dict[str, Any], columns: dict[str, Any]) -> None:
    if head["format"] != FORMAT:
        raise ValueError(f"the saved state has format {head['format']}, and this version reads {FORMAT}")
    for name, shape in _SHAPES.items():
        if columns[name].dtype != shape:
            raise ValueError(f"{_NOT_ONE}: the columns differ")
    books = watch.books
    if head["step_ns"] != books.step_ns:
        raise ValueError("the saved state has another resolution")
    watch.next, watch.newest = head["next"], head["newest"]
    books.units.load(**head["units"])
    books.names.texts = dict(head["texts"])
    books.names.resources = {number: tuple(map(tuple, pairs)) for number, pairs in head["resources"]}
    books.texts = {key: (message, trace, job) for key, message, trace, job in head["messages"]}
    books.clusters = [Cluster.from_json(cluster) for cluster in head["clusters"]]
    books.waiting = head["waiting"]
    books.ledger.load(columns["entries"])
    books.counted.load(columns["counted"])
    books.calls.load(columns["calls"])
    books.seen.load(columns["seen_keys"], columns["seen_versions"])
    books.loops.load(columns["loop_jobs"], columns["loop_ends"], columns["loop_counts"])
    books.failing.load(columns["failing"])
    books.passing.load(columns["passing"])
    books.levels.failures, books.levels.executions = columns["level_failures"], columns["level_executions"]
    for name, ring in (("uncovered", books.uncovered), ("failed", books.failed), *_named(books.executions)):
        if f"ring_{name}" in columns:
            ring.load(columns[f"ring_{name}"], int(columns[f"step_{name}"][0]))
    rows = columns["rows"]
    if len(rows):
        texts = pa.ipc.open_stream(columns["texts"].tobytes()).read_all().cast(TEXTS).combine_chunks()
        watch.pending = [Reading(rows, texts)]
    books.reindex()


def _named(rings: dict[int, Any]) -> list[tuple[str, Any]]:
    return [(str(window), ring) for window, ring in sorted(rings.items())]


def _bytes_of(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()
