"""Extension file_storage on a real file system."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from extensions.file_storage import FileStorage, FileStorageConfig
from pipeline import ComponentId, StartError
from pipeline.testing import FakeClock, FakeHost


def storage(folder: Path, **config: Any) -> FileStorage:
    values = {"directory": str(folder / "state"), "create_directory": True, "timeout": "0s", **config}
    return FileStorage(FileStorageConfig.model_validate(values), ComponentId("file_storage"))


@asynccontextmanager
async def started(folder: Path, **config: Any) -> AsyncIterator[FileStorage]:
    extension = storage(folder, **config)
    await extension.start(FakeHost())
    try:
        yield extension
    finally:
        await extension.stop()


@pytest.mark.parametrize("fsync", [True, False])
async def test_gives_back_what_was_saved_last(tmp_path: Path, fsync: bool) -> None:
    """Scenario: two owners, one saves twice, a restart. Guarantees: each has its last state; nobody else reads it."""
    async with started(tmp_path, fsync=fsync) as before:
        assert await before.load("processor_jobs_") is None
        await before.save("processor_jobs_", b"first")
        await before.save("processor_jobs_", b"second")
        await before.save("processor_jobs_a/b", b"other")

    async with started(tmp_path) as after:
        assert await after.load("processor_jobs_") == b"second"
        assert await after.load("processor_jobs_a/b") == b"other"
    files = sorted(path.name for path in (tmp_path / "state").iterdir())
    assert files == ["lock", "processor_jobs_", "processor_jobs_a~002Fb"]
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "state").iterdir()} == {0}
    assert (tmp_path / "state").stat().st_mode & 0o727 == 0o700


async def test_one_collector_a_directory(tmp_path: Path) -> None:
    """Scenario: a second collector on the same directory, then the first one ends.

    Guarantees: the second does not start and says why; after the end it does.
    """
    async with started(tmp_path):
        with pytest.raises(StartError, match="is used by another collector"):
            await storage(tmp_path).start(FakeHost())

    async with started(tmp_path) as extension:
        assert await extension.load("any") is None


async def test_waits_for_the_directory(tmp_path: Path, clock: FakeClock) -> None:
    """Scenario: two collectors wait for a third to let go of the directory, for one second and for three; it takes two.

    Guarantees: the first gives up after its time and not before, the second starts.
    """
    host = FakeHost(clock=clock)
    hasty, patient = storage(tmp_path, timeout="1s"), storage(tmp_path, timeout="3s")
    async with started(tmp_path):
        waiting = [asyncio.create_task(each.start(host)) for each in (hasty, patient)]
        await clock.advance(0.9)
        assert not any(task.done() for task in waiting)
        await clock.advance(1.1)
        assert [task.done() for task in waiting] == [True, False]
    await clock.advance(0.2)

    with pytest.raises(StartError, match="is used by another collector"):
        await waiting[0]
    await waiting[1]
    await hasty.stop()
    await patient.stop()


@pytest.mark.parametrize(
    ("make", "config", "message"),
    [
        (
            None,
            {"create_directory": False},
            "directory must exist: .*state. You can enable the create_directory option",
        ),
        ("file", {"create_directory": False}, "cannot use directory .*state: not a directory"),
        ("file", {}, "cannot use directory .*state: not a directory"),
    ],
)
async def test_unusable_directories(tmp_path: Path, make: str | None, config: dict[str, Any], message: str) -> None:
    """Scenario: no such directory, a file in its place. Guarantees: one line that names it."""
    if make == "file":
        (tmp_path / "state").touch()

    with pytest.raises(StartError, match=f"(?i)file_storage: {message}"):
        await storage(tmp_path, **config).start(FakeHost())


async def test_a_failed_save_leaves_the_old_state(tmp_path: Path) -> None:
    """Scenario: a state over max_size, then a directory that is gone. Guarantees: OSError; the old state stays."""
    async with started(tmp_path, max_size="1KiB") as extension:
        await extension.save("jobs", b"old")
        with pytest.raises(OSError, match=r"1025 bytes, over max_size \(1024\)"):
            await extension.save("jobs", b"x" * 1025)
        assert await extension.load("jobs") == b"old"

        (tmp_path / "state").rename(tmp_path / "moved")
        with pytest.raises(OSError, match=r"cannot write .*/state/jobs: no such file or directory"):
            await extension.save("jobs", b"new")
    assert (tmp_path / "moved" / "jobs").read_bytes() == b"old"


async def test_a_write_that_fails_half_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenario: the disk fills up while a state is written, then has room again.

    Guarantees: the error names file and cause, the old state stays, nothing half-written lies about; then it is saved.
    """

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "no matter")

    async with started(tmp_path) as extension:
        await extension.save("jobs", b"old")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match=r"^cannot write .*/state/jobs: no space left on device$"):
                await extension.save("jobs", b"new")
        assert sorted(path.name for path in (tmp_path / "state").iterdir()) == ["jobs", "lock"]
        assert await extension.load("jobs") == b"old"

        await extension.save("jobs", b"new")
        assert await extension.load("jobs") == b"new"


async def test_killed_while_writing(tmp_path: Path) -> None:
    """Scenario: killed between a new file and its name. Guarantees: the old state is read, the next one saved."""
    async with started(tmp_path) as extension:
        await extension.save("jobs", b"old")
    (tmp_path / "state" / "jobs.new").write_bytes(b"ne")

    async with started(tmp_path) as extension:
        assert await extension.load("jobs") == b"old"
        await extension.save("jobs", b"newer")
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == ["jobs", "lock"]


async def test_what_is_unreadable_is_put_aside_or_ends_the_start(tmp_path: Path) -> None:
    """Scenario: the owner refuses its state, with and without `recreate`.

    Guarantees: without, one line that says what to do and the file stays; with it, the file is a backup.
    """
    async with started(tmp_path, recreate=False) as extension:
        await extension.save("jobs", b"odd")
        with pytest.raises(StartError, match=r"jobs: too new\. Set `recreate: true`"):
            await extension.set_aside("jobs", "too new")
        assert await extension.load("jobs") == b"odd"

    async with started(tmp_path) as extension:
        await extension.set_aside("jobs", "too new")
        assert await extension.load("jobs") is None
    (backup,) = (tmp_path / "state").glob("jobs.*.backup")
    assert backup.read_bytes() == b"odd"


async def test_what_cannot_be_put_aside(tmp_path: Path) -> None:
    """Scenario: the state is unreadable, and gone by the time it is renamed. Guarantees: one line, no traceback."""
    async with started(tmp_path) as extension:
        with pytest.raises(StartError, match=r"/jobs: too new; cannot put it aside: no such file or directory$"):
            await extension.set_aside("jobs", "too new")
