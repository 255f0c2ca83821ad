"""A working configuration for each component: a line here puts it through the contract suite."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

RECEIVERS: Mapping[str, Mapping[str, Any]] = {
    "kafka": {"brokers": ["BROKER"], "group_id": "contract"},
    "otlp": {"protocols": {"grpc": {"endpoint": "127.0.0.1:0"}, "http": {"endpoint": "127.0.0.1:0"}}},
}

PROCESSORS: Mapping[str, Mapping[str, Any]] = {
    "batch": {"send_batch_size": 7, "send_batch_max_size": 9},
    "jobs": {},
    "error_type": {"cause": "innermost", "cache_entries": 2},
}

EXPORTERS: Mapping[str, Mapping[str, Any]] = {
    "clickhouse": {"endpoint": "embedded"},
    "debug": {"verbosity": "detailed"},
    "file": {"path": "FOLDER/out.jsonl"},
    "kafka": {"brokers": ["BROKER"], "partition_traces_by_id": True},
}

EXTENSIONS: Mapping[str, Mapping[str, Any]] = {
    "embedded_clickhouse": {"path": "FOLDER/clickhouse", "endpoint": "127.0.0.1:0"},
    "health_check": {"endpoint": "127.0.0.1:0"},
}


def placed(sample: Mapping[str, Any], folder: Path, broker: str) -> dict[str, Any]:
    """Return the sample with FOLDER replaced by a folder of the test, and BROKER by a broker's address."""

    def put(value: Any) -> Any:
        if isinstance(value, list):
            return [put(item) for item in value]
        return value.replace("FOLDER", str(folder)).replace("BROKER", broker) if isinstance(value, str) else value

    return {key: put(value) for key, value in sample.items()}
