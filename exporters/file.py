"""Writes OTLP requests to a file: one JSON object a line, or length-prefixed protobuf. With rotation.

A row is delivered when the operating system has it; when the disk does is the system's business, so a power cut may
lose the last seconds. Old files keep the Collector's names: `name-2006-01-02T15-04-05.000.ext`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path
from typing import ClassVar, Literal

import cramjam
from pydantic import Field, model_validator

from pipeline import SHAPES, Batch, Config, Exporter, Host, StartError, Unavailable
from pipeline.otlp import encode, encode_json

MEBIBYTE = 1024 * 1024
_STAMP = "%Y-%m-%dT%H-%M-%S"


class Rotation(Config):
    """When a new file begins and how long old ones stay."""

    max_megabytes: int = Field(100, gt=0)
    """A file that would grow over this is closed and renamed."""

    max_days: int = Field(0, ge=0)
    """Old files are deleted after this many days; 0 keeps them."""

    max_backups: int = Field(100, ge=0)
    """No more than this many old files are kept; 0 keeps all."""

    localtime: bool = False
    """Old files are named by local time, not UTC."""


class FileConfig(Config):
    path: str = Field(min_length=1)
    """Where to write; the folder must be there unless `create_directory` is on."""

    format: Literal["json", "proto"] = "json"
    """`json`: one OTLP/JSON request a line. `proto`: requests, each behind its length in 4 bytes, big-endian."""

    compression: Literal["zstd"] | None = None
    """`zstd`: each request is one frame, behind its length in 4 bytes, big-endian, in both formats."""

    append: bool = False
    """Add to a file that is there; off: begin anew."""

    rotation: Rotation | None = None
    create_directory: bool = False
    directory_permissions: str = Field("0755", pattern="^[0-7]{3,4}$")

    ignored_keys: ClassVar[Mapping[str, str]] = {"flush_interval": "every request is written at once"}
    unsupported_keys: ClassVar[Mapping[str, str]] = {
        "group_by": "one file an exporter; use several exporters",
        "encoding": "there are no encoding extensions; use format",
    }

    @model_validator(mode="after")
    def _check(self) -> FileConfig:
        if self.append and self.rotation is not None:
            raise ValueError("append and rotation enabled at the same time is not supported")
        if self.append and self.compression is not None:
            raise ValueError("append and compression enabled at the same time is not supported")
        return self


class FileExporter(Exporter[FileConfig]):
    kind = "file"
    Config = FileConfig
    handles = frozenset(kind for kind, shape in SHAPES.items() if shape.signal is not None)

    _file: FileIO | None = None
    _size = 0

    async def start(self, host: Host) -> None:
        path = Path(self.config.path)
        try:
            if self.config.create_directory:
                path.parent.mkdir(int(self.config.directory_permissions, 8), parents=True, exist_ok=True)
            self._open("a" if self.config.append else "w")
        except OSError as error:
            raise StartError(f"{self.ident}: cannot write {path}: {error.strerror}") from error

    async def export(self, batch: Batch) -> None:
        try:
            await asyncio.to_thread(self._write, batch)
        except OSError as error:
            raise Unavailable(f"cannot write {self.config.path}: {error.strerror}") from error

    def _write(self, batch: Batch) -> None:
        data = encode_json(batch) if self.config.format == "json" else encode(batch)
        if self.config.compression == "zstd":
            data = bytes(cramjam.zstd.compress(data))
        framed = self.config.format == "proto" or self.config.compression is not None
        record = len(data).to_bytes(4, "big") + data if framed else data + b"\n"
        rotation = self.config.rotation
        if rotation is not None and self._size and self._size + len(record) > rotation.max_megabytes * MEBIBYTE:
            self._rotate(rotation)
        # After a rotation, or one that failed half-way, the file is to be opened again.
        file = self._file or self._open("a")
        try:
            left = memoryview(record)
            while left:
                left = left[file.write(left) or 0 :]
        except OSError:
            # What was written of it is cut off, so that the file stays readable and the request can be tried again.
            if file.seekable():
                file.truncate(self._size)
                file.seek(self._size)
            raise
        self._size += len(record)

    def _open(self, mode: str) -> FileIO:
        self._file = FileIO(self.config.path, mode)
        self._size = self._file.tell() if self._file.seekable() else 0
        return self._file

    def _rotate(self, rotation: Rotation) -> None:
        path = Path(self.config.path)
        if self._file is not None:
            self._file.close()
            self._file = None
        now = datetime.now(UTC)
        stamp = now.astimezone() if rotation.localtime else now
        if path.exists():
            backup = f"{path.stem}-{stamp.strftime(_STAMP)}.{stamp.microsecond // 1000:03d}{path.suffix}"
            path.rename(path.with_name(backup))
        for old in expired(backups_of(path), rotation, now):
            with suppress(OSError):  # the next rotation tries again
                old.unlink()

    async def stop(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            await asyncio.to_thread(file.close)


def backups_of(path: Path) -> list[Path]:
    """Return the old files of `path`, oldest first: those that rotation named, and no neighbours with like names."""
    name = re.compile(rf"{re.escape(path.stem)}-\d{{4}}(-\d\d){{2}}T\d\d(-\d\d){{2}}\.\d{{3}}{re.escape(path.suffix)}")
    return sorted(file for file in path.parent.iterdir() if name.fullmatch(file.name))


def expired(backups: list[Path], rotation: Rotation, now: datetime) -> list[Path]:
    """Return which of the old files, sorted by age with the oldest first, are to be deleted."""
    surplus = backups[: max(0, len(backups) - rotation.max_backups)] if rotation.max_backups else []
    if not rotation.max_days:
        return surplus
    limit = (now - timedelta(days=rotation.max_days)).timestamp()
    return [path for path in backups if path in surplus or path.stat().st_mtime < limit]
