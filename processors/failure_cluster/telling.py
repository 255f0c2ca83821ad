"""What is told of a cluster: rows for its table, and alerts for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipeline import Batch, Kind, Receipt
from pipeline.alerts import RUNBOOKS, Alert, AlertState, Severity, alert_batch
from pipeline.kinds import FAILURE_CLUSTERS
from processors.failure_cluster.books import SECOND, Books
from processors.failure_cluster.causes import DEPENDENCY, Cause, compared, told
from processors.failure_cluster.clusters import Cluster, Rule, State
from processors.failure_cluster.rows import fingerprint_text

FAILURE_CLUSTER: Final = "FailureCluster"
RETRY_LOOP: Final = "RetryLoop"
"""Names of the alerts; each has a page of RUNBOOKS."""

_PAGES: Final = {FAILURE_CLUSTER: "failure-cluster.md", RETRY_LOOP: "retry-loop.md"}

_MOST_CLASSES: Final = 100
_NAMED: Final = 3
"""Classes that an alert's text names."""

_FIRING: Final = (State.OPENED, State.GROWING, State.REOPENED)
_SEVERITIES: Final = tuple(Severity)


def describe(books: Books, cluster: Cluster) -> None:
    """Look anew at what the failures of an open cluster have in common, and pick samples of them."""
    rows = books.failing.of(cluster.units)
    number = next(place for place, other in enumerate(books.open) if other is cluster)
    rows = rows.compress(books.coverage.of(rows, books.names) == number)
    rows = rows.compress(rows["end"] >= cluster.first_at)
    if len(rows) == 0:
        return
    cluster.causes = told(
        compared(rows, books.passing.of(cluster.units), cluster.units, cluster.first_at - books.before_ns, books.names)
    )
    fault, kind = _commonest(books, cluster), ("", "")
    of_fault = rows[rows["fingerprint"] == fault]
    if len(of_fault):
        newest = of_fault[np.lexsort((of_fault["key"], of_fault["end"]))[-1]]
        kind = books.names.text(int(newest["type"])), books.names.text(int(newest["category"]))
    cluster.error = (*kind, fingerprint_text(books.names.text(fault)))
    # the commonest error first, each message once
    order = np.lexsort((rows["key"], rows["end"], rows["fingerprint"] != fault))
    messages: dict[str, None] = {}
    traces: dict[str, None] = {}
    for key in rows["key"][order].tolist():
        message, trace, _ = books.texts.get(key, ("", "", ""))
        if message and len(messages) < books.config.samples:
            messages[message] = None
        if trace and len(traces) < books.config.samples:
            traces[trace] = None
    cluster.messages, cluster.traces = list(messages), list(traces)


def _commonest(books: Books, cluster: Cluster) -> int:
    faults = sorted(cluster.faults.items(), key=lambda item: (-item[1], books.names.text(item[0])))
    return faults[0][0] if faults else 0


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a cluster: the row, and the alert if there is one."""

    row: dict[str, Any]
    alert: Alert | None

    @classmethod
    def of(cls, cluster: Cluster, state: State, at: int, books: Books) -> Change:
        """Return what is told at a time."""
        kind, category, fingerprint = cluster.error
        row = {
            "timestamp": at,
            "cluster_id": cluster.id,
            "state": str(state),
            "rule": str(cluster.rule),
            "opened_at": cluster.opened_at,
            "last_seen_at": cluster.last_at,
            "failures": cluster.failures,
            "job_classes": _most(cluster.classes)[:_MOST_CLASSES],
            "queues": _most(cluster.queues)[:_MOST_CLASSES],
            "error_type": kind,
            "error_category": category,
            "error_fingerprint": fingerprint,
            "causes": [
                {
                    "key": cause.key,
                    "value": cause.value,
                    "share_in_failures": cause.failures,
                    "share_in_successes": cause.successes,
                }
                for cause in cluster.causes
            ],
            "sample_messages": cluster.messages,
            "sample_trace_ids": cluster.traces,
        }
        wanted = books.config.alerts and state is not State.QUIET
        return cls(row, _alert(cluster, state, at, books) if wanted else None)


def _alert(cluster: Cluster, state: State, at: int, books: Books) -> Alert:
    name = RETRY_LOOP if cluster.rule is Rule.RETRY_LOOP else FAILURE_CLUSTER
    classes, queues = _most(cluster.classes), _most(cluster.queues)
    labels = {
        "job_class": classes[0] if classes else "",
        "queue": queues[0] if queues else "",
        "error_type": cluster.error[0],
        "error_category": cluster.error[1],
        "rule": str(cluster.rule),
        "state": str(state),
        "classes": str(len(classes)),
    }
    if cluster.causes:
        labels["cause"] = f"{cluster.causes[0].key}={cluster.causes[0].value}"
    for key, label in (("service.name", "service"), ("deployment.environment.name", "environment")):
        value = next((cause.value for cause in cluster.causes if cause.key == key), "")
        if value:
            labels[label] = value
    return Alert(
        name=name,
        severity=_severity(cluster, books),
        subject=cluster.id,
        text=_text(cluster, state, classes),
        timestamp=at,
        state=AlertState.FIRING if state in _FIRING else AlertState.RESOLVED,
        labels={key: value for key, value in labels.items() if value},
        runbook=RUNBOOKS + _PAGES[name],
        trace_ids=tuple(cluster.traces),
    )


def _severity(cluster: Cluster, books: Books) -> Severity:
    """Return the most urgent severity of its units' rules; critical for many classes."""
    if len(cluster.classes) >= books.config.critical_classes:
        return Severity.CRITICAL
    severities = [books.rules[books.units.rules[unit]].severity for unit in cluster.units]
    return min(severities, key=_SEVERITIES.index, default=Severity(books.config.severity))


def _text(cluster: Cluster, state: State, classes: list[str]) -> str:
    named = ", ".join(classes[:_NAMED])
    if len(classes) > _NAMED:
        named += f" and {len(classes) - _NAMED} more classes"
    lasted = _span(cluster.last_at - cluster.first_at)
    if state is State.RESOLVED:
        return f"{named}: no more failures of this kind; {cluster.failures} in all, the last ones over {lasted}."
    what = cluster.error[0] or "no error named"
    if cluster.error[1]:
        what += f" ({cluster.error[1]})"
    began = {State.OPENED: "", State.GROWING: ", still growing", State.REOPENED: ", again"}[state]
    text = f"{named}: {cluster.failures} failures within {lasted}{began}, most often {what}."
    if cluster.rule is Rule.RETRY_LOOP and cluster.jobs:
        text += f" Retried again and again: job {', '.join(cluster.jobs)}."
    if cluster.causes:
        text += f" {_said(cluster.causes[0])}"
    return text


def _said(cause: Cause) -> str:
    what = "had a failed call to" if cause.key == DEPENDENCY else f"have {cause.key} ="
    against = "" if cause.successes is None else f", of the successes {cause.successes:.0%}"
    return f"{cause.failures:.0%} of the failures {what} {cause.value}{against}."


def _span(nanoseconds: int) -> str:
    seconds = max(1, round(nanoseconds / SECOND))
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{round(seconds / size)} {unit}"
    return f"{seconds} s"


def _most(counts: dict[str, int]) -> list[str]:
    return sorted(counts, key=lambda name: (-counts[name], name))


def batches(changes: Sequence[Change], receipts: Sequence[Receipt]) -> list[Batch]:
    """Return the rows, and the alerts if there are any, as batches; a receipt for each (see `parts`)."""
    made = [Batch(Kind.FAILURE_CLUSTERS, pa.Table.from_pylist([c.row for c in changes], FAILURE_CLUSTERS), receipts[0])]
    alerts = [change.alert for change in changes if change.alert is not None]
    if alerts:
        made.append(alert_batch(alerts, receipts[1]))
    return made


def parts(changes: Sequence[Change]) -> int:
    """Return how many batches changes make."""
    if not changes:
        return 0
    return 1 + any(change.alert is not None for change in changes)


def token(changes: Sequence[Change]) -> str:
    """Return a token for rows that no intake brought: the same rows have the same."""
    told_of = "\n".join(f"{c.row['cluster_id']} {c.row['state']} {c.row['timestamp']}" for c in changes)
    return f"failure_clusters-{blake2b(told_of.encode(), digest_size=12).hexdigest()}"
