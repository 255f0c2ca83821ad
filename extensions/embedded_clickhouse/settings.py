"""What the store's process is told: plain values, handed over as JSON on its standard input or made by the command."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class ReaderLimits:
    """The most that one query of a reader may take; 0 means no limit. A query can ask for less, not for more."""

    max_execution_time: float = 30.0
    """Seconds."""

    max_memory_usage: int = 300 * 1000 * 1000
    """Bytes."""

    max_result_rows: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who may write, and what readers must present (nothing if `read_password` is empty)."""

    username: str
    password: str = field(repr=False)
    read_password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """One store: where it is, where it listens, what it may use."""

    path: str
    """The directory; absolute."""

    host: str
    port: int
    """0 lets the system choose one."""

    credentials: Credentials
    max_server_memory_usage: int = 700 * 1000 * 1000
    """Bytes the engine may allocate; the process takes up to 250 MB more for the library itself."""

    max_threads: int = 2
    """Threads of one query."""

    max_concurrent_queries: int = 8
    """Queries that run at a time; inserts have threads of their own."""

    max_request_body_size: int = 512 * 1024 * 1024
    """Bytes of one insert, decompressed."""

    limits: ReaderLimits = ReaderLimits()
    lock_timeout: float = 8.0
    """Seconds to wait for a store that is just ending to let go of the directory."""

    def to_json(self) -> str:
        """Return one line, secrets included: for a pipe, never for a log."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> StoreSettings:
        """Read what `to_json` wrote."""
        values = json.loads(text)
        values["credentials"] = Credentials(**values["credentials"])
        values["limits"] = ReaderLimits(**values["limits"])
        return cls(**values)
