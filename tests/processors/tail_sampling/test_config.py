"""Mistakes in the configuration: one clear line each, where it is."""

# ruff: noqa: E501 - a case a line

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config.load import load_plan
from pipeline.errors import ConfigError
from pipeline.registry import Registry

_FRAME = """\
receivers: {{otlp: {{protocols: {{grpc: }}}}}}
exporters: {{debug: }}
processors:
  tail_sampling:
{body}
service:
  pipelines:
    traces: {{receivers: [otlp], processors: [tail_sampling], exporters: [debug]}}
"""


def problems(tmp_path: Path, body: str) -> list[str]:
    path = tmp_path / "c.yaml"
    indented = "\n".join(f"    {line}" for line in body.splitlines())
    path.write_text(_FRAME.format(body=indented), encoding="utf-8")
    try:
        load_plan([str(path)], [], environ={}, registry=Registry())
    except ConfigError as error:
        return [line.removeprefix(str(path) + ":") for line in error.problems]
    return []


def one(policy: str) -> str:
    return f"policies:\n  - {policy}"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("policies: []", "policies: must not be empty"),
        (one("{name: a, type: latencie, latencie: {}}"), 'unknown sampling policy type "latencie"; did you mean "latency"?'),
        (one("{name: a, type: probabilistic, probabilistic: {sampling_percentage: 101}}"), "sampling_percentage: must be at most 100"),
        (one("{name: a, type: probabilistic, probabilistic: {sampling_percentage: -1}}"), "sampling_percentage: must be at least 0"),
        (one("{name: a, type: and, and: {and_sub_policy: []}}"), "and_sub_policy: must not be empty"),
        (one("{name: a, type: drop, drop: {drop_sub_policy: []}}"), "drop_sub_policy: must not be empty"),
        (one("{name: a, type: and}"), "'and' is required where 'type' is and"),
        (one('{name: a, type: string_attribute, string_attribute: {key: k, values: ["(x"], enabled_regex_matching: true}}'), 'is no regular expression (RE2): missing ): (x, in "(x"'),
        (one('{name: a, type: job, job: {class: "["}}'), "is no regular expression (RE2)"),
        (one("{name: a, type: job, job: {}}"), "needs a condition"),
        (one("{name: a, type: job, job: {slower_than: p100}}"), 'must be a percentile such as "p99"'),
        (one("{name: a, type: job, job: {outcome: [lost]}}"), 'must be succeeded, failed, retried, discarded or unknown, is "lost"'),
        (one("{name: '', type: always_sample}"), "policy name cannot be empty"),
        ("policies:\n  - {name: a, type: always_sample}\n  - {name: a, type: trace_flags}", 'duplicate policy name "a"'),
        (one("{name: a, type: status_code, status_code: {status_codes: [error]}}"), 'must be OK, ERROR or UNSET, is "error"; did you mean "ERROR"?'),
        (one("{name: a, type: status_code, status_code: {status_codes: []}}"), "status_codes: must not be empty"),
        (one("{name: a, type: numeric_attribute, numeric_attribute: {key: k}}"), "at least one of 'min_value' or 'max_value' must be set"),
        (one("{name: a, type: latency, latency: {threshold_ms: 9, upper_threshold_ms: 9}}"), "'upper_threshold_ms' must be greater than 'threshold_ms'"),
        (one("{name: a, type: latency, latency: {treshold_ms: 9}}"), 'unknown key; did you mean "threshold_ms"?'),
        (one("{name: a, type: latency, probabilistic: {sampling_percentage: 9}, latency: {threshold_ms: 9}}"), "'probabilistic' has no effect where 'type' is latency"),
        (one("{name: a, type: ottl_condition, ottl_condition: {}}"), "expected at least one OTTL condition to filter on"),
        (one("{name: a, type: ottl_condition, ottl_condition: {span: ['name = 1']}}"), "is no OTTL condition that jobsight knows: cannot read"),
        (one("{name: a, type: ottl_condition, ottl_condition: {span: ['Sum(name) == 1']}}"), 'there is no function "Sum" here'),
        (one("{name: a, type: ottl_condition, ottl_condition: {span: ['nam == 1']}}"), 'there is no path "nam" here; did you mean "name"?'),
        (one("{name: a, type: not, not: {not_sub_policy: {name: b, type: composite}}}"), 'unknown sampling policy type "composite"'),
        (
            one("{name: a, type: composite, composite: {max_total_spans_per_second: 10, composite_sub_policy: [{name: b, type: always_sample}, {name: c, type: always_sample}], rate_allocation: [{policy: b, percent: 70}, {policy: c, percent: 60}]}}"),
            "'rate_allocation' gives 13 spans a second (130 % named), more than 'max_total_spans_per_second', 10",
        ),
        (
            one("{name: a, type: composite, composite: {max_total_spans_per_second: 10, composite_sub_policy: [{name: bee, type: always_sample}], rate_allocation: [{policy: be, percent: 70}]}}"),
            "'rate_allocation' names policy \"be\", which is not in 'composite_sub_policy'; did you mean \"bee\"?",
        ),
        ("sampling_strategy: span-ingest\n" + one("{name: a, type: rate_limiting, rate_limiting: {spans_per_second: 1}}"), 'requires all policies to be stateless, but policy "a" is stateful'),
        ("sampling_strategy: span-ingest\n" + one("{name: a, type: composite, composite: {max_total_spans_per_second: 1, composite_sub_policy: [{name: b, type: rate_limiting, rate_limiting: {spans_per_second: 1}}]}}"), 'requires all policies to be stateless, but policy "a" is stateful'),
        ("sampling_strategy: often\n" + one("{name: a, type: always_sample}"), 'must be trace-complete or span-ingest, is "often"'),
        ("decision_wait: -1s\n" + one("{name: a, type: always_sample}"), "decision_wait: must not be negative"),
        ("tail_storage: redis\n" + one("{name: a, type: always_sample}"), "tail_storage: not supported by jobsight: spans wait in memory"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_line(tmp_path: Path, body: str, expected: str) -> None:
    """Scenario: one mistake. Guarantees: one line, which has its place and says what would be right."""
    (line,) = problems(tmp_path, body)

    place, _, text = line.partition(": ")
    assert place.split(":")[0].isdigit()
    assert text.startswith("processors.tail_sampling")
    assert expected in text


def test_a_config_of_the_collector_loads(tmp_path: Path) -> None:
    """Scenario: every policy type and key, as the Collector's documentation writes them. Guarantees: no problem."""
    body = """\
decision_wait: 10s
decision_wait_after_root_received: 1s
num_traces: 100
expected_new_traces_per_sec: 10
num_shards: 2
block_on_overflow: true
sample_on_first_match: true
drop_pending_traces_on_shutdown: true
maximum_trace_size_bytes: 1000000
sampling_strategy: trace-complete
decision_cache: {sampled_cache_size: 100_000, non_sampled_cache_size: 100_000}
policies:
  - {name: p1, type: always_sample}
  - {name: p2, type: latency, latency: {threshold_ms: 5000, upper_threshold_ms: 10000}}
  - {name: p3, type: numeric_attribute, numeric_attribute: {key: key1, min_value: 50, max_value: 100, invert_match: true}}
  - {name: p4, type: probabilistic, probabilistic: {sampling_percentage: 10.5, hash_salt: a}}
  - {name: p5, type: status_code, status_code: {status_codes: [ERROR, UNSET]}}
  - {name: p6, type: string_attribute, string_attribute: {key: key2, values: [value1, val*], enabled_regex_matching: true, cache_max_size: 10}}
  - {name: p7, type: rate_limiting, rate_limiting: {spans_per_second: 35, burst_capacity: 70}}
  - {name: p8, type: span_count, span_count: {min_spans: 2, max_spans: 20}}
  - {name: p9, type: trace_state, trace_state: {key: key3, values: [value1, value2]}}
  - {name: p10, type: boolean_attribute, boolean_attribute: {key: key4, value: true, invert_match: true}}
  - name: p11
    type: ottl_condition
    ottl_condition:
      error_mode: ignore
      span: ['attributes["test_attr_key_1"] == "test_attr_val_1"', 'attributes["test_attr_key_2"] != "test_attr_val_1"']
      spanevent: ['name != "test_span_event_name"', 'attributes["test_event_attr_key_2"] != "test_event_attr_val_1"']
  - name: p12
    type: and
    and:
      and_sub_policy:
        - {name: a1, type: numeric_attribute, numeric_attribute: {key: key1, min_value: 50, max_value: 100}}
        - {name: a2, type: not, not: {not_sub_policy: {name: a3, type: trace_flags}}}
  - {name: p13, type: bytes_limiting, bytes_limiting: {bytes_per_second: 1000, burst_capacity: 5000}}
  - {name: p14, type: not, not: {not_sub_policy: {name: n1, type: latency, latency: {threshold_ms: 1}}}}
  - name: p15
    type: drop
    drop:
      drop_sub_policy:
        - {name: d1, type: string_attribute, string_attribute: {key: url.path, values: ['/health'], invert_match: false}}
  - name: p16
    type: composite
    composite:
      max_total_spans_per_second: 1000
      policy_order: [c1, c2, c3]
      composite_sub_policy:
        - {name: c1, type: numeric_attribute, numeric_attribute: {key: key1, min_value: 50}}
        - {name: c2, type: and, and: {and_sub_policy: [{name: c4, type: always_sample}]}}
        - {name: c3, type: always_sample}
      rate_allocation:
        - {policy: c1, percent: 50}
        - {policy: c2, percent: 25}
"""
    assert problems(tmp_path, body) == []
