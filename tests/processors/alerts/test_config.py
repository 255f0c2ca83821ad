"""Mistakes in the configuration of `alerts`, and the lines that users get."""

from __future__ import annotations

import pytest

from pipeline.config.load import load_plan
from pipeline.errors import ConfigError
from pipeline.registry import Registry

YAML = """yaml:
receivers: {otlp: {protocols: {grpc: }}}
exporters: {debug: }
service: {pipelines: {traces: {receivers: [otlp], processors: [alerts], exporters: [debug]}}}
processors:
  alerts: """


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("{group_limit: 0}", "processors.alerts.group_limit: must be at least 1, is 0"),
        ("{max_alerts: 0}", "processors.alerts.max_alerts: must be at least 1, is 0"),
        ("{cooldown: 1d}", 'processors.alerts.cooldown: must be a duration in h, m, s, ms, us or ns, is "1d"'),
        ("{routes: []}", "processors.alerts.routes: not supported by jobsight: every exporter of alerts has its own"),
        ("{runbook_url: docs/}", 'processors.alerts.runbook_url: must begin with http:// or https://, is "docs/"'),
        (
            "{overrides: [{match: {severity: urgent}, severity: info}]}",
            "processors.alerts.overrides[0].match.severity",
        ),
        (
            "{overrides: [{match: {name: X}}]}",
            "processors.alerts.overrides[0]: 'severity' or 'runbook' must be given",
        ),
        ("{silences: [{match: {}}]}", "processors.alerts.silences[0]: 'until' or 'weekly' must be given"),
        ("{silences: [{until: 2026-11-22T10:00:00Z}]}", "processors.alerts.silences[0].match: is required"),
        (
            "{silences: [{match: {}, until: 2026-11-22T10:00:00}]}",
            'is "2026-11-22T10:00:00", without an offset; UTC is Z',
        ),
        ("{silences: [{match: {}, until: tomorrow}]}", 'must be a time with its offset, such as "2026-11-22T22'),
        (
            "{silences: [{match: {}, from: 2026-11-22T10:00:00Z, until: 2026-11-22T09:00:00Z}]}",
            "processors.alerts.silences[0]: 'until' must be after 'from'",
        ),
        (
            "{silences: [{match: {}, weekly: {start: '25:00', end: '06:00'}}]}",
            'silences[0].weekly.start: must be a time of day such as "22:30", is "25:00"',
        ),
        (
            "{silences: [{match: {}, weekly: {start: '24:00', end: '06:00'}}]}",
            'silences[0].weekly.start: must be a time of day such as "22:30", is "24:00"',
        ),
        (
            "{silences: [{match: {}, weekly: {start: '22:00', end: '06:00', time_zone: Berlin}}]}",
            'weekly.time_zone: must be a time zone that this system knows, such as "Europe/Berlin", is "Berlin"',
        ),
        (
            "{silences: [{match: {}, weekly: {start: '22:00', end: '06:00', days: [monday]}}]}",
            "silences[0].weekly.days[0]",
        ),
        ("{silences: [{match: {}, weekly: {start: '22:00', end: '06:00', days: []}}]}", "silences[0].weekly.days"),
        ("{silences: [{match: {label: {a: b}}, until: 2026-11-22T10:00:00Z}]}", 'did you mean "labels"?'),
    ],
)
def test_mistakes(keys: str, problem: str) -> None:
    """Scenario: a mistake. Guarantees: one line that says where it is and what would be right."""
    with pytest.raises(ConfigError) as caught:
        load_plan([f"{YAML}{keys}"], [], environ={}, registry=Registry())

    (line,) = caught.value.problems
    assert problem in line


def test_everything_at_once() -> None:
    """Scenario: every key, in the forms that people write. Guarantees: it loads."""
    keys = """
    group_by: [name, severity, queue]
    group_wait: 30s
    group_interval: 1m
    group_limit: 3
    cooldown: 0s
    repeat_interval: 12h
    auto_resolve: 24h
    runbook_url: https://docs.example/runbooks
    max_alerts: 100
    storage: null
    overrides:
      - {match: {name: [JobCycle, "Retry*"], subject: "*", severity: info, labels: {queue: mail}}, severity: critical}
      - {match: {}, runbook: https://wiki.example}
    silences:
      - {match: {}, comment: move, from: 2026-11-22T10:00:00Z, until: "2026-11-22T13:00:00+01:00"}
      - {match: {}, weekly: {days: sun, start: "22:00", end: 24:00, time_zone: Europe/Berlin}}
    """
    plan = load_plan([f"{YAML}{keys}"], [], environ={}, registry=Registry())

    assert plan.warnings == ()
