"""The window as bytes and back: Arrow IPC, so that a restart goes on where the process before it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa

from pipeline.index import Lineage
from pipeline.kinds import RESOURCE
from pipeline.records import Records, copied
from processors.jobs.facts import FACT, STATE, TEXTS
from processors.jobs.recognise import Recogniser
from processors.jobs.traits import Traits
from processors.jobs.window import FORGOTTEN, Window, kept

FORMAT: Final = 2
"""Raised when an older process could not read what a newer one saved."""

_SOURCES: Final = ("available_source", "created_source", "inserted_source")


@dataclass(frozen=True, slots=True, eq=False)
class Saving:
    """What a window knew at one moment: to be written down in a thread while the window goes on."""

    head: dict[str, Any]
    facts: Records
    state: Records
    texts: pa.Table
    resources: pa.Table
    waits: pa.Table
    lineage: Lineage
    lanes: pa.Table

    @classmethod
    def of(cls, window: Window, recogniser: Recogniser, version: int) -> Saving:
        """Take hold of the window; only what will be changed in its place is copied."""
        waiting = window.facts["span"][window.facts["waits"] & (window.state["stamp"] != FORGOTTEN)]
        numbers, awaited = window.waited_for(waiting)
        head = {
            "format": FORMAT,
            "version": version,
            "sequence": window.sequence,
            "conventions": [convention.name for convention in recogniser.table],
            "labels": list(recogniser.labels),
        }
        return cls(
            head,
            # rows are only ever added behind these, or kept in another array
            window.facts,
            copied(window.state),
            window.texts.whole(),
            window.resources.table,
            pa.table({"waiting": waiting[numbers], "awaited": awaited}),
            window.lineage.copy(),
            pa.table({"lane": window.lanes.items()[0]}),
        )

    def serialised(self) -> memoryview:
        """Return the bytes, without what is forgotten."""
        keep = self.state["stamp"] != FORGOTTEN
        facts, state, texts = self.facts, self.state, self.texts
        if not keep.all():
            facts, state = kept(facts, state, keep)
            texts = texts.filter(pa.array(keep))
        lineage = self.lineage.items()
        tables = (
            _table_of(facts),
            _table_of(state),
            texts,
            self.resources,
            self.waits,
            pa.table({"span": lineage[0], "parent": lineage[1]}),
            self.lanes,
        )
        sink = pa.BufferOutputStream()
        for part in (pa.py_buffer(orjson.dumps(self.head)), *(_buffer_of(table) for table in tables)):
            sink.write(len(part).to_bytes(8, "little"))
            sink.write(part)
        return memoryview(sink.getvalue())


def restored(state: bytes, recogniser: Recogniser, traits: Traits) -> tuple[Window, int]:
    """Return a window with what `Saving.serialised` gave, and the last version written.

    Raises ValueError for bytes that are no such state.
    """
    try:
        parts = _parts(state)
        head = orjson.loads(parts[0])
        tables = [pa.ipc.open_stream(part).read_all() for part in parts[1:]]
    except (orjson.JSONDecodeError, pa.ArrowInvalid, OSError, IndexError) as error:
        raise ValueError(f"not a saved state of processor jobs: {error}") from error
    if not isinstance(head, dict) or head.get("format") != FORMAT or len(tables) != 7:
        raise ValueError(f"not a saved state of processor jobs in format {FORMAT}")
    facts, rows, texts, resources, waits, lineage, lanes = tables
    if texts.schema != TEXTS or resources.schema != RESOURCE:
        raise ValueError("not a saved state of processor jobs: the columns differ")
    window = Window(traits)
    window.sequence = head["sequence"]
    window.load(_array_of(facts, FACT), _array_of(rows, STATE))
    if texts.num_rows:
        window.texts.append(texts.combine_chunks())
    window.resources.add(resources.combine_chunks())
    _renumber(window.facts, head, recogniser)
    spans = lineage.column("span").to_numpy()
    window.lineage.add(spans, lineage.column("parent").to_numpy())
    lane = lanes.column("lane").to_numpy()
    window.lanes.add(lane, np.ones(len(lane), np.int64))
    gone = window.facts["convention"] < 0
    window.drop(gone)
    window.reindex(waits.column("waiting").to_numpy(), waits.column("awaited").to_numpy())
    return window, int(head["version"])


def _renumber(facts: Records, head: dict[str, Any], recogniser: Recogniser) -> None:
    """Turn numbers of the conventions and labels of then into those of now, -1 for what is gone."""
    names = [convention.name for convention in recogniser.table]
    facts["convention"] = _numbers(head["conventions"], names)[facts["convention"]]
    labels = _numbers(head["labels"], list(recogniser.labels))
    for name in _SOURCES:
        facts[name] = np.where(facts[name] < 0, -1, labels[facts[name]])


def _numbers(old: list[str], new: list[str]) -> np.ndarray[Any, np.dtype[np.int16]]:
    place = {name: number for number, name in enumerate(new)}
    return np.array([place.get(name, -1) for name in old] or [-1], np.int16)


def _table_of(array: Records) -> pa.Table:
    names = array.dtype.names
    assert names is not None
    return pa.table({name: np.ascontiguousarray(array[name]) for name in names})


def _array_of(table: pa.Table, dtype: np.dtype[Any]) -> Records:
    array: Records = np.zeros(table.num_rows, dtype)
    if tuple(table.column_names) != dtype.names:
        raise ValueError("not a saved state of processor jobs: the columns differ")
    for name in table.column_names:
        array[name] = table.column(name).to_numpy()
    return array


def _buffer_of(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _parts(state: bytes) -> list[bytes]:
    parts, at = [], 0
    while at < len(state):
        size = int.from_bytes(state[at : at + 8], "little")
        at += 8
        if at + size > len(state):
            raise IndexError("it ends too early")
        parts.append(state[at : at + size])
        at += size
    return parts
