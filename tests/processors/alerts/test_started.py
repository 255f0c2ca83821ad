"""The processor in its host: wall-clock time, metrics; and a day of alerts, counted."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from random import Random

import pytest

from pipeline import ComponentId
from pipeline.alerts import Alert, AlertState, Severity, alert_batch, read_alerts
from pipeline.testing import FakeClock, FakeHost, Ledger
from processors.alerts import AlertsProcessor
from processors.alerts.config import AlertsConfig
from tests.processors.alerts.desk import HOUR, MINUTE, Desk


async def test_wall_clock_and_metrics(host: FakeHost, clock: FakeClock) -> None:
    """Scenario: the fake clock stands at 22:26:40 UTC on 21 November 2026; a silence ends at 22:30.

    Guarantees: silences go by the wall clock; everything that comes is counted once, as told or by its reason.
    """
    config = {"silences": [{"match": {"subject": "quiet"}, "until": "2026-11-21T22:30:00Z"}], "group_limit": 1}
    processor = AlertsProcessor(AlertsConfig.model_validate(config), ComponentId("alerts"))
    await processor.start(host)
    ledger = Ledger()
    told = []

    def give(*subjects: str, state: AlertState = AlertState.FIRING) -> None:
        alerts = [Alert("Trouble", Severity.INFO, subject, "", clock.time_ns(), state) for subject in subjects]
        processor_out = [*processor.process(alert_batch(alerts, ledger.receipt("x"))), *processor.tick(clock.now())]
        told.extend(processor_out)

    give("quiet", "a", "a", "b")
    await clock.advance(199)
    told.extend(processor.tick(clock.now()))
    assert [row.subject for batch in told for row in read_alerts(batch)] == ["group"]
    await clock.advance(111)
    give("b", state=AlertState.RESOLVED)
    await clock.advance(HOUR)
    told.extend(processor.tick(clock.now()))
    told.extend(processor.drain())

    assert [row.text.partition(":")[0] for batch in told for row in read_alerts(batch)] == [
        "2 alerts fire",
        "2 alerts fire, 1 of them new",
    ]
    text = host.metrics.exposition().decode()
    for line in (
        'jobsight_alerts_raised{processor="alerts",state="firing"} 4.0',
        'jobsight_alerts_raised{processor="alerts",state="resolved"} 1.0',
        'jobsight_alerts_told{processor="alerts",state="firing"} 2.0',
        'jobsight_alerts_suppressed{processor="alerts",reason="silenced"} 1.0',
        'jobsight_alerts_suppressed{processor="alerts",reason="duplicate"} 1.0',
        'jobsight_alerts_suppressed{processor="alerts",reason="grouped"} 1.0',
        'jobsight_alerts_firing{processor="alerts"} 2.0',
        'jobsight_alerts_remembered{processor="alerts"} 2.0',
        'jobsight_alerts_remembered_limit{processor="alerts"} 10000.0',
    ):
        assert line in text


def a_day(seed: int) -> Iterator[tuple[int, str, AlertState, Severity]]:
    """Yield the alerts of a bad day, as (minute, subject, state, severity).

    Ten troubles that last all day, raised every minute; ten that come and go every few minutes; three outages of half
    an hour, each with forty classes of jobs, a quarter of them critical.
    """
    random = Random(seed)
    flapping = {f"flaps{number}": False for number in range(10)}
    outages = sorted(random.sample(range(60, 22 * 60, 90), 3))
    for minute in range(24 * 60):
        for number in range(10):
            yield minute, f"lasts{number}", AlertState.FIRING, Severity.WARNING
        for subject, fires in flapping.items():
            if random.random() < 0.2:
                flapping[subject] = not fires
            if flapping[subject] or fires:
                state = AlertState.FIRING if flapping[subject] else AlertState.RESOLVED
                yield minute, subject, state, Severity.WARNING
        for start in outages:
            for number in range(40):
                severity = Severity.CRITICAL if number % 4 == 0 else Severity.WARNING
                if start <= minute < start + 30:
                    yield minute, f"outage{number}", AlertState.FIRING, severity
                if minute == start + 30:
                    yield minute, f"outage{number}", AlertState.RESOLVED, severity


@pytest.mark.parametrize("seed", [1, 2])
def test_a_bad_day(seed: int) -> None:
    """Scenario: the day above, with the defaults.

    Guarantees: as the page says, some 200 messages for more than 26 000 alerts; no intake is owed.
    """
    desk = Desk()
    day = list(a_day(seed))
    for minute, alerts in groupby(day, key=itemgetter(0)):
        desk.until(minute * MINUTE)
        desk.give(*(desk.alert(subject, state=state, severity=severity) for _, subject, state, severity in alerts))
    desk.resolve(*(f"flaps{number}" for number in range(10)))
    desk.until(25 * HOUR)

    assert len(day) > 26_000
    assert len(desk.batches) < 230
    assert len(desk.told) < 250
    assert desk.settled
