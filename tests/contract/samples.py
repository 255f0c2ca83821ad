"""A working configuration for each component: a line here puts it through the contract suite."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

RECEIVERS: Mapping[str, Mapping[str, Any]] = {
    "otlp": {"protocols": {"grpc": {"endpoint": "127.0.0.1:0"}, "http": {"endpoint": "127.0.0.1:0"}}},
}

PROCESSORS: Mapping[str, Mapping[str, Any]] = {
    "batch": {"send_batch_size": 7, "send_batch_max_size": 9},
    "jobs": {},
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
    "clickhouse": {"endpoint": "embedded"},
    "debug": {"verbosity": "detailed"},
    "file": {"path": "FOLDER/out.jsonl"},
}

EXTENSIONS: Mapping[str, Mapping[str, Any]] = {
    "embedded_clickhouse": {"path": "FOLDER/clickhouse", "endpoint": "127.0.0.1:0"},
    "health_check": {"endpoint": "127.0.0.1:0"},
}


def placed(sample: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the sample with FOLDER replaced by a folder of the test."""
    return {
        key: value.replace("FOLDER", str(folder)) if isinstance(value, str) else value for key, value in sample.items()
    }
