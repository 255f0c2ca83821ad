"""The performance: records go to the SDK when their time has come, and into the truth at the same moment."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from pipeline.demo.delivery import Delivery
from pipeline.demo.instruments import Instruments
from pipeline.demo.pace import Pace
from pipeline.demo.records import LogEntry, SpanRecord
from pipeline.demo.screen import Screen
from pipeline.demo.shop import Shop
from pipeline.demo.telemetry import Telemetry
from pipeline.demo.truth import Truth
from pipeline.demo.world import SECOND

METRICS_EVERY_SECONDS = 5.0


class Heartbeat:
    """Exports the metrics every so often from a thread of its own, so that a slow collector cannot hold up the play."""

    def __init__(self, every_seconds: float) -> None:
        self._every = every_seconds
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, instruments: Instruments) -> None:
        self._thread = threading.Thread(target=self._beat, args=(instruments,), name="demo-metrics", daemon=True)
        self._thread.start()

    def stop(self, timeout_seconds: float) -> None:
        """Export a last time; returns when that is done, or over due."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def _beat(self, instruments: Instruments) -> None:
        while not self._over.wait(self._every):
            instruments.collect()
        instruments.collect()


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended. `deliveries` has (sent, refused, dropped) by signal."""

    truth: Truth
    deliveries: dict[str, tuple[int, int, int]]
    interrupted: bool
    gave_up: bool


def play(shop: Shop, delivery: Delivery, pace: Pace, screen: Screen, heartbeat: Heartbeat) -> Ending:
    """Play until the shop's day is over, the user stops it, or the collector is long gone; then deliver the rest."""
    truth = Truth()
    instruments = Instruments(delivery.metrics)
    telemetry = Telemetry(delivery.spans, delivery.logs, instruments)
    spans_tally = delivery.tallies["spans"]
    heartbeat.start(instruments)
    interrupted = gave_up = False
    news = _news(shop)
    for record in shop.play():
        if not pace.wait_until(record.at_ns):
            interrupted = True
            break
        if not delivery.wait_for_room(truth.spans):
            gave_up = True
            break
        while news and news[-1][0] <= record.at_ns:
            screen.say(news.pop()[1])
        telemetry.tell(record)
        truth.note(record)
        if isinstance(record, (SpanRecord, LogEntry)):
            elapsed = (record.at_ns - shop.world.start_ns) / SECOND
            screen.show(elapsed, truth.spans, spans_tally.sent, spans_tally.refused)
    heartbeat.stop(timeout_seconds=15.0)
    delivery.close(truth.spans, truth.logs)
    return Ending(truth, _deliveries(delivery, truth), interrupted, gave_up)


def _news(shop: Shop) -> list[tuple[int, str]]:
    """What to announce and when, latest first; only for runs that end, where it happens once."""
    world = shop.world
    if world.seconds is None:
        return []
    from pipeline.demo.cast import BROKEN_FROM, BROKEN_UNTIL, BROKEN_VERSION, DEPLOYED_SERVICE, FIXED_VERSION, PAYMENTS

    shares = [
        (BROKEN_FROM, f"{DEPLOYED_SERVICE} {BROKEN_VERSION} is deployed, and it is broken"),
        (BROKEN_UNTIL, f"{DEPLOYED_SERVICE} {FIXED_VERSION} is deployed, which repairs it"),
    ]
    if world.outage is not None:
        start, end = world.outage
        shares += [(start, f"{PAYMENTS} begins to time out"), (end, f"{PAYMENTS} is well again")]
    return sorted(
        ((world.start_ns + int(share * world.seconds * SECOND), text) for share, text in shares), reverse=True
    )


def _deliveries(delivery: Delivery, truth: Truth) -> dict[str, tuple[int, int, int]]:
    played = {"spans": truth.spans, "logs": truth.logs, "metric points": delivery.metrics.offered}
    return {
        signal: (tally.sent, tally.refused, max(0, played[signal] - tally.seen))
        for signal, tally in delivery.tallies.items()
    }
