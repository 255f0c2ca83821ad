"""The contract of components: receivers, processors, exporters, extensions, and the host they live in.

A component is built from its validated config, without I/O and without tasks (`jobsight validate` builds all of them),
then started, then stopped. The engine owns loops, queues, retries, time and signals; a component never sees them.

Start goes from the sinks to the sources: extensions, exporters, processors, receivers. Stop goes the other way.
"""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from structlog.typing import FilteringBoundLogger

from pipeline.batch import Batch
from pipeline.clock import Clock
from pipeline.config import Config
from pipeline.kinds import Kind, Signal
from pipeline.metrics import Metrics

C = TypeVar("C", bound=Config)
E = TypeVar("E")

_TYPE = re.compile(r"[a-zA-Z][0-9a-zA-Z_]{0,62}")


@dataclass(frozen=True, slots=True)
class ComponentId:
    """`type` or `type/name`, as components are named in the YAML."""

    type: str
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> ComponentId:
        """Raises ValueError in the Collector's words (its `component.ID.UnmarshalText`)."""
        if not text:
            raise ValueError("id must not be empty")
        type_, slash, name = (part.strip() for part in text.partition("/"))
        if not type_:
            raise ValueError(f'in "{text}" id: the part before / should not be empty')
        if slash and not name:
            raise ValueError(f'in "{text}" id: the part after / should not be empty')
        if not _TYPE.fullmatch(type_):
            raise ValueError(f'in "{text}" id: invalid character(s) in type "{type_}"')
        if len(name) > 1024:
            raise ValueError(f'in "{text[:40]}..." id: name is longer than 1024 characters ({len(name)} characters)')
        if not name.isprintable() or " " in name:
            raise ValueError(f'in "{text}" id: invalid character(s) in name "{name}"')
        return cls(type_, name)

    def __str__(self) -> str:
        return f"{self.type}/{self.name}" if self.name else self.type


class Host(Protocol):
    """What the engine gives a component at its start."""

    clock: Clock
    metrics: Metrics
    log: FilteringBoundLogger

    async def emit(self, batch: Batch) -> None:
        """Hand a batch to every pipeline that names this receiver; receivers only.

        Waits while a pipeline is full. On return the pipelines have the batch and owe its receipt; if the wait is
        cancelled, no pipeline has it. Raises ShuttingDown once the pipelines drain.
        """

    def spawn(self, coro: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run a task that the service owns: it is cancelled after `stop`, and its crash becomes an orderly stop."""

    def extension(self, type_: type[E]) -> E:
        """Return the started extension that is an `E`: a class of extensions, or one that is mixed into them.

        Raises StartError, naming it, if the config starts none.
        """

    def signals(self) -> frozenset[Signal]:
        """The signals of the pipelines that name this component."""

    def needs_columns(self, signal: Signal) -> bool:
        """Whether anything behind this receiver looks into the signal's rows; if not, `RequestBatch`es will do."""

    def stop_service(self, reason: str) -> None:
        """Ask for an orderly stop of the whole program, with exit code 1 and `reason` as its last word."""


class Component(ABC, Generic[C]):
    """One configured component. `kind` is its YAML type, `aliases` other spellings that the Collector has for it."""

    kind: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    Config: ClassVar[type[Config]]

    def __init__(self, config: C, ident: ComponentId) -> None:
        self.config = config
        self.ident = ident

    async def start(self, host: Host) -> None:
        """Acquire what is needed and return soon; long work goes to `host.spawn`. Raises StartError."""

    async def stop(self) -> None:
        """Release everything. Safe before start, safe twice."""

    def guide(self) -> Iterable[tuple[str, str]]:
        """Yield what a person who just started the program wants to know, as (what, where); asked once it runs."""
        return ()


class Receiver(Component[C]):
    """Takes data in and emits batches."""

    @abstractmethod
    async def stop_accepting(self) -> None:
        """Refuse new requests ("try again elsewhere") and return once those in flight are answered."""


class Processor(Component[C]):
    """Columns in, columns out: no I/O, no tasks, no clock but `tick`.

    `process` returns batches that go on, in order; what it does not return it holds (with its receipts) and returns
    from a later `process`, `tick` or `drain`. Batches without rows are settled by the engine.

    Other tasks run between two batches of what it returns and may call a `shared` processor: such a one returns a list
    and not a generator that has more to do.
    """

    handles: ClassVar[frozenset[Kind]]
    """Batches of other kinds pass by without a call."""

    shared: ClassVar[bool] = False
    """Whether all pipelines that name it share one instance, because it looks across signals.

    The first of these pipelines, in the order of the config, is its home: there it is woken and drained.
    """

    home_signal: ClassVar[Signal | None] = None
    """For a shared processor that gives back later what it held: the signal of the pipelines that can be its home.

    Each of those has an instance of its own, so that what comes back goes to the exporters that it came for; pipelines
    of other signals share the first's. None: one instance for all.
    """

    @abstractmethod
    def process(self, batch: Batch) -> Iterable[Batch]:
        """Take one batch of a handled kind."""

    def wake_at(self) -> float | None:
        """When `tick` is due next, on the engine's clock; None for never. Asked after every call."""
        return None

    def tick(self, now: float) -> Iterable[Batch]:
        """Do what is due at `now`."""
        return ()

    def drain(self) -> Iterable[Batch]:
        """Give back all that is held, decided on what is known; called once, when no batch will come any more."""
        return ()


class Exporter(Component[C]):
    """Delivers batches. Queue, time-out and retries are the engine's, from the exporter's config if it has the keys."""

    handles: ClassVar[frozenset[Kind]] = frozenset(Kind)
    """Batches of other kinds are not offered."""

    times_requests: ClassVar[bool] = False
    """Whether the exporter sees to `timeout` itself, for each of several requests that one export makes.

    Else it bounds the whole call: one that is cut off in the middle is repeated from its beginning.
    """

    def forwards(self, kind: Kind) -> bool:
        """Whether it can send a `RequestBatch` of that kind on without decoding it."""
        return False

    @abstractmethod
    async def export(self, batch: Batch) -> None:
        """Return when the rows are delivered. Raises Permanent, Transient or Partial; anything else is our bug."""

    async def check(self) -> None:
        """Make one attempt that imitates real work, for `jobsight validate --connect`."""


class Extension(Component[C]):
    """Something beside the pipelines: a health endpoint, an embedded store."""

    async def ready(self) -> None:
        """Called when all pipelines run."""

    async def not_ready(self) -> None:
        """Called when the service begins to stop."""
