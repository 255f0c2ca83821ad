"""What outlives a restart, as bytes and back: decisions, kept jobs, durations, errors that were seen.

What waits is no part of it: at a shutdown it is decided, and after a crash it is sent again or lost.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import orjson

from pipeline.records import Records
from processors.tail_sampling.building import Built
from processors.tail_sampling.decisions import DecisionCaches, RememberedDecisions, records
from processors.tail_sampling.jobs import FirstOfEach, JobPolicy
from processors.tail_sampling.sketch import DurationSketches

FORMAT: Final = 1
"""Raised when an older process could not read what a newer one saved."""

_NOT_ONE: Final = "not a saved state of processor tail_sampling"


class State:
    """Reads and fills what a sampler is made of.

    Policies are known again by their names, and what those of type `job` have counted by their keys.
    """

    def __init__(
        self, made: Built, decisions: DecisionCaches, kept_jobs: RememberedDecisions, sketches: DurationSketches
    ) -> None:
        self._names = made.names
        self._subs = made.subs
        self._errors = {_keys(policy): policy.errors for policy in made.jobs if policy.errors is not None}
        self._kept = {"sampled": decisions.sampled, "kept_jobs": kept_jobs}
        self._not_sampled = decisions.not_sampled
        self._sketches = sketches

    def saved(self) -> bytes:
        head = {"format": FORMAT, "names": self._names, "subs": self._subs, "errors": list(self._errors)}
        columns: dict[str, Any] = {"head": np.frombuffer(orjson.dumps(head), np.uint8)}
        for name, kept in self._kept.items():
            columns[f"{name}_keys"], columns[f"{name}_records"] = kept.items()
        columns["not_sampled"], _ = self._not_sampled.items()
        columns["classes"], columns["durations"] = self._sketches.items()
        for number, errors in enumerate(self._errors.values()):
            columns[f"errors_{number}"], columns[f"traces_{number}"] = errors.items()
        file = BytesIO()
        np.savez(file, **columns)
        return file.getvalue()

    def restore(self, state: bytes) -> None:
        """Take over what `saved` gave. Raises ValueError for bytes that are no such state."""
        try:
            with np.load(BytesIO(state), allow_pickle=False) as file:
                columns = {name: file[name] for name in file.files}
            head = orjson.loads(columns["head"].tobytes())
            known = head["format"] == FORMAT
            if known:
                self._fill(head, columns)
        except (AttributeError, EOFError, IndexError, KeyError, OSError, TypeError, ValueError, BadZipFile) as error:
            raise ValueError(f"{_NOT_ONE}: {error}") from error
        if not known:
            raise ValueError(f"{_NOT_ONE} in format {FORMAT}")

    def _fill(self, head: dict[str, Any], columns: dict[str, npt.NDArray[Any]]) -> None:
        # how long ago decisions were is not known: clocks begin anew
        for name, kept in self._kept.items():
            record = records(len(columns[f"{name}_keys"]))
            record[:] = columns[f"{name}_records"]
            self._rename(record, head["names"], head["subs"])
            record["at"] = np.nan
            kept.add(columns[f"{name}_keys"], record)
        record = records(len(columns["not_sampled"]))
        record["at"] = np.nan
        self._not_sampled.add(columns["not_sampled"], record)
        self._sketches.load(columns["classes"], columns["durations"])
        for number, keys in enumerate(head["errors"]):
            errors: FirstOfEach | None = self._errors.get(keys)
            if errors is not None:
                errors.load(columns[f"errors_{number}"], columns[f"traces_{number}"])

    def _rename(self, record: Records, names: list[str], subs: list[list[str]]) -> None:
        """Give records the numbers that policies have now; -1 for those that are gone."""
        policy, sub = np.full(len(record), -1, np.int16), np.full(len(record), -1, np.int16)
        for old, name in enumerate(names):
            if name not in self._names:
                continue
            new = self._names.index(name)
            mine = record["policy"] == old
            policy[mine] = new
            for part, sub_name in enumerate(subs[old]):
                if sub_name in self._subs[new]:
                    sub[mine & (record["sub"] == part)] = self._subs[new].index(sub_name)
        record["policy"], record["sub"] = policy, sub


def _keys(policy: JobPolicy) -> str:
    return policy.config.model_dump_json()
