"""Fills the error columns of job rows (kinds.JOBS)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.batch import one_array
from pipeline.error_text import ErrorLimits, cut_errors
from processors.error_type.verdict import Verdict

_TOLD: Final = ("error_type", "error_message", "exception_stacktrace")
_FAILED: Final = pa.array(["failed", "retried"])


@dataclass(frozen=True, slots=True)
class JobErrors:
    """The job rows that failed or that tell of an error, one value a row in every field; texts are empty for none."""

    rows: npt.NDArray[np.integer[Any]]
    type: Any
    message: Any
    stack: Any


def job_errors(table: pa.Table) -> JobErrors | None:
    """Return what failed among job rows, None if nothing did."""
    outcome: Any = pc.is_in(table.column("outcome"), value_set=_FAILED)
    failed = outcome.to_numpy()
    for name in _TOLD:
        column: Any = table.column(name)
        failed = failed | column.is_valid().to_numpy()
    rows = np.flatnonzero(failed)
    if len(rows) == 0:
        return None
    places: Any = pa.array(rows)
    texts: list[Any] = [one_array(table.column(name)).take(places).fill_null("") for name in _TOLD]
    return JobErrors(rows, *texts)


def with_verdicts(
    table: pa.Table, errors: JobErrors, numbers: npt.NDArray[Any], verdicts: Sequence[Verdict], limits: ErrorLimits,
    *, rename: bool,
) -> pa.Table:  # fmt: skip
    """Return the table with `verdicts[numbers[i]]` in row `errors.rows[i]`, and errors within limits.

    The type of a row is filled where there is none; with `rename` it becomes the verdict's wherever that has one.
    """
    place = np.full(table.num_rows, -1)
    place[errors.rows] = numbers
    where = pa.array(place, mask=place < 0)

    def column(values: list[Any], type_: pa.DataType) -> Any:
        array: Any = pa.array(values, type_)
        return array.take(where)

    types = column([verdict.type or None for verdict in verdicts], pa.string())
    sent, messages, stacks = (one_array(table.column(name)) for name in _TOLD)
    sent, messages, stacks = cut_errors(sent, messages, stacks, limits)
    replaced = {
        "error_type": pc.coalesce(*((types, sent) if rename else (sent, types))),
        "error_category": column([str(verdict.category) for verdict in verdicts], pa.string()),
        "error_transient": column([verdict.transient for verdict in verdicts], pa.bool_()),
        "error_fingerprint": column([verdict.fingerprint for verdict in verdicts], pa.string()),
        "error_message": messages,
        "exception_stacktrace": stacks,
    }
    for name, values in replaced.items():
        position = table.schema.get_field_index(name)
        table = table.set_column(position, table.schema.field(position), values)
    return table
