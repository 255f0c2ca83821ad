"""OTLP's columns as ClickHouse's: the conversions that the three signals share. Pure; nothing here loops over rows.

What repeats is sent dictionary-encoded, which the server reads into `LowCardinality` without looking at each text:
enumerations, names, keys of maps, whatever stands in a side table. That takes a third off the bytes of a span and costs
the server nothing (m). Values of maps are sent plain: dictionaries of them cost the server more than they save.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import Batch
from pipeline.arrays import Ints, nest, unnest
from pipeline.batch import one_array
from pipeline.columns import any_value_text, attributes

LATEST_NS: Final = np.uint64(np.iinfo(np.int64).max)
"""The end of DateTime64(9): 2262-04-11 23:47:16.854775807 UTC."""

TIMESTAMP: Final = pa.timestamp("ns")


def timestamps(nanoseconds: pa.Array[Any]) -> pa.Array[Any]:
    """Return uint64 nanoseconds since 1970 as timestamps; what is past `LATEST_NS` becomes `LATEST_NS`."""
    numbers = nanoseconds.to_numpy()
    if len(numbers) and numbers.max() > LATEST_NS:
        numbers = np.minimum(numbers, LATEST_NS)
    return pa.array(numbers.view(np.int64)).view(TIMESTAMP)


def attribute_map(lists: pa.Array[Any]) -> pa.Array[Any]:
    """Return attributes as maps of text, in their order; a key that comes twice stays there twice."""
    offsets, pairs = taken_apart(lists)
    starts: Any = pa.array(offsets, pa.int32())
    return pa.MapArray.from_arrays(starts, child(pairs, "key").dictionary_encode(), text(child(pairs, "value")))


def text(values: pa.Array[Any]) -> Any:
    """Return AnyValues as text."""
    return any_value_text(cast("pa.StructArray", values))


def taken_apart(lists: pa.Array[Any]) -> tuple[Ints, pa.Array[Any]]:
    """Return offsets and values of a column of lists."""
    return unnest(cast("pa.ListArray[Any]", lists))


def child(structs: pa.Array[Any], name: str) -> pa.Array[Any]:
    """Return a field of structs none of which is null."""
    field: pa.Array[Any] = cast("pa.StructArray", structs).field(name)
    return field


def named(numbers: pa.Array[Any], names: Sequence[str]) -> pa.Array[Any]:
    """Return the names of an enumeration's numbers, which count from 0; an unknown number has the name ""."""
    codes = numbers.to_numpy()
    known = (codes >= 0) & (codes < len(names))
    return pa.DictionaryArray.from_arrays(np.where(known, codes, len(names)).astype(np.int8), [*names, ""])


def shared_text(batch: Batch, side: str, column: str) -> pa.Array[Any]:
    """Return a text column of a side table, one value a row."""
    return spread(one_array(batch.sides[side].column(column)), batch.column(side))


def shared_map(batch: Batch, side: str) -> pa.Array[Any]:
    """Return the attributes of a side table as maps, one a row."""
    return attribute_map(one_array(batch.sides[side].column("attributes"))).take(batch.column(side))


def service_name(batch: Batch) -> pa.Array[Any]:
    """Return the resource's `service.name`, one a row; "" where the resource has none."""
    lists = cast("pa.ListArray[Any]", one_array(batch.sides["resource"].column("attributes")))
    return spread(text(attributes(lists, ["service.name"])["service.name"]), batch.column("resource"))


def spread(texts: pa.Array[Any], rows: pa.Array[Any]) -> pa.Array[Any]:
    """Return `texts[rows]`. Its dictionary has no text twice, which ClickHouse relies on."""
    encoded = texts.dictionary_encode()
    return pa.DictionaryArray.from_arrays(encoded.indices.take(rows), encoded.dictionary)


def present_lists(lists: pa.Array[Any]) -> pa.Array[Any]:
    """Return the lists with empty ones for null."""
    return nest(*taken_apart(lists)) if lists.null_count else lists


def filled(numbers: pa.Array[Any], default: float) -> pa.Array[Any]:
    """Return the numbers with `default` for null."""
    if not numbers.null_count:
        return numbers
    without_null: pa.Array[Any] = pc.fill_null(numbers, pa.scalar(default, numbers.type))
    return without_null


def narrowed(numbers: pa.Array[Any]) -> pa.Array[Any]:
    """Return numbers as UInt8: what lies outside becomes the nearest that fits."""
    fitting: npt.NDArray[np.uint8] = np.clip(numbers.to_numpy(), 0, 255).astype(np.uint8)
    return pa.array(fitting)
