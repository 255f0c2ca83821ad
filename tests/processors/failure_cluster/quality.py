"""How good the clusters are, on streams with known truth: `python -m tests.processors.failure_cluster.quality`.

Prints the tables of docs/processors/failure_cluster.md: clean streams with the default rules, dirty ones with these and
with another share.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import mean, median
from typing import Any

from pipeline import Kind
from pipeline.alerts import AlertState, read_alerts
from tests.processors.failure_cluster.streams import START, Fault, Record, Stream, Worker, fed, processor, told

HOUR = 3600.0
MINUTE = 60.0
LENGTH = 4 * HOUR
CLASSES = 24
DIRTY = 1 / 30


@dataclass(frozen=True)
class Incident:
    """What a person would call one trouble."""

    begin: float
    end: float
    classes: frozenset[str]
    errors: frozenset[str]
    cause: tuple[str, str] | None = None


@dataclass
class Outcome:
    """What came of a stream."""

    clusters: int = 0
    right: int = 0
    """Clusters that are an incident's first."""
    incidents: int = 0
    found: int = 0
    waits: list[float] = field(default_factory=list)
    """Seconds from the begin of each incident that was found to its cluster."""
    named: int = 0
    """Incidents whose first cause told is the true one."""
    causes: int = 0
    messages: int = 0
    """First alerts and resolved ones, which is what a person gets of repeated ones."""
    failures: int = 0
    resolved: int = 0
    """Clusters that were resolved by the end."""


Scenario = Callable[[Stream], list[Incident]]


def names(classes: Iterable[int]) -> frozenset[str]:
    return frozenset(f"Job{number}" for number in classes)


def rate(number: int) -> float:
    """Executions an hour: from ten to hundreds, and one class of thousands."""
    return 5000.0 if number == CLASSES - 1 else 10.0 + 11.0 * number


def background(
    stream: Stream, begin: float = 0.0, end: float = LENGTH, skip: Iterable[int] = (), share: float = 0.004
) -> None:
    """What always goes wrong: one execution in 250, each class with a few faults of its own."""
    left = set(skip)
    for number in range(CLASSES):
        if number not in left:
            for kind in range(2):
                fault = Fault(f"Noise{number}.{kind}", peer="shop-db" if kind else "")
                stream.runs(f"Job{number}", rate(number) / 2, begin, end, share=share, fault=fault)


def steady_noise(stream: Stream) -> list[Incident]:
    background(stream)
    return []


def burst(stream: Stream) -> list[Incident]:
    background(stream)
    fault = Fault("Broken")
    stream.runs("Job20", 2 * rate(20), 2 * HOUR, 2 * HOUR + 10 * MINUTE, share=0.6, fault=fault)
    return [Incident(2 * HOUR, 2 * HOUR + 10 * MINUTE, names([20]), frozenset(["Broken"]))]


def outage(stream: Stream) -> list[Incident]:
    """Twelve classes call a dependency that is down for a quarter of an hour; each fails with an error of its own."""
    begin, end = 2 * HOUR, 2 * HOUR + 15 * MINUTE
    hit = range(8, 20)
    background(stream, 0, begin)
    background(stream, begin, end, skip=hit)
    background(stream, end, LENGTH)
    for number in hit:
        fault = Fault(f"Down{number}", "dependency", "payments")
        stream.runs(f"Job{number}", rate(number), begin, end, share=0.7, fault=fault)
    errors = frozenset(f"Down{number}" for number in hit)
    return [Incident(begin, end, names(hit), errors, ("dependency", "payments"))]


def slow_leak(stream: Stream) -> list[Incident]:
    """More and more executions of one class fail, up to a third after two hours."""
    background(stream)
    fault = Fault("Leak")
    for step in range(24):
        begin = HOUR + step * 5 * MINUTE
        stream.runs("Job12", 120, begin, begin + 5 * MINUTE, share=step / 72, fault=fault)
    return [Incident(HOUR, 3 * HOUR, names([12]), frozenset(["Leak"]))]


def retry_storm(stream: Stream) -> list[Incident]:
    """Three jobs of one class fail every two minutes for an hour."""
    background(stream)
    for job in range(3):
        for attempt in range(30):
            at = 2 * HOUR + job * 7 + attempt * 2 * MINUTE
            stream.add(at, "Job5", Fault("Stuck"), job_id=f"stuck-{job}", outcome="retried")
    return [Incident(2 * HOUR, 3 * HOUR, names([5]), frozenset(["Stuck"]))]


def deployment(stream: Stream) -> list[Incident]:
    """A third of the workers get a version with which two classes fail; it is rolled back after half an hour."""
    begin, end = 2 * HOUR, 2 * HOUR + 30 * MINUTE
    hit = (18, 21)
    background(stream, 0, begin)
    background(stream, begin, end, skip=hit)
    background(stream, end, LENGTH)
    for number in hit:
        fault = Fault(f"Version{number}")
        stream.runs(f"Job{number}", rate(number) * 2 / 3, begin, end, workers=(Worker("w1"), Worker("w2")))
        stream.runs(
            f"Job{number}", rate(number) / 3, begin, end, share=0.9, fault=fault, workers=(Worker("w3", "2.0"),)
        )
    errors = frozenset(f"Version{number}" for number in hit)
    return [Incident(begin, end, names(hit), errors, ("service.version", "2.0"))]


def bad_host(stream: Stream) -> list[Incident]:
    """One of three hosts has a full disk: whatever runs there fails."""
    begin, end = 2 * HOUR, 2 * HOUR + 20 * MINUTE
    background(stream, 0, begin)
    background(stream, end, LENGTH)
    for number in range(CLASSES - 1):
        fault = Fault(f"NoSpace{number}", "resource")
        stream.runs(f"Job{number}", rate(number) * 2 / 3, begin, end, workers=(Worker("w1"), Worker("w2")))
        stream.runs(f"Job{number}", rate(number) / 3, begin, end, share=1.0, fault=fault, workers=(Worker("w3"),))
    errors = frozenset(f"NoSpace{number}" for number in range(CLASSES - 1))
    return [Incident(begin, end, names(range(CLASSES - 1)), errors, ("host.name", "w3"))]


def rare_class(stream: Stream) -> list[Incident]:
    """A class that runs every two hours fails nearly always, from noon on."""
    for number in range(24):
        fails = number >= 12
        stream.add(number * 2 * HOUR + 100, "Nightly", Fault("Moved") if fails else None)
    return [Incident(24 * HOUR, 48 * HOUR, frozenset(["Nightly"]), frozenset(["Moved"]))]


def loud_noise(stream: Stream) -> list[Incident]:
    """One execution in thirty fails, as always."""
    background(stream, share=DIRTY)
    return []


def outage_in_noise(stream: Stream) -> list[Incident]:
    """The outage, among classes of which one execution in thirty always fails, those that are hit too."""
    begin, end = 2 * HOUR, 2 * HOUR + 15 * MINUTE
    hit = range(8, 20)
    background(stream, share=DIRTY)
    for number in hit:
        fault = Fault(f"Down{number}", "dependency", "payments")
        stream.runs(f"Job{number}", rate(number), begin, end, share=0.4, fault=fault)
    errors = frozenset(f"Down{number}" for number in hit)
    return [Incident(begin, end, names(hit), errors, ("dependency", "payments"))]


def two_at_once(stream: Stream) -> list[Incident]:
    """Two dependencies fail in the same minutes, each for its own classes."""
    begin, end = 2 * HOUR, 2 * HOUR + 15 * MINUTE
    background(stream, share=0.02)
    incidents = []
    for peer, hit, late in (("payments", range(6, 13), 0.0), ("search", range(13, 20), 2 * MINUTE)):
        for number in hit:
            fault = Fault(f"{peer}{number}", "dependency", peer)
            stream.runs(f"Job{number}", rate(number), begin + late, end, share=0.5, fault=fault)
        errors = frozenset(f"{peer}{number}" for number in hit)
        incidents.append(Incident(begin + late, end, names(hit), errors, ("dependency", peer)))
    return incidents


def slow_ramp(stream: Stream) -> list[Incident]:
    """The share of one class's executions that fail goes up from 2 % to 20 % within two hours, among noise."""
    background(stream, share=0.02)
    fault = Fault("Ramp")
    for step in range(24):
        begin = HOUR + step * 5 * MINUTE
        stream.runs("Job18", 200, begin, begin + 5 * MINUTE, share=0.02 + 0.18 * step / 23, fault=fault)
    return [Incident(HOUR, 3 * HOUR, names([18]), frozenset(["Ramp"]))]


def outage_while_deploying(stream: Stream) -> list[Incident]:
    """A dependency fails while all workers, one by one, get a new version that has nothing to do with it."""
    begin, end = 2 * HOUR, 2 * HOUR + 15 * MINUTE
    hit = range(8, 20)
    background(stream, 0, begin, share=0.02)
    background(stream, end, LENGTH, share=0.02)
    old, new = [[Worker(host, version) for host in ("w1", "w2", "w3")] for version in ("1.0", "2.0")]
    for step in range(3):
        since, until = begin + step * 5 * MINUTE, begin + (step + 1) * 5 * MINUTE
        workers = (*new[: step + 1], *old[step + 1 :])
        for number in range(CLASSES):
            noise = Fault(f"Noise{number}.0")
            stream.runs(f"Job{number}", rate(number) / 2, since, until, share=0.02, fault=noise, workers=workers)
            fault = Fault(f"Down{number}", "dependency", "payments")
            share = 0.5 if number in hit else 0.0
            stream.runs(f"Job{number}", rate(number) / 2, since, until, share=share, fault=fault, workers=workers)
    errors = frozenset(f"Down{number}" for number in hit)
    return [Incident(begin, end, names(hit), errors, ("dependency", "payments"))]


def correlated(stream: Stream) -> list[Incident]:
    """A bad version on one host of three, which also runs most of one service's jobs: all three go together."""
    begin, end = 2 * HOUR, 2 * HOUR + 30 * MINUTE
    hit = (16, 18, 20, 22)
    background(stream, share=0.02)
    for number in hit:
        fault = Fault(f"Version{number}")
        well = (Worker("w1"), Worker("w2"), Worker("w2", service="mail"), Worker("w3"))
        ill = (Worker("w3", "2.0", "mail"), Worker("w3", "2.0", "mail"), Worker("w3", "2.0"))
        stream.runs(f"Job{number}", rate(number), begin, end, workers=well)
        stream.runs(f"Job{number}", rate(number) / 2, begin, end, share=0.8, fault=fault, workers=ill)
    errors = frozenset(f"Version{number}" for number in hit)
    return [Incident(begin, end, names(hit), errors, ("service.version", "2.0"))]


SCENARIOS: dict[str, Scenario] = {
    "steady noise": steady_noise,
    "burst on one class": burst,
    "dependency outage": outage,
    "slow leak": slow_leak,
    "retry storm": retry_storm,
    "bad deployment": deployment,
    "bad host": bad_host,
    "rare class": rare_class,
}

DIRTY_SCENARIOS: dict[str, Scenario] = {
    "1 in 30 always fails": loud_noise,
    "outage, 1 in 30 always fails": outage_in_noise,
    "two outages at once": two_at_once,
    "slow ramp, 2 to 20 %": slow_ramp,
    "outage during a deployment": outage_while_deploying,
    "bad version, host and service alike": correlated,
}
"""Less clean: noise of 2 or 3 %, and what happens at the same time."""

FIVE: dict[str, Any] = {"threshold": {"min_share": 0.05}}
"""What somebody would set whose classes always fail that often."""


def observed(scenario: Scenario, seed: int, **config: Any) -> Outcome:
    """Return what came of a scenario."""
    stream = Stream(seed)
    incidents = scenario(stream)
    watcher = processor(**config)
    batches = [*fed(watcher, stream.sorted()), *watcher.drain()]
    rows = told(batches)
    alerts = [alert for batch in batches if batch.kind is Kind.ALERTS for alert in read_alerts(batch)]
    last = {row["cluster_id"]: row for row in rows}
    outcome = Outcome(
        clusters=len(last),
        incidents=len(incidents),
        causes=sum(incident.cause is not None for incident in incidents),
        failures=sum(record["fault"] is not None for record in stream.records),
        messages=len({(alert.subject, alert.state) for alert in alerts}),
        resolved=sum(row["state"] == "resolved" for row in last.values()),
    )
    assert {AlertState.FIRING} >= {alert.state for alert in alerts if "no more" not in alert.text}
    for incident in incidents:
        own = [row for row in last.values() if _is_of(row, incident)]
        if own:
            first = min(own, key=lambda row: row["opened_at"])
            outcome.found += 1
            outcome.right += 1
            outcome.waits.append(first["opened_at"] / 1e9 - START - incident.begin)
            if incident.cause is not None and first["causes"]:
                cause = first["causes"][0]
                outcome.named += (cause["key"], cause["value"]) == incident.cause
    return outcome


def _is_of(row: Record, incident: Incident) -> bool:
    at = row["opened_at"] / 1e9 - START
    return (
        incident.begin <= at <= incident.end + 60
        and row["job_classes"][0] in incident.classes
        and row["error_type"] in incident.errors
    )


HEAD = (
    "| stream | failures | incidents | clusters | precision | recall | time to open | cause named | messages |",
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
)


def table(seeds: int) -> str:
    """Return the first table of the page."""
    lines = (_line(name, [observed(scenario, seed) for seed in range(seeds)]) for name, scenario in SCENARIOS.items())
    return "\n".join([*HEAD, *lines])


def dirty_table(seeds: int) -> str:
    """Return the second one."""
    lines = [*HEAD]
    for name, scenario in DIRTY_SCENARIOS.items():
        lines.append(_line(name, [observed(scenario, seed) for seed in range(seeds)]))
        lines.append(_line("- with `min_share: 0.05`", [observed(scenario, seed, **FIVE) for seed in range(seeds)]))
    return "\n".join(lines)


def _line(name: str, outcomes: Sequence[Outcome]) -> str:
    seeds = len(outcomes)
    clusters, incidents = sum(o.clusters for o in outcomes), sum(o.incidents for o in outcomes)
    right, found, causes = (sum(getattr(o, key) for o in outcomes) for key in ("right", "found", "causes"))
    waits = [wait for o in outcomes for wait in o.waits]
    cells = (
        name,
        f"{mean(o.failures for o in outcomes):.0f}",
        f"{incidents / seeds:g}",
        f"{clusters / seeds:.1f}",
        f"{right / clusters:.2f}" if clusters else "-",
        f"{found / incidents:.2f}" if incidents else "-",
        f"{median(waits) / 60:.1f} min" if waits else "-",
        f"{sum(o.named for o in outcomes)} of {causes}" if causes else "-",
        f"{mean(o.messages for o in outcomes):.1f}",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--dirty-seeds", type=int, default=1)
    args = parser.parse_args()
    print(table(args.seeds), dirty_table(args.dirty_seeds), sep="\n\n")  # noqa: T201 - a command


if __name__ == "__main__":
    main()
