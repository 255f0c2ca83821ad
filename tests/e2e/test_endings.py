"""What happens to data when processes stop, die or cannot start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.testing.program import JOBSIGHT, Ports, Program, eventually, jobsight
from tests.e2e.clients import Worker, post_json
from tests.e2e.stores import StoreAlone

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "clickhouse"


@pytest.fixture
def running(data: Path) -> Iterator[list[Program]]:
    """Programs of the test, stopped with it whatever happens."""
    programs: list[Program] = []
    yield programs
    for program in programs:
        if program.process.poll() is None:
            program.send(signal.SIGKILL)
        program.exit_code()


def spans(number: int) -> list[dict[str, object]]:
    return [
        {
            "traceId": f"{row + 1:032x}",
            "spanId": f"{row + 1:016x}",
            "name": "job",
            "startTimeUnixNano": "1795300000000000000",
        }
        for row in range(number)
    ]


@pytest.mark.parametrize("how", ["SIGTERM", "Ctrl-C"])
def test_what_was_accepted_is_stored_before_the_end(data: Path, running: list[Program], how: str) -> None:
    """Scenario: stopped by SIGTERM, or by Ctrl-C to the whole process group, with rows still in the batch.

    Guarantees: exit code 0, all rows there at the next start.
    """
    program = Program(data, Ports(), sets=["processors.batch.timeout=1h"]).started()
    running.append(program)
    worker = Worker(program.ports, "grpc")
    worker.run_jobs(100)
    worker.close()

    if how == "SIGTERM":
        program.send(signal.SIGTERM)
    else:
        program.interrupt_group()

    assert program.exit_code() == 0
    again = Program(data, Ports()).started()
    running.append(again)
    assert again.count() == 200
    assert again.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_although_nobody_reads_its_output(number: signal.Signals) -> None:
    """Scenario: whoever read its stdout and stderr has gone, as when a terminal was closed; then a signal.

    Guarantees: the signal stops it in order, with exit code 0.
    """
    config = (
        "yaml:{receivers: {otlp: {protocols: {grpc: {endpoint: 127.0.0.1:0}}}}, exporters: {debug: },"
        " service: {telemetry: {metrics: {level: none}},"
        " pipelines: {logs: {receivers: [otlp], exporters: [debug]}}}}"
    )
    process = subprocess.Popen(
        [*JOBSIGHT, "run", "--config", config], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "jobsight is running.\n"
        process.stdout.close()
        process.stderr.close()
        process.send_signal(number)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def test_a_killed_collector_leaves_no_orphan(data: Path, running: list[Program]) -> None:
    """Scenario: kill -9 of the collector.

    Guarantees: its store ends too, and the next start on the same data works at once.
    """
    program = Program(data, Ports()).started()
    running.append(program)
    store = program.store_pid()
    post_json(program.ports, spans(5))
    eventually(lambda: program.count() == 5, what="five rows")

    program.send(signal.SIGKILL)
    assert program.exit_code() == -signal.SIGKILL
    again = Program(data, program.ports).started()
    running.append(again)

    assert again.count() == 5
    assert not Path(f"/proc/{store}").exists()
    assert again.stop() == 0


def test_a_dead_store_is_restarted_and_gets_the_queue(data: Path, running: list[Program]) -> None:
    """Scenario: the store is killed while spans come in.

    Guarantees: a new one starts on the same port, every span is there once.
    """
    program = Program(data, Ports(), sets=["exporters.clickhouse.retry_on_failure.initial_interval=500ms"]).started()
    running.append(program)
    post_json(program.ports, spans(10))
    eventually(lambda: program.count() == 10, what="ten rows")
    first = program.store_pid()

    os.kill(first, signal.SIGKILL)
    for _ in range(5):
        post_json(program.ports, spans(10))

    eventually(lambda: program.count() == 60, within=40, what="sixty rows")
    assert program.store_pid() != first
    assert program.stop() == 0


def test_a_port_in_use_is_one_clear_line(data: Path, running: list[Program]) -> None:
    """Scenario: something listens on the gRPC port.

    Guarantees: exit code 1, one line that names the port, no store left behind.
    """
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = Ports(grpc=taken.getsockname()[1])
        program = Program(data, ports)
        running.append(program)

        assert program.exit_code() == 1

    (line,) = [line for line in program.errors if line.startswith("jobsight: ")]
    assert f"127.0.0.1:{ports.grpc}" in line
    assert "address already in use" in line.lower()


def test_a_second_collector_on_the_same_data_is_refused(data: Path, running: list[Program]) -> None:
    """Scenario: two collectors, one data directory.

    Guarantees: the second says who holds it and ends with 1; the first goes on.
    """
    first = Program(data, Ports()).started()
    running.append(first)
    second = Program(data, Ports())
    running.append(second)

    assert second.exit_code() == 1
    (line,) = [line for line in second.errors if line.startswith("jobsight: ")]
    assert str(data) in line
    assert first.count() == -1 or first.count() == 0
    assert first.stop() == 0


def test_a_data_directory_that_cannot_be_made_is_one_clear_line(tmp_path: Path, running: list[Program]) -> None:
    """Scenario: the path of the data goes through a file. Guarantees: exit code 1 and one line with the path."""
    (tmp_path / "file").write_text("", encoding="ascii")
    program = Program(tmp_path / "file" / "data", Ports())
    running.append(program)

    assert program.exit_code() == 1
    (line,) = [line for line in program.errors if line.startswith("jobsight: ")]
    assert str(tmp_path / "file") in line


def test_clickhouse_away_at_start(data: Path, running: list[Program]) -> None:
    """Scenario: the server is not there when spans come, and comes later.

    Guarantees: the collector starts, keeps them, and all are in the table.
    """
    ports = Ports()
    sets = [
        f"exporters.clickhouse.endpoint=http://127.0.0.1:{ports.clickhouse}",
        "exporters.clickhouse.username=writer",
        "exporters.clickhouse.password=secret",
        "exporters.clickhouse.retry_on_failure={initial_interval: 300ms, max_interval: 500ms}",
        "service.extensions=[health_check, file_storage]",
    ]
    program = Program(data, ports, sets=sets).started()
    running.append(program)
    post_json(ports, spans(20))
    eventually(lambda: program.metric("jobsight_exporter_retries") >= 1, what="a retry")

    store = StoreAlone(data, ports.clickhouse, "writer", "secret")
    try:
        eventually(lambda: program.count() == 20, within=40, what="twenty rows")
        assert program.stop() == 0
    finally:
        store.stop()


def test_a_full_queue_asks_callers_to_try_again(data: Path, running: list[Program]) -> None:
    """Scenario: no ClickHouse, a queue of one row.

    Guarantees: callers get 429 or 503 with Retry-After; at the end what is owed is said, exit code 1.
    """
    ports = Ports()
    sets = [
        f"exporters.clickhouse.endpoint=http://127.0.0.1:{ports.clickhouse}",
        "exporters.clickhouse.sending_queue={queue_size: 1, num_consumers: 1}",
        "processors.batch.timeout=0s",
        "service.extensions=[health_check, file_storage]",
        "service.shutdown_timeout=2s",
    ]
    program = Program(data, ports, sets=sets).started()
    running.append(program)
    refused: urllib.error.HTTPError | None = None
    for _ in range(100):
        try:
            post_json(ports, spans(5000))
        except urllib.error.HTTPError as error:
            error.close()
            refused = error
            break

    assert refused is not None
    assert refused.code in (429, 503)
    assert int(refused.headers["Retry-After"]) in (1, 2)
    assert program.metric("otelcol_exporter_send_failed_spans") == 0
    program.send(signal.SIGTERM)
    assert program.exit_code() == 1
    assert any("accepted rows were not delivered in time" in line for line in program.errors)


def test_commands_without_a_collector(tmp_path: Path) -> None:
    """Scenario: the commands a newcomer tries. Guarantees: exit codes 0, 1, 2 and words that help."""
    bad = tmp_path / "bad.yaml"
    bad.write_text("receivers:\n  otlp:\n    protocols:\n      grcp:\n", encoding="ascii")

    assert jobsight("--version").stdout.startswith("jobsight 0.")
    assert "clickhouse" in jobsight("components").stdout
    assert jobsight("validate", "--config", "configs/default.yaml").returncode == 0
    wrong = jobsight("validate", "--config", str(bad))
    assert wrong.returncode == 2
    assert f"{bad}:4:7: receivers.otlp.protocols.grcp: unknown key; did you mean" in wrong.stderr
    lonely = jobsight("query", "SELECT 1", "--url", "http://127.0.0.1:1")
    assert lonely.returncode == 1
    assert "127.0.0.1:1" in lonely.stderr


def execution(number: int, *, failed: bool) -> dict[str, object]:
    """Return the span of an attempt at one Celery task."""
    values = {
        "celery.action": "run",
        "celery.task_name": "shop.charge",
        "celery.state": "FAILURE" if failed else "SUCCESS",
        "messaging.message.id": "job-1",
    }
    return {
        "traceId": f"{number:032x}",
        "spanId": f"{number:016x}",
        "name": "run/shop.charge",
        "kind": 5,
        "startTimeUnixNano": f"{1795300000 + 60 * number}000000000",
        "endTimeUnixNano": f"{1795300001 + 60 * number}000000000",
        "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in values.items()],
    }


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_jobs_are_remembered_over_a_restart(data: Path, running: list[Program], end: signal.Signals) -> None:
    """Scenario: an attempt fails, the collector stops or is killed, and after the restart the job runs again.

    Guarantees: the row from before the restart turns from failed into retried.
    """
    sets = ["extensions.file_storage.save_interval=100ms"]
    program = Program(data, Ports(), sets=sets).started()
    running.append(program)
    outcomes = "SELECT Outcome FROM jobs FINAL ORDER BY Timestamp"

    def saved() -> float:
        return program.samples("jobsight_state_bytes").get('{owner="processor_jobs_"}', 0.0)

    eventually(lambda: saved() > 0, what="saved state")
    empty = saved()
    assert post_json(program.ports, [execution(1, failed=True)]) == 200
    eventually(lambda: program.query(outcomes) == "failed\n", what="the row of the first attempt")
    eventually(lambda: saved() > empty, what="saved state with the job in it")
    program.send(end)
    program.exit_code()

    again = Program(data, Ports(), sets=sets).started()
    running.append(again)
    assert post_json(again.ports, [execution(2, failed=False)]) == 200

    eventually(lambda: again.query(outcomes) == "retried\nsucceeded\n", what="the change of the first row")
    assert again.stop() == 0
