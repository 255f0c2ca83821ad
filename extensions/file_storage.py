"""Keeps the state of components in files, one a component, over restarts.

A state is always written anew, beside the old one, and then takes its name: a crash leaves the one or the other.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Final

from pydantic import Field
from structlog.typing import FilteringBoundLogger

from pipeline import Config, Extension, Host, StartError
from pipeline.config.values import ByteSize, Duration
from pipeline.durable import Storage
from pipeline.errors import system_words

_LOCK: Final = "lock"
_RETRY_LOCK_SECONDS: Final = 0.1
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]")


class FileStorageConfig(Config):
    directory: str = Field("/var/lib/otelcol/file_storage", min_length=1)
    """Where the files are; it must be there unless `create_directory` is on. Only one collector may use it."""

    create_directory: bool = False
    directory_permissions: str = Field("0750", pattern="^[0-7]{3,4}$")

    timeout: Duration = Field(1.0, ge=0)
    """How long to wait for another collector to let go of the directory."""

    save_interval: Duration = Field(30.0, gt=0)
    """How often state that changed is written; a crash falls back to what was written last."""

    fsync: bool = True
    """Wait until the disk has it."""

    max_size: ByteSize = Field(0, ge=0)
    """A larger state is not written; 0 for no limit."""

    recreate: bool = True
    """Put a file that cannot be read aside, as `<name>.<time>.backup`, and begin anew. Off: do not start."""

    ignored_keys: ClassVar[Mapping[str, str]] = {"compaction": "files are written anew each time and never grow holes"}


class FileStorage(Extension[FileStorageConfig], Storage):
    """Lets components that name it in `storage:` find after a restart what they knew before."""

    kind = "file_storage"
    Config = FileStorageConfig

    _lock: int | None = None
    _log: FilteringBoundLogger

    @property
    def save_interval(self) -> float:
        return self.config.save_interval

    async def start(self, host: Host) -> None:
        self._log = host.log
        directory = Path(self.config.directory)
        deadline = host.clock.now() + self.config.timeout
        try:
            self._lock = self._opened(directory)
            while not _locked(self._lock):
                if host.clock.now() >= deadline:
                    raise StartError(f"{self.ident}: directory {directory} is used by another collector")
                await host.clock.sleep_until(host.clock.now() + _RETRY_LOCK_SECONDS)
        except FileNotFoundError as error:
            raise StartError(
                f"{self.ident}: directory must exist: {directory}. "
                "You can enable the create_directory option to automatically create it"
            ) from error
        except OSError as error:
            # Making a directory says "file exists" where a file stands in its place.
            why = "not a directory" if isinstance(error, FileExistsError) else system_words(error)
            raise StartError(f"{self.ident}: cannot use directory {directory}: {why}") from error

    def _opened(self, directory: Path) -> int:
        if self.config.create_directory:
            directory.mkdir(int(self.config.directory_permissions, 8), parents=True, exist_ok=True)
        return os.open(directory / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)

    async def stop(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def load(self, owner: str) -> bytes | None:
        try:
            return await asyncio.to_thread(self._path(owner).read_bytes)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StartError(f"{self.ident}: cannot read {self._path(owner)}: {system_words(error)}") from error

    async def save(self, owner: str, state: bytes) -> None:
        if self.config.max_size and len(state) > self.config.max_size:
            raise OSError(f"the state of {owner} has {len(state)} bytes, over max_size ({self.config.max_size})")
        path = self._path(owner)
        try:
            await asyncio.to_thread(_replace, path, state, fsync=self.config.fsync)
        except OSError as error:
            raise OSError(f"cannot write {path}: {system_words(error)}") from error

    async def set_aside(self, owner: str, reason: str) -> None:
        path = self._path(owner)
        if not self.config.recreate:
            raise StartError(
                f"{self.ident}: {path}: {reason}. Set `recreate: true` to put the file aside and begin anew"
            )
        backup = path.with_name(f"{path.name}.{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}.backup")
        try:
            path.rename(backup)
        except OSError as error:
            raise StartError(f"{self.ident}: {path}: {reason}; cannot put it aside: {system_words(error)}") from error
        self._log.error("State was not readable; beginning anew.", reason=reason, backup=str(backup))

    def _path(self, owner: str) -> Path:
        """Return the file of an owner; what is not safe in a name is `~` and its code, as in the Collector."""
        return Path(self.config.directory) / _UNSAFE.sub(lambda found: f"~{ord(found[0]):04X}", owner)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _replace(path: Path, content: bytes, *, fsync: bool) -> None:
    """Put a file in the place of another, whole or not at all."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        with open(fresh, "wb", opener=_private) as file:
            file.write(content)
            file.flush()
            if fsync:
                os.fsync(file.fileno())
        fresh.replace(path)
        if fsync:
            _sync_directory(path.parent)
    except OSError:
        with suppress(OSError):
            fresh.unlink()
        raise


def _private(path: str, flags: int) -> int:
    """States have messages of errors in them: nobody else is to read them."""
    return os.open(path, flags, 0o600)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
