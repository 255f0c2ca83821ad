"""State that outlives a restart: components that have some, the extension that keeps it, and who connects the two.

A component stays free of I/O: it turns what it knows into bytes and back. When that happens is the engine's business:
before its start, every few seconds, and after the pipelines were drained.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from pipeline.clock import Clock
from pipeline.component import Component, ComponentId
from pipeline.config import Config
from pipeline.errors import StartError
from pipeline.metrics import Metrics

_LONGEST_SHARE: Final = 1 / 20
"""Saving, which takes from the pipelines, may take this part of the time at most; a large state is saved less often."""

_DIGEST_BYTES: Final = 16


class DurableConfig(Config):
    """The keys of a component that can keep its state."""

    storage: str | None = None
    """The extension that keeps the state over a restart, for example `file_storage`; without it a restart forgets."""


class Durable(ABC):
    """A component with state that can be kept; its config is a `DurableConfig`."""

    @abstractmethod
    def state(self) -> bytes:
        """Return what is known, for `restore` in a later process."""

    def snapshot(self) -> Callable[[], bytes | memoryview]:
        """Return what makes `state` of what is known now; it is called in a thread, while the component goes on.

        For a component with much to save: it holds up the pipelines only as long as this takes.
        """
        state = self.state()
        return lambda: state

    @abstractmethod
    def restore(self, state: bytes) -> None:
        """Take over what another instance knew; before the start. Raises ValueError for what is no such state."""


class Storage(ABC):
    """An extension that keeps bytes by the name of their owner."""

    @property
    @abstractmethod
    def save_interval(self) -> float:
        """Seconds between two savings."""

    @abstractmethod
    async def load(self, owner: str) -> bytes | None:
        """Return what was saved last, None if nothing was. Raises StartError."""

    @abstractmethod
    async def save(self, owner: str, state: bytes) -> None:
        """Put `state` in the place of what was saved before, as a whole or not at all. Raises OSError."""

    @abstractmethod
    async def set_aside(self, owner: str, reason: str) -> None:
        """Deal with a saved state that its owner cannot read. Raises StartError if there is to be no new beginning."""


class StateKeeper:
    """Keeps the state of one component in one storage."""

    def __init__(
        self,
        component: Durable,
        owner: str,
        storage: Storage,
        *,
        clock: Clock,
        metrics: Metrics,
        log: FilteringBoundLogger,
    ) -> None:
        """`owner` names the component for ever: what the storage has under this name is its state."""
        self._component = component
        self._owner = owner
        self._storage = storage
        self._clock = clock
        self._log = log
        self._saved = b""
        """Digest of what this process saved last."""
        nbytes = metrics.gauge("jobsight_state_bytes", "Size of the state as last saved.", "owner")
        failures = metrics.counter("jobsight_state_failed_saves", "Attempts to save state that failed.", "owner")
        self._nbytes = nbytes.labels(owner)
        self._failures = failures.labels(owner)

    async def restore(self) -> None:
        """Give the component what it knew. Raises StartError."""
        state = await self._storage.load(self._owner)
        if state is None:
            return
        try:
            self._component.restore(_checked(state))
        except ValueError as error:
            await self._storage.set_aside(self._owner, str(error))
            return
        self._nbytes.set(len(state))
        self._log.info("State restored.", bytes=len(state))

    async def keep(self) -> None:
        """Save now and then, for ever."""
        pause = self._storage.save_interval
        while True:
            await self._clock.sleep_until(self._clock.now() + pause)
            began = self._clock.now()
            await self.save()
            pause = max(self._storage.save_interval, (self._clock.now() - began) / _LONGEST_SHARE)

    async def save(self) -> None:
        """Save what changed since; a failure is told, and the next time may go better."""
        sealed = await asyncio.to_thread(_sealed, self._component.snapshot())
        digest = sealed[:_DIGEST_BYTES]
        if digest == self._saved:
            return
        try:
            await self._storage.save(self._owner, sealed)
        except OSError as error:
            self._failures.inc()
            self._log.error("State was not saved; a crash would fall back to the one before.", error=str(error))
            return
        self._saved = digest
        self._nbytes.set(len(sealed))


def _sealed(serialise: Callable[[], bytes | memoryview]) -> bytes:
    """Return the state with its digest in front."""
    state = serialise()
    return b"".join((_digest(state), state))


def _digest(state: bytes | memoryview) -> bytes:
    return blake2b(state, digest_size=_DIGEST_BYTES).digest()


def _checked(saved: bytes) -> bytes:
    """Return the state behind its digest. Raises ValueError if they do not fit."""
    state = saved[_DIGEST_BYTES:]
    if _digest(state) != saved[:_DIGEST_BYTES]:
        raise ValueError("the saved state is damaged: its checksum differs")
    return state


def owner_of(role: str, ident: ComponentId) -> str:
    """Return the name under which a component's state is kept: `processor_jobs_`, as the Collector names its files."""
    return f"{role}_{ident.type}_{ident.name}"


def storage_of(component: Component[Any], extensions: dict[ComponentId, Any]) -> Storage | None:
    """Return the storage that a component's config names, None without one. Raises StartError."""
    config = component.config
    if not isinstance(component, Durable) or not isinstance(config, DurableConfig) or config.storage is None:
        return None
    storage = extensions.get(ComponentId.parse(config.storage))
    if not isinstance(storage, Storage):
        raise StartError(f'{component.ident}: storage: no storage extension "{config.storage}" is started')
    return storage
