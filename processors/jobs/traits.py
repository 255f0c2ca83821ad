"""What conventions say of all their rows, as columns: for asking by the number of the convention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from processors.jobs.conventions import Convention


@dataclass(frozen=True, slots=True)
class Traits:
    """What conventions say of all their rows, one value a convention."""

    transport: npt.NDArray[np.bool_]
    wraps: npt.NDArray[np.bool_]
    sibling: npt.NDArray[np.bool_]
    nested: npt.NDArray[np.bool_]
    takes_id: npt.NDArray[np.bool_]
    recurring: npt.NDArray[np.bool_]
    enqueues: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, table: Sequence[Convention]) -> Traits:
        def column(*values: bool) -> npt.NDArray[np.bool_]:
            return np.array(values, np.bool_)

        return cls(
            transport=column(*(convention.transport for convention in table)),
            wraps=column(*(bool(convention.fields.adapter) for convention in table)),
            sibling=column(*(convention.sibling_parents for convention in table)),
            nested=column(*(convention.nested_enqueue_waits for convention in table)),
            takes_id=column(*(convention.enqueue_takes_id for convention in table)),
            recurring=column(*(convention.recurring_ids for convention in table)),
            enqueues=column(*(bool(convention.enqueue) for convention in table)),
        )
