"""Two instrumentations of one job: which row is merged into which (job-conventions, section 4.6).

An abstraction layer (ActiveJob) and its adapter (Sidekiq) both write spans. The layer's rows stay. Producers belong
together if the adapter's is below the layer's, executions if the layer's names the adapter's id, or is below it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.hash_table import Rows, union
from pipeline.hashing import Hashes
from pipeline.records import Records
from processors.jobs.facts import NO_ROW, Role
from processors.jobs.traits import Traits

Mask = npt.NDArray[np.bool_]


def nest(facts: Records, state: Records, traits: Traits, rows: Rows, up: Rows) -> Rows:
    """Note what rows and the next rows above them say of each other; return the rows above that change by it."""
    role, above = facts["role"][rows], facts["role"][up]
    convention, upper = facts["convention"][rows], facts["convention"][up]
    inner = (role == Role.ENQUEUE) & (above == Role.ENQUEUE) & traits.wraps[upper]
    inner &= facts["system"][rows] == facts["adapter"][up]
    state["primary"][rows[inner]] = up[inner]

    outer = (role == Role.PROCESS) & (above == Role.PROCESS) & traits.wraps[convention]
    outer &= facts["system"][up] == facts["adapter"][rows]
    adapters = union(up[outer])
    known = adapters[state["nested"][adapters] >= 0]
    layers = np.concatenate([rows[outer], state["nested"][known]])
    adapters = np.concatenate([up[outer], known])
    # of several layers below one adapter's execution it belongs to the first, which is written last
    order = np.lexsort((facts["span"][layers], facts["start"][layers]))[::-1]
    state["nested"][adapters[order]] = layers[order]

    around = (role == Role.PROCESS) & ~traits.transport[convention] & traits.transport[upper]
    around &= (above == Role.PROCESS) | (above == Role.RECEIVE)
    state["around"][up[around]] = True
    changed: Rows = up[inner | outer | around]
    return changed


def pair(facts: Records, state: Records, rows: Rows) -> Rows:
    """Find the layer's execution for each adapter's one in `rows`, whole jobs; return all rows that change by it."""
    process = facts["role"][rows] == Role.PROCESS
    layer = process & (facts["provider_key"][rows] != 0)
    adapter: Rows = rows[process & ~layer]
    if len(adapter) == 0:
        return adapter
    primary = state["nested"][adapter].copy()
    if layer.any():
        asking = rows[layer]
        both = np.concatenate([asking, adapter])
        keys = np.concatenate([facts["provider_key"][asking], facts["own_key"][adapter]])
        gives = np.arange(len(both)) >= len(asking)
        found = latest_before(keys, facts["start"][both], gives, facts["span"][both])[: len(asking)]
        paired = np.flatnonzero((found >= 0) & (facts["provider_key"][asking] != 0))
        # of several layers that name one execution it belongs to the first, which is written last
        order = np.lexsort((facts["span"][asking[paired]], facts["start"][asking[paired]]))[::-1]
        primary[found[paired[order]] - len(asking)] = asking[paired[order]]
    before = state["primary"][adapter]
    changed = before != primary
    if not changed.any():
        nothing: Rows = adapter[:0]
        return nothing
    state["primary"][adapter] = primary
    touched = union(adapter[changed], before[changed], primary[changed])
    result: Rows = touched[touched >= 0]
    return result


def latest_before(groups: Hashes, starts: npt.NDArray[np.uint64], gives: Mask, tie: Hashes) -> Rows:
    """Return for each row the last giving row of its group that starts no later, NO_ROW without one.

    `tie` orders rows that start at the same time.
    """
    rows = len(groups)
    order = np.lexsort((tie, ~gives, starts, groups))
    ranked = groups[order]
    places = np.arange(rows)
    new_group = np.ones(rows, np.bool_)
    new_group[1:] = ranked[1:] != ranked[:-1]
    first = np.maximum.accumulate(np.where(new_group, places, 0))
    last = np.maximum.accumulate(np.where(gives[order], places, NO_ROW))
    result = np.full(rows, NO_ROW)
    result[order] = np.where(last >= first, order[last], NO_ROW)
    return result
