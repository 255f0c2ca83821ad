"""Workflows whose graph is known: the spans that they leave behind, and the edges that are to be found in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from pipeline import Batch, ComponentId, Kind
from pipeline.alerts import Alert, read_alerts
from processors.job_dependencies import JobDependencies, JobDependenciesConfig
from processors.jobs import JobsConfig, JobsProcessor
from tests.processors.jobs.telling import Span, spans_batch

LATENCY_MS = 5


class Edge(NamedTuple):
    parent_kind: str
    parent: str
    parent_service: str
    child_kind: str
    child: str
    child_service: str
    via: str


class Place(NamedTuple):
    """A span below which something happens."""

    trace: int
    span: int
    service: str
    kind: str
    name: str
    """Class of the execution, name of the request, "" for neither."""
    instance: int = 0
    """Which execution or request it is."""
    job: tuple[str, str, int] | None = None
    """Class, service and instance of the execution of a job above, however far."""


@dataclass
class World:
    """Tells workflows; `spans` is what is sent, `calls`, `failures`, ... what is to be found, by edge."""

    spans: list[Span] = field(default_factory=list)
    calls: Counter[Edge] = field(default_factory=Counter)
    failures: Counter[Edge] = field(default_factory=Counter)
    executions: Counter[Edge] = field(default_factory=Counter)
    callers: Counter[tuple[Edge, int]] = field(default_factory=Counter)
    durations: dict[Edge, list[int]] = field(default_factory=dict)
    _ids: int = 0
    _ms: float = 0

    def _id(self) -> int:
        self._ids += 1
        return self._ids

    def _span(self, service: str, trace: int, parent: int, **how: Any) -> int:
        id_ = self._id()
        self._ms += 10
        how.setdefault("start", self._ms)
        resource: dict[str, Any] = {"service.name": service, "host.name": "h", "process.pid": 7}
        self.spans.append(Span(id_, trace=trace, parent=parent, resource=resource, **how))
        return id_

    def request(self, name: str, service: str) -> Place:
        """Let a web request come in."""
        method, route = name.split()
        trace = self._id()
        attributes = {"http.request.method": method, "http.route": route}
        span = self._span(service, trace, 0, name=method, kind="server", attributes=attributes)
        return Place(trace, span, service, "request", name, span)

    def script(self, service: str) -> Place:
        """Let something run that is neither request nor job."""
        trace = self._id()
        return Place(trace, self._span(service, trace, 0, name="rake"), service, "unknown", "")

    def below(self, place: Place, spans: int) -> Place:
        """Return a place some ordinary spans further down."""
        span = place.span
        for _ in range(spans):
            span = self._span(place.service, place.trace, span)
        return place._replace(span=span)

    def job(
        self,
        caller: Place,
        name: str,
        service: str,
        *,
        between: int = 0,
        link: bool = False,
        outcomes: Sequence[bool] = (True,),
        batch: int = 0,
    ) -> list[Place]:
        """Let `caller` enqueue a job that runs once for each of `outcomes`, all failed but where it says True.

        No outcome: it never runs. With `batch` one span enqueues so many jobs. Returns the last execution of each.
        """
        enqueuer = self.below(caller, between)
        ids = [f"{name}-{self._id()}" for _ in range(batch or 1)]
        attributes: dict[str, Any] = {"messaging.system": "sidekiq", "messaging.sidekiq.job_class": name}
        if batch:
            attributes = {"bullmq.queue.operation": "addBulk", "bullmq.queue.name": "q", "bullmq.job.bulk.count": batch}
        else:
            attributes["messaging.message_id"] = ids[0]
        enqueue = self._span(
            caller.service, caller.trace, enqueuer.span, name="publish", kind="producer", attributes=attributes
        )
        via = "link" if link and outcomes else "parent"
        known, instance = (caller.kind, caller.name, caller.service), caller.instance
        if caller.job:
            known, instance = ("job", *caller.job[:2]), caller.job[2]
        elif caller.kind == "unknown":
            known = ("unknown", "", "")
        edge = Edge(*known, "job", name, service if outcomes else "", via)
        self.calls[edge] += len(ids)
        self.callers[edge, instance] += len(ids)
        self.failures[edge] += sum(not outcomes[-1] for _ in ids) if outcomes else 0
        places = []
        for job in ids:
            for succeeded in outcomes:
                places.append(self._run(enqueue, caller.trace, name, job, service, succeeded, link=link, batch=batch))
                self.executions[edge] += 1
                self.durations.setdefault(edge, []).append(1_000_000)
        return [] if not outcomes else places[len(outcomes) - 1 :: len(outcomes)]

    def _run(
        self, enqueue: int, trace: int, name: str, job: str, service: str, succeeded: bool, *, link: bool, batch: int
    ) -> Place:
        attributes = {
            "messaging.system": "sidekiq",
            "messaging.sidekiq.job_class": name,
            "messaging.message_id": job,
        }
        if batch:
            attributes = {"bullmq.queue.operation": "process", "bullmq.job.name": name, "bullmq.job.id": job}
            attributes["bullmq.queue.name"] = "q"
        own = self._id() if link else trace
        span = self._span(
            service,
            own,
            0 if link else enqueue,
            name="process",
            kind="consumer",
            attributes=attributes,
            status="unset" if succeeded else "error",
            links=[(trace, enqueue)] if link else [],
        )
        return Place(own, span, service, "job", name, span, (name, service, span))

    def call(
        self, caller: Place, target: str, attributes: dict[str, Any], *, between: int = 0, ok: bool = True
    ) -> Place:
        """Let `caller` call something outside; from a request that is no edge."""
        below = self.below(caller, between)
        span = self._span(
            caller.service,
            caller.trace,
            below.span,
            name="call",
            kind="client",
            attributes=attributes,
            status="unset" if ok else "error",
        )
        if caller.kind == "job":
            edge = Edge("job", caller.name, caller.service, "external", target, "", "parent")
            self.calls[edge] += 1
            self.executions[edge] += 1
            self.failures[edge] += not ok
            self.callers[edge, caller.instance] += 1
            self.durations.setdefault(edge, []).append(1_000_000)
        return caller._replace(span=span, kind="unknown", name="")

    def served(self, client: Place, name: str, service: str) -> Place:
        """Let a call arrive at another service of ours."""
        method, route = name.split()
        attributes = {"http.request.method": method, "http.route": route}
        span = self._span(service, client.trace, client.span, name=method, kind="server", attributes=attributes)
        return Place(client.trace, span, service, "request", name, span, client.job)


class Found:
    """A pipeline of `jobs` and `job_dependencies`, and the sums of what comes out of it."""

    def __init__(self, **config: Any) -> None:
        self.config = JobDependenciesConfig.model_validate(
            {"interval": "60s", "settle": "10s", "wait": "100s", **config}
        )
        self.jobs = JobsProcessor(JobsConfig(), ComponentId("jobs"))
        self.dependencies = JobDependencies(self.config, ComponentId("job_dependencies"))
        self.now = 0.0
        self.rows: list[dict[str, Any]] = []
        self.alerts: list[Alert] = []
        self.passed: list[Batch] = []

    def tell(self, *spans: Span) -> Found:
        """Send spans as one batch."""
        return self.hear(spans_batch(spans))

    def hear(self, *batches: Batch) -> Found:
        """Let batches of spans and logs come."""
        for batch in batches:
            for out in self.jobs.process(batch):
                self.take(self.dependencies.process(out) if out.kind in self.dependencies.handles else [out])
        return self

    def wait(self, seconds: float) -> Found:
        """Let time pass, and the processor work whenever it wants to."""
        end = self.now + seconds
        while (wake := self.dependencies.wake_at()) is not None and wake <= end:
            self.now = max(self.now, wake)
            self.take(self.dependencies.tick(self.now))
        self.now = end
        return self

    def drain(self) -> Found:
        self.take(self.dependencies.drain())
        return self

    def restart(self, clock: float = 0.0) -> Found:
        """Go on in a new process that has the state of this one, and another clock."""
        state = self.dependencies.state()
        self.dependencies = JobDependencies(self.config, ComponentId("job_dependencies"))
        self.dependencies.restore(state)
        self.now = clock
        return self

    def take(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            if batch.kind is Kind.JOB_DEPENDENCIES:
                self.rows += batch.table.to_pylist()
            elif batch.kind is Kind.ALERTS:
                self.alerts += read_alerts(batch)
            else:
                self.passed.append(batch)

    def sums(self, name: str) -> dict[Edge, int]:
        """Return the sum of a column for each edge, without the edges where it is 0."""
        total: Counter[Edge] = Counter()
        for row in self.rows:
            total[Edge(*(row[field] for field in Edge._fields))] += row[name]
        return {edge: number for edge, number in total.items() if number}

    def samples(self, name: str, weights: str) -> dict[Edge, list[int]]:
        """Return the samples of a measure for each edge, ascending, each as often as its weight."""
        found: dict[Edge, list[int]] = {}
        for row in self.rows:
            edge = Edge(*(row[field] for field in Edge._fields))
            for value, weight in zip(row[name], row[weights], strict=True):
                found.setdefault(edge, []).extend([value] * weight)
        return {edge: sorted(values) for edge, values in found.items()}


def pieces(spans: Iterable[Span], random: Random, most: int = 8) -> Iterator[list[Span]]:
    """Yield the spans shuffled, some at a time."""
    left = list(spans)
    random.shuffle(left)
    while left:
        size = random.randint(1, most)
        yield left[:size]
        del left[:size]


def check(world: World, found: Found) -> None:
    """Compare every count of every edge."""
    assert found.sums("calls") == {edge: number for edge, number in world.calls.items() if number}
    assert found.sums("failures") == {edge: number for edge, number in world.failures.items() if number}
    assert found.sums("executions") == {edge: number for edge, number in world.executions.items() if number}
    known = {edge: number for edge, number in Counter(edge for edge, _ in world.callers).items() if edge.parent}
    assert {edge: n for edge, n in found.sums("parents").items() if edge.parent} == known


CLASSES = ("Order", "Pay", "Ship", "Mail", "Refund")
SERVICES = ("shop", "worker")
TARGETS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("payments", {"peer.service": "payments", "server.address": "10.0.0.1"}),
    ("postgresql/shop", {"db.system": "postgresql", "db.name": "shop", "net.peer.name": "db-1"}),
    ("redis/cache-1", {"db.system.name": "redis", "server.address": "cache-1"}),
    ("api.example.com", {"http.request.method": "GET", "url.full": "https://u:p@api.example.com:8443/x?y"}),
    ("mail.example.com", {"http.method": "POST", "net.peer.name": "mail.example.com"}),
    ("kafka/audit", {"messaging.system": "kafka", "messaging.destination.name": "audit"}),
)


def random_world(seed: int) -> World:
    """Return a few random workflows: chains, fan-out, batches, links, retries, cycles, two services, calls outside."""
    random = Random(seed)
    world = World()
    for _ in range(random.randrange(1, 4)):
        origin = random.randrange(3)
        place = world.script("cron") if origin == 0 else world.request(random.choice(["GET /a", "POST /b"]), "web")
        _grow(world, random, place, 3)
    return world


def _grow(world: World, random: Random, place: Place, depth: int) -> None:
    for _ in range(random.randrange(3)):
        target, attributes = random.choice(TARGETS)
        client = world.call(place, target, attributes, between=random.randrange(3), ok=random.random() < 0.8)
        if random.random() < 0.3:
            served = world.served(client, "GET /inner", "other")
            if random.random() < 0.5:
                world.job(served, "Inner", "other")
    for _ in range(random.randrange(3) if depth else 0):
        batch = random.randrange(2, 4) if random.random() < 0.2 else 0
        outcomes = random.choice([[True], [True], [False], [False, True], [False, False, False], []])
        places = world.job(
            place,
            random.choice(CLASSES),
            random.choice(SERVICES),
            between=random.randrange(3),
            link=random.random() < 0.4,
            outcomes=[True] if batch else outcomes,
            batch=batch,
        )
        for child in places[:2]:
            _grow(world, random, child, depth - 1)
