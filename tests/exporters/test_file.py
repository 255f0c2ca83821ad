from __future__ import annotations

import os
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cramjam
import orjson
import pytest
from pydantic import ValidationError

from exporters.file import FileConfig, FileExporter, Rotation, expired
from pipeline import ComponentId, Signal, StartError, Unavailable, otlp
from pipeline.testing import FakeHost, logs_batch, points_batch, spans_batch


@asynccontextmanager
async def writing(host: FakeHost, **keys: Any) -> AsyncIterator[FileExporter]:
    exporter = FileExporter(FileConfig.model_validate(keys), ComponentId("file"))
    await exporter.start(host)
    yield exporter
    await exporter.stop()


def framed(data: bytes) -> list[bytes]:
    """Return the records behind their lengths."""
    records = []
    while data:
        length = int.from_bytes(data[:4], "big")
        records.append(data[4 : 4 + length])
        data = data[4 + length :]
    return records


async def test_json_lines_read_back_as_they_went(tmp_path: Path, host: FakeHost) -> None:
    """Scenario: one batch of each signal. Guarantees: one line each, and decoding a line gives the batch again."""
    path = tmp_path / "out.jsonl"
    batches = [spans_batch(12), points_batch(3), logs_batch(2)]

    async with writing(host, path=str(path)) as exporter:
        for batch in batches:
            await exporter.export(batch)
        on_disk = path.read_bytes()

    lines = on_disk.splitlines()
    assert [next(iter(orjson.loads(line))) for line in lines] == ["resourceSpans", "resourceMetrics", "resourceLogs"]
    for line, batch, signal in zip(lines, batches, Signal, strict=True):
        assert otlp.decode_json(signal, [line]).table.equals(batch.table)


@pytest.mark.parametrize("keys", [{"format": "proto"}, {"format": "proto", "compression": "zstd"}])
async def test_length_prefixed_protobuf(tmp_path: Path, host: FakeHost, keys: dict[str, str]) -> None:
    """Scenario: two batches as protobuf, plain and compressed.

    Guarantees: each behind its length, each decodes to its batch.
    """
    path = tmp_path / "out.pb"
    async with writing(host, path=str(path), **keys) as exporter:
        for rows in (1, 5):
            await exporter.export(spans_batch(rows))

    records = framed(path.read_bytes())
    if "compression" in keys:
        records = [bytes(cramjam.zstd.decompress(record)) for record in records]
    assert [otlp.decode(Signal.TRACES, [record]).table.num_rows for record in records] == [1, 5]


async def test_begins_anew_or_appends(tmp_path: Path, host: FakeHost) -> None:
    """Scenario: the file is there from an earlier run. Guarantees: truncated by default, kept with append."""
    path = tmp_path / "out.jsonl"
    for append, lines in ((False, 1), (True, 2), (False, 1)):
        async with writing(host, path=str(path), append=append) as exporter:
            await exporter.export(spans_batch(1))
        assert len(path.read_bytes().splitlines()) == lines


async def test_rotates_before_the_limit(tmp_path: Path, host: FakeHost) -> None:
    """Scenario: requests of about 0.7 MiB, files of 1 MiB, two old ones kept.

    Guarantees: no file over the limit, no request cut, oldest deleted.
    """
    path = tmp_path / "out.jsonl"
    batch = spans_batch(2000)
    rotation = {"max_megabytes": 1, "max_backups": 2}
    async with writing(host, path=str(path), rotation=rotation) as exporter:
        for _ in range(6):
            await exporter.export(batch)

    files = sorted(tmp_path.iterdir())
    assert len(files) == 3
    for file in files:
        assert file.stat().st_size <= 1024 * 1024
        assert all(orjson.loads(line) for line in file.read_bytes().splitlines())


def test_which_old_files_go(tmp_path: Path) -> None:
    """Scenario: five old files of ages 1 to 5 days.

    Guarantees: those beyond the number and those beyond the age go, oldest first.
    """
    now = datetime(2026, 11, 22, tzinfo=UTC)
    files = []
    for days in (5, 4, 3, 2, 1):
        file = tmp_path / f"out-{days}"
        file.touch()
        os.utime(file, (now.timestamp() - days * 86_400, now.timestamp() - days * 86_400))
        files.append(file)

    assert expired(files, Rotation(max_backups=0), now) == []
    assert expired(files, Rotation(max_backups=3), now) == files[:2]
    assert expired(files, Rotation(max_backups=0, max_days=3), now) == files[:2]


async def test_rotation_touches_its_own_files_only(tmp_path: Path, host: FakeHost) -> None:
    """Scenario: neighbours with names like those of old files, one of them another exporter's.

    Guarantees: they stay.
    """
    neighbours = [tmp_path / name for name in ("out-errors.jsonl", "out-0.jsonl")]
    for neighbour in neighbours:
        neighbour.write_text("mine", encoding="ascii")
        os.utime(neighbour, (0, 0))
    rotation = {"max_megabytes": 1, "max_backups": 1, "max_days": 1}
    async with writing(host, path=str(tmp_path / "out.jsonl"), rotation=rotation) as exporter:
        for _ in range(5):
            await exporter.export(spans_batch(2000))

    assert [neighbour.read_text(encoding="ascii") for neighbour in neighbours] == ["mine", "mine"]
    assert len(list(tmp_path.iterdir())) == 4


async def test_a_rotation_that_failed_half_way_heals(tmp_path: Path, host: FakeHost) -> None:
    """Scenario: the new file cannot be opened for a while.

    Guarantees: Unavailable, and the next attempt after the cure works.
    """
    path = tmp_path / "out.jsonl"
    async with writing(host, path=str(path), rotation={"max_megabytes": 1}) as exporter:
        await exporter.export(spans_batch(2000))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            with pytest.raises(Unavailable, match="Too many open files"):
                await exporter.export(spans_batch(2000))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await exporter.export(spans_batch(2000))

    assert len(list(tmp_path.iterdir())) == 2
    assert len(path.read_bytes().splitlines()) == 1


async def test_no_room_leaves_no_torn_line(tmp_path: Path, host: FakeHost) -> None:
    """Scenario: the system takes only a part of a request (a file size limit, as a full disk would), then all of it.

    Guarantees: Unavailable with the system's words, the engine keeps the batch; after a retry each line is whole.
    """
    path = tmp_path / "out.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with writing(host, path=str(path)) as exporter:
        await exporter.export(spans_batch(1))
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 1000, hard))
        try:
            with pytest.raises(Unavailable, match=r"cannot write .*out\.jsonl: File too large"):
                await exporter.export(spans_batch(50))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await exporter.export(spans_batch(50))

    lines = path.read_bytes().splitlines()
    assert [otlp.decode_json(Signal.TRACES, [line]).table.num_rows for line in lines] == [1, 50]


async def test_a_folder_that_is_not_there(tmp_path: Path, host: FakeHost) -> None:
    """Scenario: no such folder. Guarantees: a start error with the path; made where `create_directory` is on."""
    path = tmp_path / "a" / "b" / "out.jsonl"
    with pytest.raises(StartError, match=f"file: cannot write {path}: No such file or directory"):
        async with writing(host, path=str(path)):
            pass

    async with writing(host, path=str(path), create_directory=True) as exporter:
        await exporter.export(spans_batch(1))
    assert path.exists()


@pytest.mark.parametrize("keys", [{"rotation": {}}, {"compression": "zstd"}])
def test_append_contradicts(keys: dict[str, Any]) -> None:
    """Scenario: append with rotation or compression. Guarantees: refused, naming both."""
    with pytest.raises(ValidationError, match=r"append and (rotation|compression) enabled at the same time"):
        FileConfig.model_validate({"path": "x", "append": True, **keys})
