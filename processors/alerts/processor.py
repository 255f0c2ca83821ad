"""Tells people what changed, once, together, and not while they asked for silence.

Processor `alerts` compares what is true (as alerts were raised) with what people were told, for each name and subject,
and tells the difference, group by group. Rows that wait to be told keep their receipts; those that need not be told are
dropped and counted at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from pipeline import Batch, ComponentId, Host, Kind, Processor, Receipt
from pipeline.alerts import Alert, AlertState, alert_batch, read_alerts
from pipeline.durable import Durable
from processors.alerts.config import AlertsConfig
from processors.alerts.saving import Saved, read, written
from processors.alerts.timers import Timers
from processors.alerts.tracking import (
    GroupKey,
    Identity,
    Reason,
    Tracked,
    bounded,
    group_end,
    group_of,
    group_row,
    nanoseconds,
    overridden,
    verdict,
)

_REMEMBER_NS: Final = 3600 * 1_000_000_000
"""How long an alert that is over is remembered at least, so that older news of it are known as such."""

_SLACK_NS: Final = 1000
"""Seconds as a float are not exact to the nanosecond, but what is due at `wake_at()` must be at `tick(wake_at())`."""


@dataclass(slots=True)
class _Group:
    """Alerts that are told together."""

    pending: dict[Identity, Receipt | None] = field(default_factory=dict)
    """What may be news, with the receipts of the rows that brought it; None where time did."""
    flushed_at: int | None = None
    members: set[Identity] = field(default_factory=set)
    """Those for which the row for the group stands."""
    told: Alert | None = None
    """The row for the group that people were told last, while it counts."""


class AlertsProcessor(Processor[AlertsConfig], Durable):
    kind = "alerts"
    Config = AlertsConfig
    handles = frozenset({Kind.ALERTS})
    shared = True

    def __init__(self, config: AlertsConfig, ident: ComponentId) -> None:
        super().__init__(config, ident)
        self._came: list[tuple[Alert, Receipt]] = []
        """What came since the last tick, which knows what time it is."""
        self._taken_back: list[Alert] = []
        """Rows for groups that are no groups any more since the restart."""
        self._alerts: dict[Identity, Tracked] = {}
        """The one that was raised least recently comes first."""
        self._over: dict[Identity, None] = {}
        """Those of them that neither fire nor are believed to."""
        self._groups: dict[GroupKey, _Group] = {}
        self._timers: Timers[Identity] = Timers()
        self._flushes: Timers[GroupKey] = Timers()
        self._offset = 0
        """Nanoseconds since 1970 at 0 of the engine's clock."""
        self._now = 0
        self._unheard_receipts: list[Receipt] = []
        self._drained = False
        self._count: Callable[[str, str, int], None] = lambda _what, _label, _number: None

    async def start(self, host: Host) -> None:
        self._offset = host.clock.time_ns() - nanoseconds(host.clock.now())
        self._now = host.clock.time_ns()
        name, metrics = str(self.ident), host.metrics
        counters = {
            "raised": metrics.counter("jobsight_alerts_raised", "Alerts that came.", "processor", "state"),
            "told": metrics.counter("jobsight_alerts_told", "Alerts that went on.", "processor", "state"),
            "suppressed": metrics.counter(
                "jobsight_alerts_suppressed", "Alerts that came and were not told.", "processor", "reason"
            ),
        }
        known = metrics.gauge("jobsight_alerts_remembered", "Alerts that are remembered.", "processor").labels(name)
        known.set_function(lambda: len(self._alerts))
        metrics.gauge("jobsight_alerts_remembered_limit", "Most that are remembered.", "processor").labels(name).set(
            self.config.max_alerts
        )
        firing = metrics.gauge("jobsight_alerts_firing", "Alerts that fire, told or not.", "processor").labels(name)
        firing.set_function(lambda: sum(tracked.firing for tracked in self._alerts.values()))
        self._count = lambda what, label, number: counters[what].labels(name, label).inc(number)

    def process(self, batch: Batch) -> Iterable[Batch]:
        alerts = read_alerts(batch)
        if not alerts:
            return [batch]
        self._came.extend(zip(alerts, batch.receipt.split(len(alerts)), strict=True))
        return ()

    def wake_at(self) -> float | None:
        if self._drained:
            return None
        if self._came or self._taken_back:
            return 0.0  # has passed long ago: the engine ticks at once, and so tells the time
        moments = [at for at in (self._timers.next(), self._flushes.next()) if at is not None]
        return (min(moments) - self._offset - _SLACK_NS) / 1e9 if moments else None

    def tick(self, now: float) -> Iterable[Batch]:
        self._now = self._offset + nanoseconds(now) + _SLACK_NS
        self._take_in()
        for identity in self._timers.due(self._now):
            self._weigh(identity)
        due = list(self._flushes.due(self._now))
        return [*self._tell(due), *self._take_back(), *self._dropped()]

    def drain(self) -> Iterable[Batch]:
        """Tell at once what waits for its group; what waits for the end of a silence or cooldown is in the state."""
        self._take_in()
        self._drained = True
        return [*self._tell(list(self._groups)), *self._take_back(), *self._dropped()]

    def state(self) -> bytes:
        groups = [(key, group.flushed_at, group.told) for key, group in self._groups.items()]
        return written(Saved(self.config.group_by, list(self._alerts.values()), groups))

    def restore(self, state: bytes) -> None:
        """Take over what another instance knew.

        If alerts were grouped in another way then, rows for groups are taken back, and their members count as told.
        """
        saved = read(state)
        regrouped = saved.group_by != self.config.group_by
        for key, flushed_at, told in saved.groups:
            if regrouped:
                self._taken_back += [] if told is None else [group_end(told, told.timestamp)]
                continue
            self._groups[key] = _Group(flushed_at=flushed_at, told=told)
            self._flushes.wake(key, 0)
        for tracked in saved.alerts:
            identity = tracked.alert.name, tracked.alert.subject
            self._alerts[identity] = tracked
            if regrouped:
                tracked.group = group_of(tracked.alert, self.config.group_by)
                tracked.alone, tracked.grouped = tracked.told, False
            elif tracked.grouped:
                self._groups.setdefault(tracked.group, _Group()).members.add(identity)
            if not tracked.firing and not tracked.told:
                self._over[identity] = None
            # Every one is weighed at the first tick: time went on meanwhile.
            self._timers.wake(identity, 0)

    def _take_in(self) -> None:
        came, self._came = self._came, []
        for raised, receipt in came:
            self._count("raised", raised.state, 1)
            alert = overridden(bounded(raised), self.config.overrides, self.config.runbook_url)
            identity = alert.name, alert.subject
            tracked = self._alerts.get(identity)
            if tracked is not None and alert.timestamp < tracked.alert.timestamp and self._contradicts(alert, tracked):
                self._drop(receipt, Reason.STALE)
            elif alert.state is AlertState.RESOLVED:
                if tracked is None or not tracked.firing:
                    self._drop(receipt, Reason.UNKNOWN)
                else:
                    tracked.end(alert, self._now)
                    self._weigh(identity, receipt, changed=True)
            else:
                changed = tracked is None or not tracked.firing
                self._raise(identity, alert)
                self._weigh(identity, receipt, changed=changed)

    @staticmethod
    def _contradicts(alert: Alert, tracked: Tracked) -> bool:
        return (alert.state is AlertState.FIRING) != tracked.firing

    def _raise(self, identity: Identity, alert: Alert) -> None:
        tracked = self._alerts.pop(identity, None)
        if tracked is None:
            if len(self._alerts) >= self.config.max_alerts:
                self._forget(next(iter(self._over), next(iter(self._alerts))))
                self._count("suppressed", Reason.FORGOTTEN, 1)
            tracked = Tracked(alert, group_of(alert, self.config.group_by), self._now)
        else:
            if not tracked.firing and not tracked.told:
                tracked.group = group_of(alert, self.config.group_by)
            tracked.raise_again(alert, self._now)
        self._alerts[identity] = tracked
        self._over.pop(identity, None)

    def _weigh(self, identity: Identity, receipt: Receipt | None = None, *, changed: bool = False) -> None:
        """Decide on an alert of which something came, or for which it is time. `changed`: it began or ended."""
        tracked = self._alerts.get(identity)
        if tracked is None:
            return
        self._end_if_unheard(tracked)
        found = verdict(tracked, self._now, self.config)
        group = self._groups.get(tracked.group)
        waits = group is not None and identity in group.pending
        if found.reason is not None:
            if group is not None and waits:
                self._drop(group.pending.pop(identity), found.reason)
            if receipt is not None:
                tracked.suppressed += tracked.firing
                self._drop(receipt, found.reason)
        elif group is None or not waits:
            self._enqueue(tracked.group, identity, receipt)
        elif receipt is not None:
            before = group.pending[identity]
            if changed and before is not None:
                # A replay has to bring both, the beginning and the end.
                self._count("suppressed", Reason.DUPLICATE, 1)
                before.drop(1, Reason.DUPLICATE)
                group.pending[identity] = Receipt.merge([before, receipt])
            elif before is None:
                group.pending[identity] = receipt
            else:
                tracked.suppressed += tracked.firing
                self._drop(receipt, Reason.DUPLICATE)
        self._remind(identity, tracked, found.ask_again)

    def _end_if_unheard(self, tracked: Tracked) -> None:
        patience = nanoseconds(self.config.auto_resolve)
        if not patience or not tracked.firing or self._now < tracked.raised_at + patience:
            return
        text = f"Over: it was not raised again for {self.config.auto_resolve:g} s."
        last = tracked.alert
        end = Alert(last.name, last.severity, last.subject, text, last.timestamp + patience, AlertState.RESOLVED)
        tracked.end(end, self._now)

    def _remind(self, identity: Identity, tracked: Tracked, ask_again: int | None) -> None:
        """Set the timer, and forget what has been over for long."""
        moments = [] if ask_again is None else [ask_again]
        if tracked.firing and self.config.auto_resolve:
            moments.append(tracked.raised_at + nanoseconds(self.config.auto_resolve))
        if not tracked.firing and not tracked.told:
            self._over[identity] = None
            moments.append(tracked.ended_at + max(_REMEMBER_NS, nanoseconds(self.config.cooldown)))
            if moments[-1] <= self._now:
                self._forget(identity)
                return
        if moments:
            self._timers.wake(identity, min(moments))

    def _forget(self, identity: Identity) -> None:
        tracked = self._alerts.pop(identity)
        self._over.pop(identity, None)
        self._timers.forget(identity)
        group = self._groups.get(tracked.group)
        if group is not None:
            group.members.discard(identity)
            self._drop(group.pending.pop(identity, None), Reason.FORGOTTEN)
            if group.told is not None and not group.members:
                self._flushes.wake(tracked.group, self._now)  # nobody is left to take back the row for the group

    def _enqueue(self, key: GroupKey, identity: Identity, receipt: Receipt | None) -> None:
        group = self._groups.setdefault(key, _Group())
        if not group.pending:
            due = self._now + nanoseconds(self.config.group_wait)
            if group.flushed_at is not None:
                due = max(due, group.flushed_at + nanoseconds(self.config.group_interval))
            self._flushes.forget(key)
            self._flushes.wake(key, due)
        group.pending[identity] = receipt

    def _tell(self, keys: Iterable[GroupKey]) -> Iterator[Batch]:
        """Tell what is news of these groups, one batch each; groups without anything to remember go."""
        for key in keys:
            group = self._groups[key]
            pending, group.pending = group.pending, {}
            rows, receipts = self._news(key, group, pending)
            if rows:
                group.flushed_at = self._now
                self._flushes.wake(key, self._now + nanoseconds(self.config.group_interval))
                for row in rows:
                    self._count("told", row.state, 1)
                yield alert_batch(rows, Receipt.merge(receipts) if receipts else self._own_receipt(rows))
            else:
                for receipt in receipts:
                    self._drop(receipt, Reason.GROUPED)
                if group.told is None and not group.members:
                    del self._groups[key]

    def _news(
        self, key: GroupKey, group: _Group, pending: dict[Identity, Receipt | None]
    ) -> tuple[list[Alert], list[Receipt]]:
        """Return the rows for what people do not know, and the receipts of those that brought it."""
        begun: dict[Identity, Tracked] = {}
        ended: dict[Identity, Tracked] = {}
        receipts: list[Receipt] = []
        for identity, receipt in pending.items():
            tracked = self._alerts[identity]
            found = verdict(tracked, self._now, self.config)
            if found.reason is not None:
                # A silence has begun while it waited.
                self._drop(receipt, found.reason)
                self._remind(identity, tracked, found.ask_again)
                continue
            (begun if tracked.firing else ended)[identity] = tracked
            if receipt is not None:
                receipts.append(receipt)
        together = bool(begun) and (group.told is not None or len(begun) > self.config.group_limit)
        rows = [] if together else [tracked.row() for tracked in begun.values()]
        ends = [tracked.row() for tracked in ended.values() if tracked.alone]
        for tracked in (*begun.values(), *ended.values()):
            tracked.tell(self._now, grouped=together)
        group.members.difference_update(ended)
        group.members.update(begun if together else ())
        if together:
            news = [tracked.alert for tracked in begun.values()]
            members = [self._alerts[identity].alert for identity in group.members]
            group.told = group_row(members, news, key, self.config.group_by, self.config.group_limit)
            rows.append(group.told)
            self._count("suppressed", Reason.GROUPED, len(begun) - 1)
        rows += ends
        if group.told is not None and not group.members:
            latest = max((tracked.alert.timestamp for tracked in ended.values()), default=group.told.timestamp)
            rows.append(group_end(group.told, latest))
            group.told = None
        if rows and receipts:
            receipts[0].drop(max(0, len(receipts) - len(rows)), Reason.GROUPED)
        for identity, tracked in (*begun.items(), *ended.items()):
            self._remind(identity, tracked, None)
        return rows, receipts

    def _take_back(self) -> Iterator[Batch]:
        if self._taken_back:
            rows, self._taken_back = self._taken_back, []
            self._count("told", AlertState.RESOLVED, len(rows))
            yield alert_batch(rows, self._own_receipt(rows))

    def _own_receipt(self, rows: list[Alert]) -> Receipt:
        """Return a receipt for what time brought: a reminder, the end of a silence."""
        named = "\n".join(f"{row.name}\t{row.subject}\t{row.state}\t{row.timestamp}" for row in rows)
        digest = blake2b(f"{self.ident}\n{self._now}\n{named}".encode(), digest_size=16)
        return Receipt.issue(digest.hexdigest())

    def _drop(self, receipt: Receipt | None, reason: Reason) -> None:
        if receipt is None:
            return
        self._count("suppressed", reason, 1)
        receipt.drop(1, reason)
        self._unheard_receipts.append(receipt)

    def _dropped(self) -> Iterator[Batch]:
        """Return the receipts of what is not told, without rows: the engine counts and settles them."""
        if self._unheard_receipts:
            receipts, self._unheard_receipts = self._unheard_receipts, []
            yield alert_batch([], Receipt.merge(receipts))
