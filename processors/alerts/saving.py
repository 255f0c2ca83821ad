"""What `alerts` knows as bytes and back: JSON, for there is little of it and people may want to look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydantic import TypeAdapter, ValidationError

from pipeline.alerts import Alert
from processors.alerts.tracking import GroupKey, Tracked

FORMAT: Final = 1
"""Raised when an older process could not read what a newer one saved."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What `alerts` knows."""

    group_by: tuple[str, ...]
    """How alerts were grouped."""
    alerts: list[Tracked]
    groups: list[tuple[GroupKey, int | None, Alert | None]]
    """When each was told last, and the row for it as a whole of which people know."""
    format: int = FORMAT


_SAVED: Final = TypeAdapter(Saved)


def written(saved: Saved) -> bytes:
    return _SAVED.dump_json(saved)


def read(state: bytes) -> Saved:
    """Return what `written` gave. Raises ValueError for bytes that are no such state."""
    try:
        saved = _SAVED.validate_json(state)
    except ValidationError as error:
        raise ValueError(f"not a saved state of processor alerts: {error.errors()[0]['msg']}") from error
    if saved.format != FORMAT:
        raise ValueError(f"not a saved state of processor alerts in format {FORMAT}, but {saved.format}")
    return saved
