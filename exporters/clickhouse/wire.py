"""Columns as the body of an INSERT, and the token that names it. Pure; runs in the exporter's thread."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cramjam
import numpy as np
import pyarrow as pa

from exporters.clickhouse.config import Compression
from pipeline.batch import one_array

DAYS: Final = 50
"""Days, which are partitions, in one INSERT; a server refuses more than 100 (`max_partitions_per_insert_block`) by
default, counts days in its own time zone, and would repeat that refusal for ever."""

NS_PER_DAY: Final = 86_400_000_000_000


@dataclass(frozen=True, slots=True)
class Body:
    """An Arrow stream, compressed inside (lz4, zstd) or as HTTP's Content-Encoding says."""

    data: memoryview
    encoding: str | None
    token: str
    rows: int


def bodies(
    columns: pa.Table, *, time_column: str, compression: Compression, token: str, version: Sequence[str] = ()
) -> Iterator[Body]:
    """Yield what to insert, mostly one body; more where the rows are of more than `DAYS` days."""
    for number, rows in enumerate(divide_by_days(columns, time_column)):
        data, encoding = encoded(rows, compression)
        yield Body(data, encoding, f"{token}:{number}:{fingerprint(rows, time_column, *version)}", rows.num_rows)


def divide_by_days(columns: pa.Table, time_column: str) -> list[pa.Table]:
    """Return the rows in parts of at most `DAYS` distinct days each, as they are where they have no more."""
    days = _nanoseconds(columns, time_column) // NS_PER_DAY
    if len(days) == 0 or days.max() - days.min() < DAYS:
        return [columns]
    distinct, codes = np.unique(days, return_inverse=True)
    groups = codes // DAYS
    if len(distinct) <= DAYS:
        return [columns]
    return [columns.filter(pa.array(groups == group)).combine_chunks() for group in range(int(groups[-1:].max()) + 1)]


def fingerprint(columns: pa.Table, time_column: str, *version: str) -> str:
    """Return a few digits that tell apart different rows under one receipt.

    A token alone says which intake rows came from. Two pipelines may bring different rows of one intake here, and a
    replay may sample differently; without this the second insert would be taken for a repetition and lost. A row that
    is written again keeps its time, so the columns of its version count, too.
    """
    checksum = zlib.crc32(_nanoseconds(columns, time_column).data)
    for name in version:
        checksum = zlib.crc32(one_array(columns.column(name)).to_numpy().data, checksum)
    return f"{columns.num_rows:x}-{checksum:08x}"


def encoded(columns: pa.Table, compression: Compression) -> tuple[memoryview, str | None]:
    """Return an Arrow stream of one record batch and the Content-Encoding that it needs, if any."""
    inside = compression if compression in ("lz4", "zstd") else None
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=inside, use_threads=False)
    with pa.ipc.new_stream(sink, columns.schema, options=options) as writer:
        writer.write_table(columns)
    data = memoryview(sink.getvalue())
    match compression:
        case "gzip":
            return memoryview(cramjam.gzip.compress(data, level=4)), "gzip"
        case "deflate":
            return memoryview(cramjam.zlib.compress(data, level=4)), "deflate"
        case "br":
            return memoryview(cramjam.brotli.compress(data, level=4)), "br"
        case _:
            return data, None


def _nanoseconds(columns: pa.Table, time_column: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    return one_array(columns.column(time_column)).view(pa.int64()).to_numpy()
