"""How large spans are as OTLP: what `bytes_limiting` and `maximum_trace_size_bytes` count."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline import Batch
from pipeline.arrays import lengths_of
from pipeline.batch import one_array
from pipeline.kinds import Signal
from pipeline.otlp import descriptors
from pipeline.otlp.nest import nested

_Sizes = npt.NDArray[np.int64]


def otlp_sizes(batch: Batch, number: npt.NDArray[np.int64]) -> _Sizes:
    """Return the bytes of each span in a request of its trace alone; `number` says which trace it is of.

    Resource and scope are counted at the first span of a trace that has them, as they are sent once for all. What
    comes in several batches counts them again: the Collector's buffer does, too.
    """
    message = descriptors.wire(Signal.TRACES).records.message
    assert message is not None
    sizes = _framed(lengths_of(descriptors.encoded(message, nested(batch, np.array([0, batch.rows])).records)))
    for side, shared in (("resource", descriptors.RESOURCE), ("scope", descriptors.SCOPE)):
        table = batch.sides[side].combine_chunks()
        rows = table.select(descriptors.columns(shared).names).to_struct_array().combine_chunks()
        urls = lengths_of(one_array(table.column("schema_url")))
        bodies = _framed(lengths_of(descriptors.encoded(shared, rows)))
        of_side = _framed(bodies + np.where(urls > 0, _framed(urls), 0))
        row = batch.column(side).to_numpy().astype(np.int64)
        _, firsts = np.unique(number * (table.num_rows + 1) + row, return_index=True)
        sizes[firsts] += of_side[row[firsts]]
    return sizes


def _framed(sizes: _Sizes) -> _Sizes:
    """Return sizes with tag and length in front, as a field has them."""
    digits = np.searchsorted([1 << 7, 1 << 14, 1 << 21, 1 << 28], sizes, side="right") + 1
    return sizes + 1 + digits
