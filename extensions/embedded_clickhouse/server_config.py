"""The engine's configuration file: few threads, bounded memory, merges that a small machine can afford."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from extensions.embedded_clickhouse.settings import StoreSettings

_SERVER: Final[dict[str, int]] = {
    "background_pool_size": 1,
    "background_merges_mutations_concurrency_ratio": 1,
    "background_schedule_pool_size": 4,
    "background_common_pool_size": 2,
    "mark_cache_size": 32 << 20,
    "uncompressed_cache_size": 0,
}

_MERGE_TREE: Final[dict[str, int | str]] = {
    # With one merging thread these three must be at most 1, or the engine refuses its own defaults.
    "number_of_free_entries_in_pool_to_execute_mutation": 1,
    "number_of_free_entries_in_pool_to_lower_max_size_of_merge": 1,
    "number_of_free_entries_in_pool_to_execute_optimize_entire_partition": 1,
    # A part as one file instead of one a column: a third less processor time for an insert of 10 000 spans.
    "min_bytes_for_wide_part": 64 << 20,
    # Merge more parts at a time, each row less often; a partition has tens of parts instead of ten.
    "merge_selector_base": 12,
    # Nobody reads the column statistics that the engine would keep for every part.
    "auto_statistics_types": "",
}
"""Defaults for tables of the MergeTree family; a table's own SETTINGS win."""

WRITER_SETTINGS: Final = {
    # Skip indexes come with a part's first merge. Parts that were never merged are small, and are read whole. Half of
    # an insert's processor time goes into the six indexes of `otel_traces` otherwise.
    "materialize_skip_indexes_on_insert": "0",
}
"""Defaults for what writers send; their own settings win."""


def server_config(settings: StoreSettings) -> str:
    """Return the XML for `settings`."""
    server = {"max_server_memory_usage": settings.max_server_memory_usage, **_SERVER}
    lines = [
        "<clickhouse>",
        *_elements(server),
        "<merge_tree>",
        *_elements(_MERGE_TREE),
        "</merge_tree>",
        "</clickhouse>",
    ]
    return "\n".join(lines) + "\n"


def _elements(values: Mapping[str, int | str]) -> list[str]:
    return [f"<{name}>{escape(str(value))}</{name}>" for name, value in values.items()]
