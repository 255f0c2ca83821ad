"""`jobsight graph` on edges that went the whole way: spans, job rows, edges, ClickHouse, picture."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from pipeline import Kind
from pipeline.graph import command
from tests.exporters.clickhouse.conftest import Start
from tests.exporters.clickhouse.servers import Store
from tests.processors.job_dependencies.orders import order_batches
from tests.processors.job_dependencies.world import Found

README = Path(__file__).parents[3] / "README.md"

Ask = Callable[..., Coroutine[Any, Any, int]]


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return parser.parse_args(words)


@pytest.fixture
def ask(store: Store, database: str) -> Ask:
    """Run the command on the test's database; the store is a process of its own, so a thread will do."""

    async def ask(*words: str) -> int:
        args = arguments(*words, "--url", store.url, "--database", database, "--since", "0")
        return await asyncio.to_thread(command.run, args)

    return ask


async def export_orders(start: Start) -> None:
    """Let the processors see the orders, and write their edges."""
    exporter = await start()
    found = Found().hear(*order_batches()).wait(30)
    for batch in found.dependencies.drain():
        if batch.kind is Kind.JOB_DEPENDENCIES:
            await exporter.export(batch)


@pytest.mark.integration
async def test_the_picture_in_the_readme(start: Start, ask: Ask, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Scenario: twenty orders, from web request to notification. Guarantees: the README shows what is drawn."""
    await export_orders(start)

    assert await ask() == 0

    drawn = capfdbinary.readouterr().out.decode()
    shown = re.search(r"## Who enqueues whom\n.*?```mermaid\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert shown is not None
    assert shown[1] == drawn


@pytest.mark.integration
async def test_what_json_says(start: Start, ask: Ask, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Scenario: the same orders as JSON. Guarantees: calls, failures, fan-out, links, services, quantiles."""
    await export_orders(start)

    assert await ask("--format", "json") == 0

    graph = json.loads(capfdbinary.readouterr().out)
    names = [node["name"] for node in graph["nodes"]]
    edges = {(names[edge["parent"]], names[edge["child"]]): edge for edge in graph["edges"]}
    assert {pair: (edge["calls"], edge["failures"]) for pair, edge in edges.items()} == {
        ("POST /orders", "ProcessOrderJob"): (20, 0),
        ("ProcessOrderJob", "postgresql/shop"): (20, 0),
        ("ProcessOrderJob", "ReserveInventory"): (20, 0),
        ("ProcessOrderJob", "SendReceipt"): (20, 0),
        ("ProcessOrderJob", "ChargePayment"): (20, 1),
        ("ReserveInventory", "postgresql/shop"): (20, 0),
        ("SendReceipt", "api.mail.example.com"): (21, 0),
        ("ChargePayment", "payments-api"): (20, 1),
        ("ChargePayment", "Fulfil"): (19, 0),
        ("ChargePayment", "Refund"): (1, 0),
        ("Fulfil", "Notify"): (19, 0),
        ("Refund", "Notify"): (1, 0),
        ("Notify", "api.mail.example.com"): (20, 0),
    }
    charge = edges["ProcessOrderJob", "ChargePayment"]
    assert (charge["linked"], charge["fan_out"], charge["fan_out_max"]) == (20, 1, 1)
    assert (charge["parent_services"], charge["child_services"]) == (["shop-worker"], ["billing"])
    assert charge["duration_ns"] == [260_000_000] * 3
    assert edges["ProcessOrderJob", "SendReceipt"]["executions"] == 21
    assert graph["cycles"] == []


@pytest.mark.integration
async def test_a_part_of_it(start: Start, ask: Ask, capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path) -> None:
    """Scenario: a root, a service, a file to write to. Guarantees: only their edges; the file has the picture."""
    await export_orders(start)
    path = tmp_path / "graph.dot"

    assert await ask("--root", "ChargePayment", "--format", "json") == 0
    root = json.loads(capfdbinary.readouterr().out)
    assert await ask("--service", "mailer", "--format", "json") == 0
    service = json.loads(capfdbinary.readouterr().out)
    assert await ask("--format", "dot", "--output", str(path)) == 0

    assert {node["name"] for node in root["nodes"]} == {
        "ChargePayment", "payments-api", "Fulfil", "Refund", "Notify", "api.mail.example.com",
    }  # fmt: skip
    assert {node["name"] for node in service["nodes"]} == {
        "ProcessOrderJob", "SendReceipt", "Fulfil", "Refund", "Notify", "api.mail.example.com",
    }  # fmt: skip
    assert path.read_text("utf-8").startswith("digraph jobs {")


@pytest.mark.integration
async def test_nothing_there(start: Start, ask: Ask, capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path) -> None:
    """Scenario: no table yet; then a root that is misspelt, one that calls nothing, a service without edges, a folder.

    Guarantees: one line each that says what is missing or meant.
    """
    assert await ask() == 1
    assert b"no edges yet. Is processor `job_dependencies` in the pipeline" in capfdbinary.readouterr().err
    await export_orders(start)

    for words, code, expected in (
        (("--root", "ProcessOrder"), 1, b'no job class or request "ProcessOrder"; there is ProcessOrderJob'),
        (("--root", "api.mail.example.com"), 1, b'no job class or request "api.mail.example.com"; there is'),
        (("--service", "nobody"), 0, b"no edges of service nobody"),
        (("--output", str(tmp_path)), 1, b"cannot write"),
    ):
        assert await ask(*words) == code
        assert expected in capfdbinary.readouterr().err


def test_no_clickhouse(unused_port: int, capfd: pytest.CaptureFixture[str]) -> None:
    """Scenario: nobody listens. Guarantees: what `jobsight query` says of it, exit code 1."""
    assert command.run(arguments("--url", f"http://127.0.0.1:{unused_port}")) == 1

    assert f"no ClickHouse at http://127.0.0.1:{unused_port}" in capfd.readouterr().err
