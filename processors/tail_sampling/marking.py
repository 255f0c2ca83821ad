"""What kept spans say: which policy kept their trace, and how many traces it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import Batch
from pipeline.columns import Group, attributes, nest, unnest, with_attributes
from pipeline.kinds import ATTRIBUTES
from pipeline.records import Records
from processors.tail_sampling.probability import head_probability, with_probability
from processors.tail_sampling.spans import Truths, truths

POLICY: Final = "tailsampling.policy"
COMPOSITE_POLICY: Final = "tailsampling.composite_policy"
CACHED_DECISION: Final = "tailsampling.cached_decision"
ADJUSTED_COUNT: Final = "sampling.adjusted_count"
_KEYS: Final = (POLICY, COMPOSITE_POLICY, CACHED_DECISION, ADJUSTED_COUNT)
"""The first three are the Collector's (gate `recordpolicy`), which puts them on the scope."""

Numbers = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Reasons:
    """Why spans are kept, a row a span."""

    policy: Numbers
    sub: Numbers
    probability: npt.NDArray[np.float64]
    by_chance: Truths
    late: Truths


def reasons_of(record: Records, late: Truths) -> Reasons:
    """Return records of decisions, a row a span, as reasons."""
    return Reasons(record["policy"], record["sub"], record["probability"], record["by_chance"], late)


class Marker:
    """`names` are the policies, `subs` for each the sub-policies of a composite."""

    def __init__(self, names: Sequence[str], subs: Sequence[Sequence[str]]) -> None:
        self._names = names
        self._subs = subs

    def marked(self, batch: Batch, reasons: Reasons) -> Batch:
        """Return the spans with the reasons as attributes, and `ot=th:` in the trace state where it was by chance.

        What a sampler before this one has written is multiplied in and replaced.
        """
        if batch.rows == 0:
            return batch
        lists, before = _without_marks(batch.column("attributes"))
        states = batch.column("trace_state").dictionary_encode()
        texts: list[str] = states.dictionary.to_pylist()  # type: ignore[assignment] # no trace state is null
        state = states.indices.to_numpy().astype(np.int64)
        head = np.array([head_probability(text) for text in texts])
        # `th` says what heads kept; a sampler of this kind in front counted it already
        count = np.where(before > 0, before, 1 / head[state]) / reasons.probability

        counts, count_code = np.unique(count, return_inverse=True)
        code = reasons.policy.astype(np.int64) + 1
        for part, size in ((reasons.sub.astype(np.int64) + 1, 1 << 15), (count_code, len(counts)), (reasons.late, 2)):
            code = code * size + part
        _, firsts, numbers = np.unique(code, return_index=True, return_inverse=True)
        groups = [self._group(reasons, row, float(count[row])) for row in firsts.tolist()]
        table = _replaced(batch.table, "attributes", with_attributes(lists, np.arange(batch.rows), numbers, groups))
        if reasons.by_chance.any():
            table = _replaced(table, "trace_state", _with_th(texts, state, reasons))
        return batch.with_table(table)

    def _group(self, reasons: Reasons, row: int, count: float) -> Group:
        policy, sub = int(reasons.policy[row]), int(reasons.sub[row])
        group: list[tuple[str, str | bool | float]] = []
        if policy >= 0:
            group.append((POLICY, self._names[policy]))
            if sub >= 0:
                group.append((COMPOSITE_POLICY, self._subs[policy][sub]))
        if reasons.late[row]:
            group.append((CACHED_DECISION, True))
        group.append((ADJUSTED_COUNT, count))
        return group


def _with_th(texts: Sequence[str], state: npt.NDArray[np.int64], reasons: Reasons) -> Any:
    """Return the trace states; worked out once for each distinct state and probability."""
    probabilities, code = np.unique(np.where(reasons.by_chance, reasons.probability, 1.0), return_inverse=True)
    pairs, inverse = np.unique(state * len(probabilities) + code, return_inverse=True)
    written = [
        texts[pair // len(probabilities)]
        if probabilities[pair % len(probabilities)] >= 1
        else with_probability(texts[pair // len(probabilities)], float(probabilities[pair % len(probabilities)]))
        for pair in pairs.tolist()
    ]
    return pa.array(written, pa.string()).take(inverse)


def _without_marks(lists: Any) -> tuple[Any, npt.NDArray[np.float64]]:
    """Return attributes without those that `marked` writes, and the count that they had; 0 for none."""
    before = np.zeros(len(lists))
    offsets, items = unnest(lists)
    ours = truths(pc.is_in(items.field("key"), value_set=pa.array(_KEYS)))
    if not ours.any():
        return lists, before
    found = attributes(lists, [ADJUSTED_COUNT])[ADJUSTED_COUNT]
    before = found.field("double_value").fill_null(0.0).to_numpy(zero_copy_only=False)
    left = np.concatenate([[0], np.cumsum(~ours)])[offsets]
    return nest(left, items.filter(pa.array(~ours)), ATTRIBUTES.value_field), before


def _replaced(table: pa.Table, name: str, column: Any) -> pa.Table:
    position = table.schema.get_field_index(name)
    return table.set_column(position, table.schema.field(position), column)
