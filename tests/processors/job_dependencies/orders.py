"""The workflow of an order, as the SDK of a shop's services told it (tests/fixtures/orders)."""

from __future__ import annotations

from typing import Any

import orjson

from pipeline import Batch, Receipt, Signal, otlp
from tests.fixtures.orders.record import FOLDER
from tests.processors.job_dependencies.world import Edge, Found


def order_batches() -> list[Batch]:
    """Return the requests of the services, web first."""
    paths = sorted(FOLDER.glob("*-traces.pb"), reverse=True)
    return [otlp.decode(Signal.TRACES, [path.read_bytes()]).batch(Receipt.issue(path.stem)) for path in paths]


def order_edges() -> dict[Edge, dict[str, Any]]:
    """Return calls, executions and failures of each edge, as they happened."""
    told = orjson.loads((FOLDER / "expected.json").read_bytes())
    return {Edge(*(*edge["parent"], *edge["child"], edge["via"])): edge for edge in told}


def check_orders(found: Found) -> None:
    """Compare every count of every edge."""
    for name in ("calls", "executions", "failures"):
        assert found.sums(name) == {edge: told[name] for edge, told in order_edges().items() if told[name]}
