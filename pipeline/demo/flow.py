"""One visit (or tick of a timer) and everything that follows from it, down to the last retry of the last child job."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from random import Random

from pipeline.demo.calls import Timing, call_span, request_span, service_dependency
from pipeline.demo.cast import BROKEN_VERSION, JOBS, ORDERS_DB, SERVICE_OF, Dependency, Fault, JobClass
from pipeline.demo.dialects import HANDOVERS, RUNS, Handover, Run, log_of
from pipeline.demo.faults import FAULTS
from pipeline.demo.records import (
    Enqueue,
    Execution,
    Instance,
    Moved,
    Outcome,
    Parent,
    Place,
    Record,
    System,
    Thrown,
)
from pipeline.demo.world import World

NOBODY = Parent("none", "")
OUTAGE_QUEUE_FACTOR = 6
"""Time-outs keep the payment workers busy, so what waits for them waits longer."""

RECOUNT_ROUNDS = 3
"""How often the broken version goes round RecountStock -> ReindexProduct -> RecountStock."""

INBOX = {"mailer": "/deliveries", "media": "/renderings"}
"""Routes by which other services hand jobs to those with queues of their own."""


@dataclass(slots=True)
class Order:
    """What the jobs of one flow know in common."""

    reserved: bool = True
    page: int = 1
    rounds: int = 0


@dataclass(slots=True)
class Life:
    """A job between its enqueue and its last attempt: what the next attempt starts from."""

    job: JobClass
    job_id: str
    parent: Parent
    producer: Instance
    created_ns: int
    enqueued_ns: int
    origin: Place
    due_ns: int | None
    attempt: int = 1
    stuck: Fault | None = None


@dataclass(slots=True)
class Flow:
    """Simulates one flow; `records` is unsorted, `job_numbers` has the last id that BullMQ gave out, per queue."""

    world: World
    dice: Random
    job_numbers: dict[str, int]
    records: list[Record] = field(default_factory=list)
    order: Order = field(default_factory=Order)

    def request(self, at_ns: int, method: str, route: str) -> None:
        """A visitor asks the shop's web service for something."""
        place = self._root(self.world.instance("shop-web", "web", at_ns, self.dice))
        parent = Parent("request", f"{method} {route}")
        now_ns = self._call(ORDERS_DB, place, parent, at_ns + self._draw(3))
        error = None
        if route == "/orders":
            error = FAULTS["web_bug"](self.dice, "") if method == "GET" and self.dice.random() < 0.02 else None
            if method == "POST":
                now_ns = self._enqueue("ProcessOrderJob", place, parent, now_ns)
        elif route == "/products/{id}/images":
            now_ns = self._enqueue("resize", place, parent, now_ns)
        elif route == "/signup":
            now_ns = self._enqueue("SendWelcome", place, parent, now_ns)
        elif route == "/reports":
            now_ns = self._enqueue("BuildReport", place, parent, now_ns)
        self.records.append(request_span(place, None, method, route, (at_ns, now_ns + self._draw(4)), error))

    def tick(self, at_ns: int, job: str) -> None:
        """A timer enqueues `job`: Celery's beat, a Sidekiq cron, a timer in the media service."""
        system = JOBS[job].system
        role = {"celery": "beat", "sidekiq": "worker", "bullmq": "web"}[system]
        self._hand_over(
            JOBS[job], self.world.instance(SERVICE_OF[system], role, at_ns, self.dice), None, NOBODY, at_ns, None
        )

    def _follow_ups(self, job: str, worker: Instance) -> list[tuple[str, float | None]]:
        """What a job that went well enqueues: classes, each with a delay in milliseconds or None."""
        order = self.order
        if job == "ProcessOrderJob":
            return [("ReserveInventory", None), ("ChargePayment", None), ("SendReceipt", None)]
        if job == "ChargePayment":
            return [("Fulfil" if order.reserved else "Refund", None)]
        if job == "Fulfil":
            later: list[tuple[str, float | None]] = [("CheckDelivery", 3000)] if self.dice.random() < 0.3 else []
            return [("render-invoice", None), ("Notify", None), *later]
        if job in {"Refund", "BuildReport"}:
            return [("Notify", None)]
        if job == "SendWelcome":
            return [("SendReminder", 2500)] if self.dice.random() < 0.5 else []
        if job == "PlanDigest":
            return [("SendDigest", None)] * self.dice.randrange(3, 7)
        if job == "resize":
            return [("thumbnail", None)] * self.dice.randrange(2, 5)
        if job == "SyncStock":
            order.page += 1
            return [("SyncStock", None)] if order.page <= 3 else [("RecountStock", None)]
        if job == "RecountStock":
            return [("ReindexProduct", None)]
        if job == "ReindexProduct" and worker.version == BROKEN_VERSION and order.rounds < RECOUNT_ROUNDS:
            order.rounds += 1
            return [("RecountStock", None)]
        return []

    def _enqueue(self, name: str, place: Place, parent: Parent, now_ns: int, delay_ms: float | None = None) -> int:
        """Hand a job over from `place`, through the other service's API where the queue is not ours.

        Returns when the one who enqueued it can go on.
        """
        job = JOBS[name]
        service = SERVICE_OF[job.system]
        here = place.instance
        due_ns = None if delay_ms is None else now_ns + self._ms(delay_ms)
        if service == here.service or (job.system == "celery" and here.service == "shop-web"):
            return self._hand_over(job, here, place, parent, now_ns, due_ns)
        call = Timing(self._span_id(), now_ns, 0)
        server_ns = now_ns + self._draw(2)
        server = Place(place.trace_id, self._span_id(), self.world.instance(service, "web", server_ns, self.dice))
        route = INBOX[service]
        inner = parent if parent.kind == "job" else Parent("request", f"POST {route}")
        done_ns = self._hand_over(job, server.instance, server, inner, server_ns + self._draw(2), due_ns)
        answered_ns = done_ns + self._draw(1)
        caller = Place(place.trace_id, call.span_id, here)
        self.records.append(request_span(server, caller, "POST", route, (server_ns, answered_ns)))
        end_ns = answered_ns + self._draw(2)
        timing = Timing(call.span_id, now_ns, end_ns)
        self.records.append(call_span(service_dependency(service, route, here), place, timing, parent, None))
        return end_ns

    def _hand_over(
        self, job: JobClass, producer: Instance, place: Place | None, parent: Parent, now_ns: int, due_ns: int | None
    ) -> int:
        """The enqueue span, and with it the whole life of the job; returns when the producer can go on."""
        start_ns = self._stamp(job.system, now_ns)
        end_ns = start_ns + self._draw(1.5)
        own = Place(place.trace_id, self._span_id(), producer) if place else self._root(producer)
        job_id = self._job_id(job)
        fact = Enqueue(job.name, job.system, job.queue, job_id, parent)
        self.records.append(HANDOVERS[job.system](Handover(job, own, place, start_ns, end_ns, fact)))
        enqueued_ns = start_ns
        if due_ns is not None:
            due_ns -= due_ns % 1000  # a due time travels in microseconds
        created_ns = start_ns - 60_000
        if job.system == "sidekiq":
            enqueued_ns = self._pushed(start_ns, end_ns, due_ns)
        # Sidekiq pushes scheduled and retried jobs outside any exported span, and that lost span is what they link to.
        origin = self._root(producer) if job.system == "sidekiq" and due_ns is not None else own
        life = Life(job, job_id, parent, producer, created_ns, enqueued_ns, origin, due_ns)
        while self._attempt(life):
            life.attempt += 1
        return end_ns

    def _attempt(self, life: Life) -> bool:
        """Run the job once; whether it will be run again, in which case `life` is ready for it."""
        job = life.job
        service = SERVICE_OF[job.system]
        available_ns = max(life.enqueued_ns, life.due_ns or 0)
        wait = job.wait_ms * (
            OUTAGE_QUEUE_FACTOR if job.queue == "payments" and self.world.is_outage(available_ns) else 1
        )
        start_ns = self._stamp(job.system, available_ns + self._draw(wait, 0.8) + 1_000_000)
        worker = self.world.instance(service, "worker", start_ns, self.dice)
        place = self._root(worker) if job.system == "sidekiq" else Place(life.origin.trace_id, self._span_id(), worker)
        this = Parent("job", job.name)

        fault = life.stuck or self._fault_of(job, worker, start_ns)
        thrown = FAULTS[fault.what](self.dice, job.name) if fault else None
        now_ns = self._work(job, place, this, start_ns, fault, thrown)
        outcome = self._outcome(life, fault)
        if outcome == "discarded" and job.name == "ReserveInventory":
            self.order.reserved = False
        followers: list[tuple[str, float | None]] = []
        if outcome == "succeeded":
            followers = self._follow_ups(job.name, worker)
        elif outcome == "failed" and job.name == "ChargePayment":
            followers = [("Refund", None)]
        for name, delay_ms in followers:
            now_ns = self._enqueue(name, place, this, now_ns, delay_ms)

        backoff_ms = job.backoff_ms * 2 ** (life.attempt - 1)
        waited_ns = start_ns - available_ns if job.system != "bullmq" or life.attempt == 1 else None
        fact = Execution(job.name, job.system, job.queue, life.job_id, life.attempt, outcome, waited_ns, thrown)
        before = replace(life)
        if outcome == "retried":
            life.stuck = fault if fault and fault.stays else None
            now_ns = self._put_back(life, place, now_ns, self._ms(backoff_ms))
        end_ns = now_ns + self._draw(1) + 500_000
        run = Run(
            job=job,
            place=place,
            origin=before.origin,
            producer=life.producer,
            start_ns=start_ns,
            end_ns=end_ns,
            created_ns=life.created_ns,
            enqueued_ns=before.enqueued_ns,
            due_ns=before.due_ns,
            retry_in_s=backoff_ms / 1000,
            helper_id=self._span_id(),
            fact=fact,
        )
        self.records.extend(RUNS[job.system](run))
        if fact.outcome != "discarded":
            self.records.append(log_of(run))
        self.records.append(Moved(available_ns, worker, job.system, job.queue, 1, 0))
        self.records.append(Moved(start_ns, worker, job.system, job.queue, -1, 1))
        self.records.append(Moved(end_ns, worker, job.system, job.queue, 0, -1))
        return outcome == "retried"

    def _work(
        self, job: JobClass, place: Place, this: Parent, start_ns: int, fault: Fault | None, thrown: Thrown | None
    ) -> int:
        """The job's own work and its calls; ends at the call that failed, if one did."""
        now_ns = start_ns + self._draw(job.median_ms / 2, job.spread)
        for dependency in job.calls:
            if fault is not None and fault.at == dependency.peer:
                return self._call(dependency, place, this, now_ns, thrown, fault.takes_ms)
            now_ns = self._call(dependency, place, this, now_ns)
        return now_ns + self._draw(job.median_ms / 2, job.spread)

    def _put_back(self, life: Life, place: Place, now_ns: int, backoff_ns: int) -> int:
        """The job goes back to its queue, in the way of its system; returns when the worker can go on."""
        job = life.job
        if job.system == "celery":
            end_ns = now_ns + self._draw(2)
            again = Place(place.trace_id, self._span_id(), place.instance)
            fact = Enqueue(job.name, job.system, job.queue, life.job_id, life.parent, is_retry=True)
            self.records.append(HANDOVERS["celery"](Handover(job, again, place, now_ns, end_ns, fact)))
            due_ns = now_ns + backoff_ns
            life.origin, life.enqueued_ns, life.due_ns = again, now_ns, due_ns - due_ns % 1000
            return end_ns
        if job.system == "sidekiq":
            life.origin = self._root(place.instance)
            life.due_ns = now_ns + backoff_ns
            life.enqueued_ns = self._pushed(now_ns, now_ns, life.due_ns)
            return now_ns
        life.enqueued_ns = now_ns + backoff_ns
        return now_ns

    def _fault_of(self, job: JobClass, worker: Instance, at_ns: int) -> Fault | None:
        outage = self.world.is_outage(at_ns)
        for fault in job.faults:
            chance = fault.in_outage if outage and fault.in_outage is not None else fault.chance
            if fault.version in {None, worker.version} and self.dice.random() < chance:
                return fault
        return None

    @staticmethod
    def _outcome(life: Life, fault: Fault | None) -> Outcome:
        if fault is None:
            return "succeeded"
        if fault.discards:
            return "discarded"
        return "retried" if fault.retry and life.attempt < life.job.attempts else "failed"

    def _call(
        self,
        dependency: Dependency,
        place: Place,
        caller: Parent,
        now_ns: int,
        error: Thrown | None = None,
        takes_ms: float | None = None,
    ) -> int:
        end_ns = now_ns + (self._draw(dependency.median_ms) if takes_ms is None else self._ms(takes_ms))
        self.records.append(call_span(dependency, place, Timing(self._span_id(), now_ns, end_ns), caller, error))
        return end_ns

    def _pushed(self, start_ns: int, end_ns: int, due_ns: int | None) -> int:
        """When Sidekiq pushes a job: during the publish span, or when its poller next looks after the due time."""
        if due_ns is None:
            return start_ns + (end_ns - start_ns) // 2
        return due_ns + self._draw(120)

    def _job_id(self, job: JobClass) -> str:
        if job.system == "celery":
            return str(uuid.UUID(int=self.dice.getrandbits(128), version=4))
        if job.system == "sidekiq":
            return f"{self.dice.getrandbits(96):024x}"
        number = self.job_numbers[job.queue] + 1
        self.job_numbers[job.queue] = number
        return str(number)

    def _root(self, instance: Instance) -> Place:
        return Place(self.dice.getrandbits(128) or 1, self._span_id(), instance)

    def _span_id(self) -> int:
        return self.dice.getrandbits(64) or 1

    def _ms(self, milliseconds: float) -> int:
        return int(milliseconds * 1e6 * self.world.tempo)

    def _draw(self, median_ms: float, spread: float = 0.35) -> int:
        return self._ms(median_ms * self.dice.lognormvariate(0, spread))

    @staticmethod
    def _stamp(system: System, at_ns: int) -> int:
        """Node's span times step in milliseconds; rounded up, so that no start lies before what it waited for."""
        return at_ns - at_ns % -1_000_000 if system == "bullmq" else at_ns
