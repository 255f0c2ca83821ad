"""State over restarts: the keeper under a fake clock, with a storage that can fail."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config.load import load_plan
from pipeline.durable import Durable, StateKeeper, Storage
from pipeline.errors import ConfigError, StartError
from pipeline.registry import Registry
from pipeline.testing import FakeClock, FakeHost


class Counter(Durable):
    """Knows a number."""

    value = 0

    def state(self) -> bytes:
        return b"%d" % self.value

    def restore(self, state: bytes) -> None:
        self.value = int(state)


class Memory(Storage):
    """Keeps states in a dict; `broken` makes saving fail."""

    save_interval = 10.0

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.saves = 0
        self.broken = False
        self.saved = asyncio.Event()

    async def load(self, owner: str) -> bytes | None:
        return self.kept.get(owner)

    async def save(self, owner: str, state: bytes) -> None:
        self.saves += 1
        self.saved.set()
        if self.broken:
            raise OSError("disk full")
        self.kept[owner] = state

    async def set_aside(self, owner: str, reason: str) -> None:
        if "checksum" not in reason:
            raise StartError(reason)
        del self.kept[owner]


def keeper(counter: Counter, memory: Memory, host: FakeHost) -> StateKeeper:
    return StateKeeper(counter, "counter", memory, clock=host.clock, metrics=host.metrics, log=host.log)


def metric(host: FakeHost, name: str) -> float | None:
    return host.metrics.registry.get_sample_value(name, {"owner": "counter"})


async def test_saves_what_changed() -> None:
    """Scenario: saved unchanged, changed, changed on a disk that fails for once.

    Guarantees: one write a change; a failure is counted and the next time makes up for it.
    """
    counter, memory, host = Counter(), Memory(), FakeHost()
    saving = keeper(counter, memory, host)

    for _ in range(2):
        await saving.save()
    assert memory.saves == 1
    counter.value = 7
    memory.broken = True
    await saving.save()
    assert (memory.saves, metric(host, "jobsight_state_failed_saves_total")) == (2, 1)
    memory.broken = False
    await saving.save()
    assert memory.saves == 3

    again = Counter()
    await keeper(again, memory, host).restore()
    assert again.value == 7


async def test_a_snapshot_is_written_down_beside_the_event_loop() -> None:
    """Scenario: a component whose state takes long to write down changes while that is done.

    Guarantees: another thread writes it down, and what is kept is the state of the moment when saving began.
    """

    class Slow(Counter):
        begun, changed = threading.Event(), threading.Event()

        def snapshot(self) -> Callable[[], memoryview]:
            state = memoryview(self.state())

            def serialised() -> memoryview:
                self.begun.set()
                assert self.changed.wait(10)
                return state

            return serialised

    slow, memory, host = Slow(), Memory(), FakeHost()
    saving = asyncio.create_task(keeper(slow, memory, host).save())
    await asyncio.to_thread(slow.begun.wait, 10)
    slow.value = 7
    slow.changed.set()
    await saving

    again = Counter()
    await keeper(again, memory, host).restore()
    assert again.value == 0


async def test_saves_now_and_then() -> None:
    """Scenario: a state that changes, under the clock. Guarantees: nothing before the interval is over, then saved."""
    clock, counter, memory = FakeClock(), Counter(), Memory()
    host = FakeHost(clock=clock)
    host.spawn(keeper(counter, memory, host).keep(), name="keep")

    await clock.advance(9.9)
    assert memory.saves == 0
    await clock.advance(0.2)

    await asyncio.wait_for(memory.saved.wait(), 10)
    assert len(memory.kept) == 1
    await host.close()


async def test_damage_is_seen() -> None:
    """Scenario: a bit of the saved state flips. Guarantees: it is not restored; the storage is told."""
    host, memory, counter = FakeHost(), Memory(), Counter()
    counter.value = 5
    await keeper(counter, memory, host).save()
    saved = bytearray(memory.kept["counter"])
    saved[-1] ^= 1
    memory.kept["counter"] = bytes(saved)

    again = Counter()
    await keeper(again, memory, host).restore()

    assert (again.value, memory.kept) == (0, {})


@pytest.mark.parametrize(
    ("storage", "services", "problem"),
    [
        (
            "file_storage/x",
            "[file_storage, health_check]",
            r'references extension "file_storage/x" which is not config',
        ),
        ("health_check", "[file_storage, health_check]", r'extension "health_check" stores nothing; name a `file_stor'),
        ("file_storage", "[health_check]", r'extension "file_storage" is not started; list it in service.extensions'),
    ],
)
def test_a_storage_that_will_not_store(tmp_path: Path, storage: str, services: str, problem: str) -> None:
    """Scenario: `storage` names nothing, something else, something that is not started.

    Guarantees: one line with file and line.
    """
    config = tmp_path / "config.yaml"
    config.write_text(f"""
receivers: {{otlp: {{protocols: {{grpc: }}}}}}
processors:
  jobs:
    storage: {storage}
exporters: {{debug: }}
extensions: {{file_storage: , health_check: }}
service:
  extensions: {services}
  pipelines:
    traces: {{receivers: [otlp], processors: [jobs], exporters: [debug]}}
""")

    with pytest.raises(ConfigError, match=rf"config.yaml:5:\d+: processors.jobs.storage: {problem}") as raised:
        load_plan([str(config)], [], environ=os.environ, registry=Registry())
    assert len(raised.value.problems) == 1


def test_one_state_for_two_instances(tmp_path: Path) -> None:
    """Scenario: two traces pipelines have a sampler each, both by one name that keeps its state; a logs pipeline too.

    Guarantees: one line that names the pipelines; nothing is said where the second has a name of its own.
    """
    config = tmp_path / "config.yaml"
    text = """
receivers: {otlp: {protocols: {grpc: }}}
processors:
  tail_sampling: {storage: file_storage, policies: [{name: all, type: always_sample}]}
  tail_sampling/b: {storage: file_storage, policies: [{name: all, type: always_sample}]}
exporters: {debug: }
extensions: {file_storage: }
service:
  extensions: [file_storage]
  pipelines:
    traces: {receivers: [otlp], processors: [tail_sampling], exporters: [debug]}
    traces/b: {receivers: [otlp], processors: [SECOND], exporters: [debug]}
    logs: {receivers: [otlp], processors: [tail_sampling], exporters: [debug]}
"""
    config.write_text(text.replace("SECOND", "tail_sampling"))
    expected = r"processors.tail_sampling.storage: pipelines traces, traces/b have one tail_sampling each"
    with pytest.raises(ConfigError, match=expected) as raised:
        load_plan([str(config)], [], environ=os.environ, registry=Registry())
    assert len(raised.value.problems) == 1

    config.write_text(text.replace("SECOND", "tail_sampling/b"))
    load_plan([str(config)], [], environ=os.environ, registry=Registry())
