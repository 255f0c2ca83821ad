"""Who enqueues whom, from a shop's workers to the graph, through the real program."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.testing.program import Ports, Program, eventually, jobsight

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

Truth = dict[str, Any]

FAST = (
    "processors.job_dependencies.interval=1s",
    "processors.job_dependencies.settle=1s",
    "processors.job_dependencies.wait=8s",
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Program, Truth]]:
    """A collector that a shop's workers sent to for a few seconds, and what they really did."""
    folder = tmp_path_factory.mktemp("shop")
    program = Program(folder / "clickhouse", Ports(), sets=FAST).started()
    truth = folder / "truth.json"
    words = ("--rate", "400", "--duration", "5s", "--seed", "7", "--quiet", "--truth", str(truth))
    played = jobsight("demo", *words, "--endpoint", f"http://127.0.0.1:{program.ports.grpc}")
    assert (played.returncode, played.stderr) == (0, "")
    yield program, json.loads(truth.read_text("utf-8"))
    assert program.stop() == 0


def asked(program: Program, *words: str) -> str:
    done = jobsight(*words, "--url", f"http://127.0.0.1:{program.ports.clickhouse}")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_every_edge_is_exact(shop: tuple[Program, Truth]) -> None:
    """Scenario: three job systems in several services, retries, timers, requests, external calls, over the real SDK.

    Guarantees: each edge is there with exactly the calls that were made, jobs that nobody enqueued have no parent, and
    nothing else is there.
    """
    program, truth = shop
    expected: Counter[tuple[str, str, str, str]] = Counter()
    for edge in truth["edges"]:
        kind = {"none": "unknown"}.get(edge["parent_kind"], edge["parent_kind"])
        expected[kind, edge["parent"], "job", edge["child"]] += edge["count"]
    for call in truth["calls"]:
        if call["caller_kind"] == "job":
            expected["job", call["caller"], "external", call["peer"]] += call["count"]

    def found() -> dict[tuple[str, str, str, str], int]:
        graph = json.loads(asked(program, "graph", "--format", "json"))
        nodes = [(node["kind"], node["name"]) for node in graph["nodes"]]
        return {(*nodes[edge["parent"]], *nodes[edge["child"]]): edge["calls"] for edge in graph["edges"]}

    eventually(lambda: sum(found().values()) >= sum(expected.values()), within=60, what="all calls")

    assert found() == dict(expected)
    assert program.metric("jobsight_job_dependencies_edges") == len(expected)


def test_reports_of_workflows(shop: tuple[Program, Truth]) -> None:
    """Scenario: the same shop's orders. Guarantees: one of them as a tree by its trace; a row for each root class."""
    program, truth = shop
    trace = program.query("SELECT TraceId FROM jobs FINAL WHERE JobClass = 'ProcessOrderJob' LIMIT 1").strip()

    (order,) = [
        workflow
        for workflow in json.loads(asked(program, "report", "workflow", trace, "--format", "json"))
        if workflow["jobs"][0]["class"] == "ProcessOrderJob"
    ]
    roots = {row["root"] for row in json.loads(asked(program, "report", "workflows", "--format", "json"))}

    assert {"ProcessOrderJob", "ReserveInventory", "ChargePayment", "SendReceipt"} <= {
        job["class"] for job in order["jobs"]
    }
    assert order["jobs"][order["path"][0]]["class"] == "ProcessOrderJob"
    assert "● ProcessOrderJob" in asked(program, "report", "workflow", trace)
    assert roots <= {edge["child"] for edge in truth["edges"] if edge["parent_kind"] != "job"}
    assert "ProcessOrderJob" in roots
