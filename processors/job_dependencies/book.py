"""The job rows and jobs that are remembered, and their indexes. What is counted of them is written beside them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.arrays import changes
from pipeline.hash_table import HashTable, Rows, union
from pipeline.hashing import Hashes, order_of
from pipeline.index import Blocks, MultiTable
from pipeline.records import Records, appended
from processors.job_dependencies.evidence import Evidence
from processors.job_dependencies.facts import JOB, NONE, ROW, TOLD, blank

_FEWEST: Final = 1024


class Book:
    """Rows and jobs, in numbers that hold until `forget` is called."""

    def __init__(self) -> None:
        # never empty, so that NONE may stand in an index whose result is not used
        self._rows, self._row_count = blank(_FEWEST, ROW), 0
        self._jobs, self._job_count = blank(_FEWEST, JOB), 0
        self._index()

    def _index(self) -> None:
        self._spans = HashTable(self._row_count)
        self._keys = HashTable(self._job_count)
        self._names = HashTable(self._job_count)
        self._enqueues = HashTable()
        self._members = Blocks()
        self._matching = MultiTable()

    def __len__(self) -> int:
        return self._job_count

    @property
    def rows(self) -> Records:
        return self._rows[: self._row_count]

    @property
    def jobs(self) -> Records:
        return self._jobs[: self._job_count]

    @property
    def nbytes(self) -> int:
        """Memory in use, the room that arrays keep for growing included."""
        tables = (self._spans, self._keys, self._names, self._enqueues, self._members, self._matching)
        return self._rows.nbytes + self._jobs.nbytes + sum(table.nbytes for table in tables)

    # looking up

    def of_rows(self, rows: Rows, name: str) -> npt.NDArray[Any]:
        """Return a column at `rows`; what stands for NONE is anything."""
        return self._rows[name][rows]

    def of_jobs(self, jobs: Rows, name: str) -> npt.NDArray[Any]:
        """Return a column at `jobs`; what stands for NONE is anything."""
        return self._jobs[name][jobs]

    def rows_of_spans(self, spans: Hashes) -> Rows:
        """Return the row that each span has, or was merged into, where that one is valid; NONE for other spans."""
        found = self._spans.find(spans)
        merged = self._rows["deleted"][found]
        merged &= found >= 0
        if merged.any():
            found[merged] = self._rows["alias"][found[merged]]
            found[merged & (found >= 0) & self._rows["deleted"][found]] = NONE
        return found

    def are_rows(self, spans: Hashes) -> npt.NDArray[np.bool_]:
        """Return which spans have a row, valid or not."""
        known: npt.NDArray[np.bool_] = self._spans.find(spans) >= 0
        return known

    def jobs_of(self, keys: Hashes) -> Rows:
        """Return the number of each job; NONE for those that are not known."""
        return self._keys.find(keys)

    def jobs_named(self, name_keys: Hashes) -> Rows:
        """Return the number of the job that children call so; NONE where it is not known."""
        found = self._names.find(name_keys)
        return np.where((found >= 0) & (self._jobs["name_key"][found] == name_keys), found, NONE)

    def bulk_enqueues(self, rows: Rows) -> Rows:
        """Return the row that enqueued several jobs at once, that of each of `rows` too; NONE where it is not known.

        What `rows` are about is looked at again when such a row learns of its parent.
        """
        ids = self._rows["match"][rows]
        self._matching.add(ids, rows)
        found = self._enqueues.find(ids)
        return np.where((found >= 0) & ~self._rows["deleted"][found], found, NONE)

    def members(self, jobs: Rows) -> tuple[Rows, Rows]:
        """Return `(number, row)` pairs: all rows of each of `jobs`, deleted ones too, job by job, in order of time."""
        numbers, rows = self._members.follow(self._jobs["block"][jobs])
        current = self._rows["key"][rows] == self._jobs["key"][jobs][numbers]
        if not current.all():
            numbers, rows = numbers[current], rows[current]
        order = _by_job_and_time(numbers, self._rows["time"][rows], self._rows["span"][rows])
        numbers, rows = numbers[order], rows[order]
        # a row that left a job and came back stands there twice
        if len(rows) > 1:
            again = (rows[1:] == rows[:-1]) & (numbers[1:] == numbers[:-1])
            if again.any():
                keep = np.concatenate([[True], ~again])
                numbers, rows = numbers[keep], rows[keep]
        return numbers, rows

    # taking in

    def absorb(self, evidence: Evidence, stamp: int) -> Hashes:
        """Take in rows; return the keys of the jobs that they are or were about."""
        told = evidence.rows
        found = self._spans.find(told["span"])
        known = np.flatnonzero(found >= 0)
        newer = known[told["version"][known] >= self._rows["version"][found[known]]]
        rows = found[newer]
        before = self._rows["key"][rows]
        after = told["key"][newer]
        for name in TOLD:
            self._rows[name][rows] = told[name][newer]
        fresh = told.compress(found < 0) if len(known) else told
        start, self._row_count = self._row_count, self._row_count + len(fresh)
        self._rows = appended(self._rows, start, fresh)
        numbers = np.arange(start, self._row_count)
        self._spans.add(fresh["span"], numbers)
        moved = before != after
        keys: Hashes = self._add_members(np.concatenate([numbers, rows[moved]]), stamp)
        self._add_bulk(numbers)
        self._alias(*evidence.merged, told["span"])
        others: Hashes = union(before[before != 0], after, self._depending(np.concatenate([numbers, rows])))
        if len(others) == 0:
            return keys
        self._touch(others, stamp)
        both: Hashes = union(keys, others)
        return both

    def _add_members(self, rows: Rows, stamp: int) -> Hashes:
        """Add rows to the jobs that they are about; return the keys of these."""
        keys = self._rows["key"][rows]
        order = order_of(keys)
        keys = keys[order]
        starts = changes(keys)[:-1]
        keys = keys[starts]
        self._chain(self._touch(keys, stamp), rows[order], starts)
        return keys

    def _chain(self, jobs: Rows, rows: Rows, starts: Rows) -> None:
        """Add to each of `jobs` its part of `rows`, which begin at `starts`."""
        blocks = self._members.add(rows, starts)
        self._members.chain(blocks, self._jobs["block"][jobs])
        self._jobs["block"][jobs] = blocks

    def _add_bulk(self, rows: Rows) -> None:
        bulk = rows[self._rows["unsent"][rows]]
        self._enqueues.add(self._rows["own_id"][bulk], bulk)

    def _depending(self, rows: Rows) -> Hashes:
        """Return the keys of the jobs that looked for their parent at one of `rows`, which enqueue several at once."""
        bulk = rows[self._rows["unsent"][rows] & self._rows["has_parent"][rows]]
        _, found = self._matching.find(self._rows["own_id"][bulk])
        keys: Hashes = self._rows["key"][found]
        return keys

    def _alias(self, places: Rows, spans: Hashes, told: Hashes) -> None:
        """Note that `spans` were merged into the rows of `told[places]`, whether or not they have rows themselves."""
        if len(places) == 0:
            return
        distinct, firsts = np.unique(spans, return_index=True)
        into = self._spans.find(told[places[firsts]])
        found = self._spans.find(distinct)
        new = found < 0
        # a place for it until its own row is told of: deleted, of version 0, of no job
        start, self._row_count = self._row_count, self._row_count + int(np.count_nonzero(new))
        places_for = blank(self._row_count - start, ROW)
        places_for["span"], places_for["deleted"] = distinct[new], True
        self._rows = appended(self._rows, start, places_for)
        found[new] = np.arange(start, self._row_count)
        self._spans.add(distinct[new], found[new])
        self._rows["alias"][found] = into

    def _touch(self, keys: Hashes, stamp: int) -> Rows:
        """Note that there is news of jobs; return their numbers."""
        found = self._keys.find(keys)
        new = found < 0
        fresh = keys[new]
        start, self._job_count = self._job_count, self._job_count + len(fresh)
        jobs = blank(len(fresh), JOB)
        jobs["key"], jobs["told"] = fresh, np.nan
        self._jobs = appended(self._jobs, start, jobs)
        found[new] = np.arange(start, self._job_count)
        self._keys.add(fresh, found[new])
        self._jobs["stamp"][found] = stamp
        return found

    def rename(self, jobs: Rows, name_keys: Hashes) -> None:
        """Set by what name children know each of `jobs`; 0 for none."""
        changed = self._jobs["name_key"][jobs] != name_keys
        jobs, name_keys = jobs[changed], name_keys[changed]
        self._jobs["name_key"][jobs] = name_keys
        named = name_keys != 0
        self._names.swap(*_first_of_each(name_keys[named], jobs[named]))

    # forgetting

    def forget(self, stamp: int) -> int:
        """Forget the jobs without news since tick `stamp`; numbers change. Returns how many."""
        gone = self.jobs["stamp"] <= stamp
        number = int(np.count_nonzero(gone))
        if number == 0:
            return 0
        jobs = self.jobs.compress(~gone)
        row_jobs = self._keys.find(self.rows["key"])
        # places for merged rows go with what they were merged into
        alias = self.rows["alias"]
        row_jobs = np.where((row_jobs < 0) & (alias >= 0), row_jobs[alias], row_jobs)
        kept = (row_jobs >= 0) & ~gone[row_jobs]
        rows = self.rows.compress(kept)
        place = np.where(kept, np.cumsum(kept) - 1, NONE)
        rows["alias"] = np.where(rows["alias"] >= 0, place[rows["alias"]], NONE)
        self.load(rows, jobs)
        return number

    def load(self, rows: Records, jobs: Records) -> None:
        """Take over rows and jobs, and build the indexes anew."""
        self._row_count, self._job_count = len(rows), len(jobs)
        self._rows, self._jobs = appended(blank(_FEWEST, ROW), 0, rows), appended(blank(_FEWEST, JOB), 0, jobs)
        self._index()
        numbers = np.arange(len(rows))
        self._spans.add(rows["span"], numbers)
        self._add_bulk(numbers)
        self._keys.add(jobs["key"], np.arange(len(jobs)))
        self._jobs["block"] = NONE
        of_rows = self._keys.find(rows["key"])
        order = np.argsort(of_rows)
        # places for merged rows are of no job
        order = order[np.count_nonzero(of_rows < 0) :]
        starts = changes(of_rows[order])[:-1]
        self._chain(of_rows[order][starts], order, starts)
        named = np.flatnonzero(jobs["name_key"])
        self._names.add(*_first_of_each(jobs["name_key"][named], named))


def _first_of_each(name_keys: Hashes, jobs: Rows) -> tuple[Hashes, Rows]:
    """Return the distinct names, and the first of `jobs` that has each: two jobs with one name should not be."""
    order = order_of(name_keys)
    starts = changes(name_keys[order])[:-1]
    firsts = np.minimum.reduceat(order, starts) if len(starts) else starts
    return name_keys[firsts], jobs[firsts]


def _by_job_and_time(numbers: Rows, times: npt.NDArray[np.uint64], spans: Hashes) -> Rows:
    """Return the order by `numbers` and times, and by spans where both are equal."""
    if len(numbers) == 0:
        return numbers
    since = times - times.min()
    room = 63 - int(numbers.max()).bit_length()
    if int(since.max()) < 1 << room:
        # one number to sort by is several times cheaper than three
        keys = (numbers << room) | since.view(np.int64)
        order: Rows = np.argsort(keys)
        keys = keys[order]
        if not (keys[1:] == keys[:-1]).any():
            return order
    return np.lexsort((spans, times, numbers))
