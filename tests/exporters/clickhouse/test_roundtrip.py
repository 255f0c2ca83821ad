"""What comes back out of a real engine: every column of all seven tables, odd values included."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipeline.kinds import MetricType, Signal
from tests.exporters.clickhouse import messages
from tests.exporters.clickhouse.conftest import Start
from tests.exporters.clickhouse.messages import Row, decoded
from tests.exporters.clickhouse.servers import Store

pytestmark = pytest.mark.integration

TIMES = ("Timestamp", "StartTimeUnix", "TimeUnix")
LISTED_TIMES = ("Events.Timestamp", "Exemplars.TimeUnix")

DOUBLES = frozenset(
    {
        "Value",
        "Sum",
        "Min",
        "Max",
        "ExplicitBounds",
        "Exemplars.Value",
        "ValueAtQuantiles.Quantile",
        "ValueAtQuantiles.Value",
    }
)

_numbers = count()

ON_REAL_ENGINE = settings(
    max_examples=12,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def stored(store: Store, table: str, columns: Sequence[str]) -> list[Row]:
    """Return the rows of a table: times in ns, doubles as doubles."""
    expressions = ", ".join(
        f"toUnixTimestamp64Nano(`{name}`) AS `n:{name}`"
        if name in TIMES
        else f"arrayMap(t -> toUnixTimestamp64Nano(t), `{name}`) AS `n:{name}`"
        if name in LISTED_TIMES
        else f"`{name}`"
        for name in columns
    )
    return [
        {name.removeprefix("n:"): value for name, value in row.items()}
        for row in store.rows(f"SELECT {expressions} FROM {table}")
    ]


def comparable(rows: Sequence[Row]) -> list[str]:
    """Return rows in one order and spelling: tuples and pairs of maps as lists, doubles as doubles."""

    def spelled(value: Any, *, double: bool) -> Any:
        if isinstance(value, dict):  # a pair of a map
            return [value["keys"], value["values"]]
        if isinstance(value, list | tuple):
            return [spelled(item, double=double) for item in value]
        return float(value) if double else value

    return sorted(repr({name: spelled(row[name], double=name in DOUBLES) for name in sorted(row)}) for row in rows)


@ON_REAL_ENGINE
@given(st.lists(messages.TRACE_REQUESTS, min_size=3, max_size=3))
async def test_spans_come_back(start: Start, store: Store, database: str, requests: list[Any]) -> None:
    """Scenario: spans with every odd value. Guarantees: the engine has what a reading span by span gives."""
    unique = next(_numbers)
    exporter = await start(traces_table_name=f"spans_{unique}")

    for number, request in enumerate(requests):
        await exporter.export(decoded(Signal.TRACES, request, f"{unique}-{number}"))

    expected = [row for request in requests for row in messages.span_rows(request)]
    if expected:
        found = stored(store, f"{database}.spans_{unique}", list(expected[0]))
        assert comparable(found) == comparable(expected)


@ON_REAL_ENGINE
@given(st.lists(messages.LOG_REQUESTS, min_size=3, max_size=3))
async def test_logs_come_back(start: Start, store: Store, database: str, requests: list[Any]) -> None:
    """Scenario: log records with every odd value. Guarantees: the engine has them all as documented."""
    unique = next(_numbers)
    exporter = await start(logs_table_name=f"logs_{unique}")

    for number, request in enumerate(requests):
        await exporter.export(decoded(Signal.LOGS, request, f"{unique}-{number}"))

    expected = [row for request in requests for row in messages.log_rows(request)]
    if expected:
        found = stored(store, f"{database}.logs_{unique}", list(expected[0]))
        assert comparable(found) == comparable(expected)


@ON_REAL_ENGINE
@given(st.lists(messages.METRIC_REQUESTS, min_size=3, max_size=3))
async def test_points_come_back(start: Start, store: Store, database: str, requests: list[Any]) -> None:
    """Scenario: points of all five types with odd values. Guarantees: each table has its own, as documented."""
    unique = next(_numbers)
    exporter = await start(
        metrics_tables={str(type_): {"name": f"{type_}_{unique}"} for type_ in MetricType},
    )

    for number, request in enumerate(requests):
        await exporter.export(decoded(Signal.METRICS, request, f"{unique}-{number}"))

    points = [pair for request in requests for pair in messages.point_rows(request)]
    for type_ in {type_ for type_, _ in points}:
        expected = [row for of_type, row in points if of_type == type_]
        found = stored(store, f"{database}.{type_}_{unique}", list(expected[0]))
        assert comparable(found) == comparable(expected)
