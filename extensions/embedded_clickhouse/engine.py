"""chdb, the ClickHouse that runs inside this process: opening it safely, running statements, stopping it in order.

Everything that is known to lose data, hang or crash in chdb is kept in here:

- inserts never use `Connection.send_insert`, which reports success when the write failed; they read a file;
- streamed results never use `send_query`, whose every chunk is a document of its own; they are written to a pipe;
- every statement has a handle of its own (150 us): `USE` and `SET` do not leak, and handles run in parallel;
- the process never forks after the import, and chdb's signal handlers are removed, or a crash would be a hang.

All methods block and are called from threads, except `open`, which wants the main thread.
"""

from __future__ import annotations

import faulthandler
import fcntl
import os
import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extensions.embedded_clickhouse.failures import CannotOpen, QueryFailed
from extensions.embedded_clickhouse.guard import Guard
from extensions.embedded_clickhouse.server_config import server_config
from extensions.embedded_clickhouse.statements import quote, quote_name, split_output

if TYPE_CHECKING:
    from chdb.state.sqlitelike import Connection

    from extensions.embedded_clickhouse.settings import StoreSettings

_OPEN_FILES = 65_536
"""Merging parts of 22 columns holds over 800 files; the usual soft limit of 1024 makes inserts fail with errno 24."""

_LOCK_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement and its circumstances."""

    sql: str
    tag: str
    """Marks the query in `system.processes` (as `log_comment`), so that it can be killed."""

    database: str = ""
    default_format: str = "TabSeparated"
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    writer: bool = False
    """Writers' statements are checked for what breaks the store; readers' for everything that is not reading."""

    get: bool = False
    """Asked for with GET, which implies reading."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a statement did."""

    body: bytes
    read_rows: int
    read_bytes: int
    written_rows: int
    written_bytes: int
    elapsed_ns: int


class Engine:
    """The open store."""

    def __init__(self, path: str, keeper: Connection, guard: Guard) -> None:
        self._path = path
        self._keeper = keeper  # one handle stays open: the engine ends with its last handle
        self._guard = guard
        self.version, self.timezone = _row(keeper, "SELECT version(), timezone()")

    @classmethod
    def open(cls, settings: StoreSettings) -> Engine:
        """Open the directory, creating it if need be. Raises CannotOpen.

        Call once a process, early and in the main thread: the import changes the working directory for a moment, and
        the engine cannot be opened a second time with another path.
        """
        path = Path(settings.path)
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)  # telemetry is nobody else's business
            _wait_for_lock(path, settings.lock_timeout)
            config = path / "jobsight-engine.xml"
            config.write_text(server_config(settings), encoding="utf-8")
        except OSError as error:
            raise CannotOpen(
                f"cannot use {path} for the embedded ClickHouse: {error.strerror}; "
                "give a directory that this user may write, as `path`"
            ) from error
        _raise_open_files()
        import chdb  # starts an engine: only here, after the checks

        try:
            keeper: Connection = chdb.connect(f"{path}?config-file={config}")
        except Exception as error:  # chdb has no one class for its errors
            raise CannotOpen(f"cannot open the ClickHouse store in {path}: {_one_line(error)}") from error
        native: Any = chdb._chdb  # noqa: SLF001 - the only way to them
        native.reset_signal_handlers()  # with chdb's own ones a segmentation fault hangs the process
        faulthandler.enable()
        try:
            _close_file_system(keeper, path)
            return cls(str(path), keeper, Guard.of(keeper))
        except Exception as error:
            keeper.close()
            if isinstance(error, CannotOpen):
                raise
            raise CannotOpen(f"cannot open the ClickHouse store in {path}: {_one_line(error)}") from error

    def run(self, statement: Statement) -> Done:
        """Run a statement and return its result as a whole. Raises QueryFailed."""
        output = split_output(statement.sql)
        with self._handle(statement) as handle:
            self._guard.check(handle, output.without_format, statement)
            # what runs is what was checked, to the letter
            format_ = output.format or statement.default_format
            return _query(handle, output.without_format, format_, statement.parameters)

    def stream(self, statement: Statement, write_fd: int) -> Done:
        """Run a query and write its rows to `write_fd`, a pipe, as they come; `body` of the result is empty.

        Waits while the pipe is full; ends early, without an error, when nobody reads it any more. Raises QueryFailed,
        also after rows have been written.
        """
        output = split_output(statement.sql)
        with self._handle(statement) as handle:
            self._guard.check(handle, output.without_format, statement)
            sql = output.into_file(f"/proc/self/fd/{write_fd}", statement.default_format)
            return _query(handle, sql, "Null", statement.parameters)

    def insert(self, statement: Statement) -> Done:
        """Run an INSERT that reads a file of ours: it can do nothing else, so it is not checked. Raises QueryFailed.

        On return the rows are in the table (or were dropped as a repetition of the same deduplication token).
        """
        with self._handle(statement) as handle:
            return _query(handle, statement.sql, "Null", statement.parameters)

    def kill(self, tag: str | None) -> None:
        """Ask the query with this tag, or every query, to stop; returns at once."""
        which = "1" if tag is None else f"Settings['log_comment'] = {quote(tag)}"
        with self._connect() as handle:
            _query(handle, f"KILL QUERY WHERE {which} ASYNC", "Null", {})

    def close(self) -> None:
        """Close the last handle; no statement may be running."""
        self._keeper.close()

    @contextmanager
    def _handle(self, statement: Statement) -> Iterator[Connection]:
        with self._connect() as handle:
            if statement.database:
                _query(handle, f"USE {quote_name(statement.database)}", "Null", {})
            pairs = {**statement.settings, "log_comment": statement.tag}
            listed = ", ".join(f"{quote_name(name)} = {quote(value)}" for name, value in pairs.items())
            _query(handle, f"SET {listed}", "Null", {})
            yield handle

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        import chdb

        try:
            handle = chdb.connect(self._path)
        except Exception as error:
            raise QueryFailed.from_engine(error) from error
        with handle:
            yield handle


def _query(handle: Connection, sql: str, format_: str, parameters: Mapping[str, str]) -> Done:
    started = time.perf_counter_ns()
    try:
        result: Any = handle.query(sql, format_, params=dict(parameters))
    except Exception as error:
        raise QueryFailed.from_engine(error) from error
    return Done(
        result.bytes() or b"",
        result.rows_read(),
        result.bytes_read(),
        result.rows_written(),
        result.bytes_written(),
        time.perf_counter_ns() - started,
    )


def _close_file_system(keeper: Connection, path: Path) -> None:
    """Make `default` an ordinary database.

    chdb opens it with the engine Overlay, in which any file of the machine is a table: SELECT * FROM `/etc/passwd`
    works there, with readonly = 1 too. What lies below is an Atomic database if we made it, and is attached as that.
    Raises CannotOpen, with nothing changed, if tables of `default` would be lost by that.
    """
    engine, uuid = _row(keeper, "SELECT engine, uuid FROM system.databases WHERE name = 'default'")
    if engine != "Overlay":
        return
    declared = path / "metadata" / "default.sql"
    if declared.exists() and uuid in declared.read_text(encoding="utf-8"):
        keeper.query("DETACH DATABASE default")
        keeper.query("ATTACH DATABASE default")
        return
    # XXX: before its first table, an Atomic `default` is not recognised when the store is opened again
    (tables,) = _row(keeper, "SELECT count() FROM system.tables WHERE database = 'default'")
    if tables != "0" or (declared.exists() and (path / "metadata" / "default").exists()):
        raise CannotOpen(
            f"{path} was made by another program with chdb and has {tables} tables in `default`: "
            "give a new directory, as `path`"
        )
    keeper.query("DROP DATABASE default")
    keeper.query("CREATE DATABASE default ENGINE = Atomic")


def _row(keeper: Connection, sql: str) -> list[str]:
    text: bytes = keeper.query(sql, "TSVRaw").bytes()
    return text.decode().rstrip("\n").split("\t")


def _wait_for_lock(path: Path, timeout_seconds: float) -> None:
    """Wait for the store that has the directory to end. Raises CannotOpen naming it if it does not.

    The engine itself would only say BAD_ARGUMENTS.
    """
    status = path / "status"
    deadline = time.monotonic() + timeout_seconds
    while status.exists():
        with status.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    holder = _holder(os.fstat(file.fileno()))
                    raise CannotOpen(
                        f"{path} is in use by another process{holder}: stop it, or give another directory as `path`"
                    ) from None
            else:
                return
        time.sleep(_LOCK_POLL_SECONDS)


def _holder(status: os.stat_result) -> str:
    """Name the process that has the lock on a file, as far as the system tells."""
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        # proc_locks(5): "1: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF"
        rows = [line.split() for line in Path("/proc/locks").read_text(encoding="ascii").splitlines()]
        pid = next(row[4] for row in rows if len(row) > 5 and row[1] == "FLOCK" and row[5] == file)
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (OSError, StopIteration):
        return ""
    return f" (pid {pid}: {command[:100]})"


def _raise_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
