"""The shop's day: who visits, which jobs follow, what fails. Pure and seeded, without OpenTelemetry, clocks or I/O.

`Shop.play()` yields records in the order in which they become known. The rate of spans is kept by letting each visit
delay the next one by the time its own spans are worth, so it holds whatever visits turn out to cost.

A run that ends lets nothing hang: a visit whose last consequence would come after the end is replaced by one that only
looks at products. So the counts of a run that was not interrupted are complete.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from pipeline.demo.cast import JOBS, REQUESTS, TIMERS, Timer
from pipeline.demo.flow import Flow
from pipeline.demo.records import Record, SpanRecord
from pipeline.demo.world import SECOND, World, dice_of

TIMERS_FULL_RATE = 50.0
"""Below this many spans a second of shop time, timers tick more rarely, so that they leave room for visitors."""

_EARLIER_JOBS = 10**9


@dataclass
class Shop:
    """One run of the shop at `rate` spans a second (at least on average)."""

    world: World
    rate: float
    _job_numbers: dict[str, int] = field(default_factory=dict, init=False)

    def play(self) -> Iterator[Record]:
        """Yield what happens, ordered by time; endless when the world is. Each call begins the same day anew."""
        # a queue's numbers go on from where earlier days left them, which no two seeds agree on
        self._job_numbers = {
            job.queue: dice_of(self.world.seed, "job number", job.queue).randrange(_EARLIER_JOBS)
            for job in JOBS.values()
            if job.system == "bullmq"
        }
        chance = dice_of(self.world.seed, "visits")
        due = [(self._timer_ns(timer) * (number + 1) // 3, number) for number, timer in enumerate(TIMERS)]
        due = [(self.world.start_ns + wait, number) for wait, number in due]
        heapq.heapify(due)
        visit_ns = self.world.start_ns
        pending: list[tuple[int, int, Record]] = []
        told = 0
        flows = 0
        while True:
            timer_ns, number = due[0]
            now_ns = min(visit_ns, timer_ns)
            if self.world.end_ns is not None and now_ns >= self.world.end_ns:
                break
            while pending and pending[0][0] <= now_ns:
                yield heapq.heappop(pending)[2]
            flows += 1
            dice = dice_of(self.world.seed, "flow", flows)
            if timer_ns <= visit_ns:
                timer = TIMERS[number]
                heapq.heapreplace(due, (timer_ns + self._timer_ns(timer), number))
                records = self._tick(timer, now_ns, dice)
            else:
                records = self._visit(now_ns, dice)
            for record in records:
                told += 1
                heapq.heappush(pending, (record.at_ns, told, record))
            spans = sum(isinstance(record, SpanRecord) for record in records)
            # At least a microsecond, so that a visit without spans near the end cannot stop the clock.
            visit_ns += max(1000, int(spans / self.rate * chance.uniform(0.5, 1.5) * SECOND))
        while pending:
            yield heapq.heappop(pending)[2]

    def _timer_ns(self, timer: Timer) -> int:
        tempo = self.world.tempo
        return int(timer.every_s * tempo * max(1.0, TIMERS_FULL_RATE / (self.rate * tempo)) * SECOND)

    def _visit(self, at_ns: int, dice: Random) -> list[Record]:
        (method, route, _), *_ = dice.choices(REQUESTS, [weight for *_, weight in REQUESTS])
        for asked in ((method, route), ("GET", "/products")):
            flow = Flow(self.world, dice, dict(self._job_numbers))
            flow.request(at_ns, *asked)
            if self._keep(flow):
                return flow.records
        return []

    def _tick(self, timer: Timer, at_ns: int, dice: Random) -> list[Record]:
        flow = Flow(self.world, dice, dict(self._job_numbers))
        flow.tick(at_ns, timer.job)
        return flow.records if self._keep(flow) else []

    def _keep(self, flow: Flow) -> bool:
        """Whether all of the flow happens before the end; if so its job numbers are taken."""
        if self.world.end_ns is not None and max(record.at_ns for record in flow.records) > self.world.end_ns:
            return False
        self._job_numbers = flow.job_numbers
        return True
