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
    "failure_cluster": {"threshold": {"failures": 0}, "lateness": "1s", "resolution": "1s"},
    "error_type": {"cause": "innermost", "cache_entries": 2},
}

EXPORTERS: Mapping[str, Mapping[str, Any]] = {
    "clickhouse": {"endpoint": "embedded"},
    "debug": {"verbosity": "detailed"},
    "file": {"path": "FOLDER/out.jsonl"},
}

EXTENSIONS: Mapping[str, Mapping[str, Any]] = {
    "embedded_clickhouse": {"path": "FOLDER/clickhouse", "endpoint": "127.0.0.1:0"},
    "file_storage": {"directory": "FOLDER/state", "create_directory": True},
    "health_check": {"endpoint": "127.0.0.1:0"},
}


def placed(sample: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the sample with FOLDER replaced by a folder of the test."""
    return {
        key: value.replace("FOLDER", str(folder)) if isinstance(value, str) else value for key, value in sample.items()
    }
