"""A working configuration for each component: a line here puts it through the contract suite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RECEIVERS: Mapping[str, Mapping[str, Any]] = {
    "kafka": {"brokers": ["BROKER"], "group_id": "contract"},
    "otlp": {"protocols": {"grpc": {"endpoint": "127.0.0.1:0"}, "http": {"endpoint": "127.0.0.1:0"}}},
}

PROCESSORS: Mapping[str, Mapping[str, Any]] = {
    "alerts": {
        "group_by": ["name", "queue"],
        "group_limit": 1,
        "auto_resolve": "1m",
        "max_alerts": 4,
        "silences": [{"match": {"subject": "Job1"}, "until": "2099-01-01T00:00:00Z"}],
    },
    "batch": {"send_batch_size": 7, "send_batch_max_size": 9},
    "jobs": {},
    "failure_cluster": {"threshold": {"failures": 0}, "lateness": "1s", "resolution": "1s"},
    "job_dependencies": {"max_depth": 3, "max_fanout": 3},
    "error_type": {"cause": "innermost", "cache_entries": 2},
    "tail_sampling": {
        "decision_wait": "2s",
        "num_traces": 4,
        "policies": [
            {"name": "failed", "type": "job", "job": {"outcome": ["failed"], "whole_job": True}},
            {"name": "some", "type": "probabilistic", "probabilistic": {"sampling_percentage": 30}},
        ],
    },
}

EXPORTERS: Mapping[str, Mapping[str, Any]] = {
    "alertmanager": {"endpoint": "http://service"},
    "clickhouse": {"endpoint": "embedded"},
    "debug": {"verbosity": "detailed"},
    "file": {"path": "FOLDER/out.jsonl"},
    "kafka": {"brokers": ["BROKER"], "partition_traces_by_id": True},
    "pagerduty": {"endpoint": "http://service/v2/enqueue", "routing_key": "0123456789abcdef0123456789abcdef"},
    "slack": {"endpoint": "http://service/services/T0/B0/x"},
    "webhook": {"endpoint": "http://service/hook", "secret": "hush"},
}

EXTENSIONS: Mapping[str, Mapping[str, Any]] = {
    "embedded_clickhouse": {"path": "FOLDER/clickhouse", "endpoint": "127.0.0.1:0"},
    "file_storage": {"directory": "FOLDER/state", "create_directory": True},
    "health_check": {"endpoint": "127.0.0.1:0"},
}


def placed(sample: Mapping[str, Any], places: Mapping[str, str]) -> dict[str, Any]:
    """Return the sample with each place of `places` (FOLDER, BROKER, http://service) replaced by the test's own."""

    def put(value: Any) -> Any:
        if isinstance(value, list):
            return [put(item) for item in value]
        if isinstance(value, str):
            for place, own in places.items():
                value = value.replace(place, own)
        return value

    return {key: put(value) for key, value in sample.items()}
