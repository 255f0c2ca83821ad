"""Which settings a reader may send, and how the limits of readers hold against them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from extensions.embedded_clickhouse.failures import ACCESS_DENIED, BAD_ARGUMENTS, QueryFailed

if TYPE_CHECKING:
    from extensions.embedded_clickhouse.settings import ReaderLimits

_PLAIN: Final = re.compile(r"[\w.+-]*", re.ASCII)
"""Numbers and words. Settings that hold SQL (`additional_result_filter`) or paths (`format_template_row`) need more."""

_ZONE: Final = re.compile(r"[\w/+-]*", re.ASCII)

_FORBIDDEN: Final = re.compile(
    r"readonly|dialect|profile|log_comment|implicit_select"
    r"|allow_ddl|allow_introspection_functions|allow_get_client_http_header|allow_experimental_eval_table_function"
    r"|additional_\w+|parallel_replicas_\w+|max_parallel_replicas|cluster_for_parallel_replicas"
    r"|format_schema\w*|output_format_schema|format_template\w*|format_custom_schema\w*"
    r"|max_untracked_memory|memory_overcommit\w*|max_parser_\w+|max_ast_\w+|max_expanded_ast_elements|max_subquery_depth"
    r"|max_memory_usage_for_user|use_uncompressed_cache|ai_\w+|backup_\w+|restore_\w+|s3_\w+|azure_\w+|url_\w+"
)
"""Settings that change who may do what, how SQL is read, or let a query escape its limits."""

_IGNORED: Final = frozenset({"readonly", "log_comment"})
"""Forbidden ones that clients send in good faith: we set them ourselves."""


def reader_settings(asked: Mapping[str, str], limits: ReaderLimits, max_threads: int) -> dict[str, str]:
    """Return what to set for a reader's query. Raises QueryFailed for what a reader may not set."""
    settings = {}
    for name, value in asked.items():
        if name in _IGNORED:
            continue
        if _FORBIDDEN.fullmatch(name):
            raise QueryFailed.of(ACCESS_DENIED, f"setting {name} is not allowed for readers of the embedded ClickHouse")
        if not (_ZONE if name == "session_timezone" else _PLAIN).fullmatch(value):
            raise QueryFailed.of(
                ACCESS_DENIED, f"setting {name}: readers may set numbers and words only, not {value[:60]!r}"
            )
        settings[name] = value
    # a bounded query that stops at `break` would answer with part of the rows as if they were all
    for name, limit in (
        ("max_execution_time", limits.max_execution_time),
        ("max_memory_usage", limits.max_memory_usage),
        ("max_result_rows", limits.max_result_rows),
        ("max_threads", max_threads),
    ):
        settings[name] = _at_most(name, settings.get(name), limit)
    return settings


def _at_most(name: str, asked: str | None, limit: float) -> str:
    try:
        number = float(asked) if asked else 0.0
    except ValueError:
        if name == "max_threads" and asked == "auto":
            return str(limit)
        raise QueryFailed.of(BAD_ARGUMENTS, f"setting {name} must be a number, is {asked!r}") from None
    if limit and not 0 < number <= limit:
        number = limit
    return f"{number:g}" if number < 1 else str(number).removesuffix(".0")
