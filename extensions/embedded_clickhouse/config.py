"""The extension's keys."""

from __future__ import annotations

import os
from typing import Annotated, Final

from pydantic import Field

from extensions.embedded_clickhouse.settings import Credentials, ReaderLimits, StoreSettings
from pipeline import Config
from pipeline.config.values import ByteSize, Duration, Endpoint, Secret, split_endpoint

_LOCK_SECONDS: Final = 8.0
"""How long to wait for a store that is just ending: it gives inserts 5 s to end."""


class EmbeddedClickHouseConfig(Config):
    path: Annotated[str, Field(min_length=1)] = "./data/clickhouse"
    """The directory of the store; it is created. One process at a time can have it open."""

    endpoint: Endpoint = "localhost:8123"
    """Where ClickHouse's HTTP interface listens. Anyone who reaches it may read; see `read_password`."""

    read_password: Secret | None = None
    """The password that readers (user `default`) must give. None by default, which suits the loopback address."""

    max_server_memory_usage: Annotated[ByteSize, Field(ge=200_000_000)] = 700_000_000
    """Memory that the engine may allocate; a query or insert over it fails with code 241 and the store goes on. The
    process as a whole takes up to 250 MB more."""

    max_threads: Annotated[int, Field(ge=1, le=256)] = Field(default_factory=lambda: min(os.cpu_count() or 2, 8))
    """Threads of one query; the machine's processors, at most 8, by default."""

    max_concurrent_queries: Annotated[int, Field(ge=1, le=100)] = 8
    """Queries that run at a time; others wait up to 10 s, then fail with code 202. Inserts do not count."""

    max_execution_time: Duration = 30.0
    """How long a reader's query may take; 0 for any time."""

    max_memory_usage: ByteSize = 300_000_000
    """Memory of one reader's query; 0 for what the server has."""

    max_result_rows: Annotated[int, Field(ge=0)] = 1_000_000
    """Rows that a reader's query may return; 0 for any number. More is an error, never a part of the result."""

    max_request_body_size: Annotated[ByteSize, Field(gt=0)] = 512 << 20
    """The largest insert, decompressed; it is held in memory while it is written."""

    start_timeout: Annotated[Duration, Field(gt=0)] = 60.0
    """How long the store may take to open: it loads and checks every part of every table."""

    stop_timeout: Annotated[Duration, Field(gt=0)] = 20.0
    """How long the store may take to end before it is killed, which loses nothing that was acknowledged."""

    def store(self, credentials: Credentials) -> StoreSettings:
        """Return what the store's process is told."""
        host, port = split_endpoint(self.endpoint)
        return StoreSettings(
            path=os.path.abspath(self.path),  # noqa: PTH100 - Path.absolute keeps "..", resolve follows links
            host=host,
            port=port,
            credentials=credentials,
            max_server_memory_usage=self.max_server_memory_usage,
            max_threads=self.max_threads,
            max_concurrent_queries=self.max_concurrent_queries,
            max_request_body_size=self.max_request_body_size,
            lock_timeout=min(_LOCK_SECONDS, self.start_timeout / 2),
            limits=ReaderLimits(self.max_execution_time, self.max_memory_usage, self.max_result_rows),
        )
