"""The processor: real payloads, bad input, job rows, what it counts, what it remembers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from pydantic import ValidationError

from pipeline import Batch, ComponentId, Kind, Receipt
from pipeline.kinds import JOBS, RESOURCE, Signal
from pipeline.otlp import decode
from pipeline.testing import FakeHost
from processors.error_type import ErrorType
from processors.error_type.cache import BoundedCache
from processors.error_type.config import ErrorTypeConfig
from processors.error_type.processor import METRICS
from processors.error_type.spans import split_retry_reason
from tests.processors.error_type import traces
from tests.processors.error_type.test_tagging import batch_of, processor, spans_of
from tests.processors.error_type.twin import pair

FIXTURES = Path(__file__).parents[2] / "fixtures" / "otlp"


def tags(span: Span) -> dict[str, Any]:
    """Return error.type and what the processor adds to it."""
    return {
        pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value")
        for pair in span.attributes
        if pair.key.startswith(("job.error.", "error.type"))
    }


def tagged(*spans: Span, **config: Any) -> list[dict[str, Any]]:
    (out,) = processor(**config).process(batch_of(list(spans)))
    return [tags(span) for span in spans_of(out)]


def failed(type_: str = "", message: str = "", stack: str = "", *, status: int = 2, says: str = "") -> Span:
    """Return a span with an exception event."""
    values = {"exception.type": type_, "exception.message": message, "exception.stacktrace": stack}
    event = Span.Event(name="exception", attributes=[pair(key, value) for key, value in values.items() if value])
    return Span(status={"code": status, "message": says}, events=[event] if event.attributes else [])  # type: ignore[arg-type] # protobuf takes maps for messages


@pytest.mark.parametrize(
    ("fixture", "types", "categories"),
    [
        ("active_job/failure", ["RecordGone", "NoMethodError"], ["not_found", "bug"]),
        ("sidekiq/retry", ["StripeTimeout"], ["timeout"]),
        ("delayed_job/retry", ["SmsError"], ["unknown"]),
        (
            "celery/failure",
            ["orders.PaymentGatewayTimeout", "orders.CardDeclined", "KeyError"],
            ["timeout", "dependency", "bug"],
        ),
        ("celery/soft_limit", ["billiard.exceptions.SoftTimeLimitExceeded"], ["timeout"]),
        (
            "celery/retry_chain",
            ["ConnectionError", "InventoryError", "orders.InventoryError"],
            ["connection", "dependency"],
        ),
        ("rq/failure", ["rq_jobs.TemplateMissing"], ["not_found"]),
        ("arq/failure", ["ValueError"], ["validation"]),
        ("bullmq-appsignal/failure", ["TranscodeError", "UnrecoverableError"], ["unknown"]),
        ("bullmq/failure", [], ["unknown"]),
        ("taskiq/retry", [], ["dependency"]),
        ("emulated/hangfire", ["System.InvalidOperationException"], ["bug"]),
        ("emulated/oban", ["MyApp.Mailer.SMTPError"], ["connection"]),
        ("emulated/laravel", ["Illuminate\\Http\\Client\\ConnectionException"], ["connection"]),
        ("emulated/river", [], ["database", "unknown"]),
    ],
)
def test_captured_payloads(fixture: str, types: list[str], categories: list[str]) -> None:
    """Scenario: what eight job systems sent in earnest. Guarantees: types and categories, a fingerprint for each."""
    found: list[dict[str, Any]] = []
    one = processor()
    for file in sorted((FIXTURES / fixture).glob("*-traces.pb")):
        (out,) = one.process(decode(Signal.TRACES, [file.read_bytes()]).batch(Receipt.issue("fixture")))
        found += [tags(span) for span in spans_of(out) if tags(span)]

    assert found
    assert sorted({tag["error.type"] for tag in found if "error.type" in tag}) == sorted(types)
    assert sorted({tag["job.error.category"] for tag in found}) == sorted(categories)
    assert all(tag["job.error.fingerprint"].startswith("1:") for tag in found)
    assert all(("job.error.transient" in tag) == (tag["job.error.category"] != "unknown") for tag in found)


def test_one_fault_of_a_burst_is_one_fingerprint() -> None:
    """Scenario: a burst of failed Celery imports, each with ids of its own. Guarantees: one fingerprint a fault."""
    marks: dict[str, set[str]] = {}
    one = processor()
    for file in sorted((FIXTURES / "celery/burst").glob("*-traces.pb")):
        (out,) = one.process(decode(Signal.TRACES, [file.read_bytes()]).batch(Receipt.issue("fixture")))
        for tag in map(tags, spans_of(out)):
            if tag:
                marks.setdefault(tag["error.type"], set()).add(tag["job.error.fingerprint"])

    assert {type_: len(found) for type_, found in marks.items()} == {"orders.PaymentGatewayTimeout": 1, "KeyError": 1}


def test_a_rescued_exception_is_kept_apart() -> None:
    """Scenario: an exception event on a span that is UNSET or OK. Guarantees: marked rescued, and no error.type."""
    for status in (0, 1):
        (tag,) = tagged(failed("ValueError", "x", status=status))

        assert tag["job.error.rescued"] is True
        assert tag["job.error.category"] == "validation"
        assert "error.type" not in tag


def test_the_last_exception_of_a_span_counts() -> None:
    """Scenario: a span that records two exceptions. Guarantees: the later one is named."""
    span = failed("KeyError", "a")
    span.events.extend(failed("TimeoutError", "b").events)

    (tag,) = tagged(span)

    assert tag["error.type"] == "TimeoutError"


def test_what_is_there_stays() -> None:
    """Scenario: error.type is there, as text and as a number. Guarantees: it stays, the event gives the rest."""
    spans = [failed("TimeoutError", "x"), failed("TimeoutError", "x")]
    spans[0].attributes.append(pair("error.type", "late"))
    spans[1].attributes.append(pair("error.type", 504))

    first, second = tagged(*spans)

    assert (first["error.type"], first["job.error.category"]) == ("late", "timeout")
    assert (second["error.type"], second["job.error.category"]) == (504, "timeout")


def test_error_types_that_are_no_text() -> None:
    """Scenario: exception.type and error.type are numbers, lists, truth values. Guarantees: read as text."""
    span = Span(status={"code": 2}, attributes=[pair("error.type", 429)])  # type: ignore[arg-type] # protobuf takes maps for messages
    event = failed("x")
    event.events[0].attributes[0].value.Clear()
    event.events[0].attributes[0].value.array_value.values.add(string_value="A")

    first, second = tagged(span, event)

    assert first["job.error.category"] == "rate_limited"
    assert second["error.type"] == '["A"]'


def test_a_failure_that_says_nothing() -> None:
    """Scenario: status error and nothing else. Guarantees: category unknown; no type, transience or fingerprint."""
    assert tagged(Span(status={"code": 2})) == [{"job.error.category": "unknown"}]  # type: ignore[arg-type] # protobuf takes maps for messages


def test_huge_texts_are_capped_with_a_mark() -> None:
    """Scenario: 1 MB of message, of stack, of type. Guarantees: named all the same, marked, the type shortened."""
    stack = traces.PYTHON_CHAIN.replace("    response = conn", "x" * 1_000_000 + "\n    response = conn")

    message, long_stack, type_ = tagged(
        failed("E", "y" * 1_000_000), failed("E", "", stack), failed("T" * 1_000_000, "x"), max_stacktrace_bytes=1500
    )

    assert message["job.error.truncated"] is long_stack["job.error.truncated"] is type_["job.error.truncated"] is True
    assert (
        long_stack["job.error.fingerprint"] == tagged(failed("E", "", traces.PYTHON_CHAIN))[0]["job.error.fingerprint"]
    )
    assert len(type_["error.type"]) == 200


def test_the_innermost_cause_where_it_is_asked_for() -> None:
    """Scenario: `cause: innermost`. Guarantees: error.type is the root's; where there is no chain, the event's."""
    chain, alone = tagged(
        failed("payments.errors.PaymentFailed", "", traces.PYTHON_CHAIN), failed("A", "x"), cause="innermost"
    )

    assert (chain["error.type"], alone["error.type"]) == ("TimeoutError", "A")


def test_rules_and_frames_of_the_user() -> None:
    """Scenario: a rule, and patterns for frames. Guarantees: the rule wins; the fingerprint follows the frames."""
    span = failed("ValueError", "card 7", traces.PYTHON_CHAIN)
    plain = tagged(span)[0]

    ruled = tagged(
        span, rules=[{"type": "^ValueError$", "message": "card", "category": "dependency", "transient": True}]
    )[0]
    framed = tagged(span, application_frames=["/celery/"], library_frames=["client"])[0]

    assert (ruled["job.error.category"], ruled["job.error.transient"]) == ("dependency", True)
    assert ruled["job.error.fingerprint"] == plain["job.error.fingerprint"] != framed["job.error.fingerprint"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Retry in 1s: ConnectionError('refused (52)')", ("ConnectionError", "refused (52)")),
        ('Retry in 2s: KeyError("a")', ("KeyError", "a")),
        ("ConnectionError()", ("ConnectionError", "")),
        ("Retry in 1s: E('it\\'s\\nlate')", ("E", "it's\nlate")),
        ("Retry in 1s: E('a', 1)", ("E", "'a', 1")),
        ("Retry in 1s: E('broken)", ("E", "'broken")),
        ("Retry in 1s: E(cause)", ("E", "cause")),
        ("Retry in 180s", ("", "Retry in 180s")),
    ],
)
def test_retry_reasons(text: str, parts: tuple[str, str]) -> None:
    """Scenario: Celery's retry reasons. Guarantees: type and message of the exception in them."""
    assert split_retry_reason(text) == parts


def blank(type_: pa.DataType) -> Any:
    """Return the empty value of a column that cannot be null."""
    if pa.types.is_list(type_):
        return []
    return "" if type_ == pa.string() else 0 if pa.types.is_integer(type_) else False


def jobs_batch(rows: Sequence[dict[str, Any]]) -> Batch:
    """Return job rows; what is not given is empty."""
    empty = {field.name: None if field.nullable else blank(field.type) for field in JOBS}
    table = pa.Table.from_pylist([empty | dict(row) for row in rows], schema=JOBS)
    resource = pa.Table.from_pylist([{field.name: blank(field.type) for field in RESOURCE}], schema=RESOURCE)
    return Batch(Kind.JOBS, table, Receipt.issue("jobs"), {"resource": resource})


def filled(*rows: dict[str, Any], **config: Any) -> list[dict[str, Any]]:
    (out,) = processor(**config).process(jobs_batch(rows))
    out.table.validate(full=True)
    assert out.table.schema.equals(JOBS)
    return [
        {
            name.removeprefix("error_"): row[name]
            for name in ("error_type", "error_category", "error_transient", "error_fingerprint")
        }
        for row in out.table.to_pylist()
    ]


def test_job_rows_are_filled() -> None:
    """Scenario: a failed job, one retried for reasons unknown, one that succeeded.

    Guarantees: columns as the span's tags; unknown is null; what did not fail stays as it is.
    """
    error = {
        "error_type": "orders.CardDeclined",
        "error_message": "card 7",
        "exception_stacktrace": traces.PYTHON_CHAIN,
    }
    (tag,) = tagged(failed(*error.values()))

    declined, retried, fine = filled({"outcome": "failed"} | error, {"outcome": "retried"}, {"outcome": "succeeded"})

    assert declined == {
        "type": "orders.CardDeclined",
        "category": "dependency",
        "transient": False,
        "fingerprint": tag["job.error.fingerprint"],
    }
    assert retried == {"type": None, "category": "unknown", "transient": None, "fingerprint": None}
    assert set(fine.values()) == {None}


def test_types_of_job_rows() -> None:
    """Scenario: rows whose stack knows the type, and a chain. Guarantees: filled if missing; renamed for the root."""
    row = {"outcome": "failed", "error_type": "shop.PaymentFailed", "exception_stacktrace": traces.PYTHON_CHAIN}
    nameless = {"outcome": "failed", "exception_stacktrace": traces.JAVA}

    assert [it["type"] for it in filled(row, nameless)] == ["shop.PaymentFailed", "com.acme.billing.InvoiceException"]
    assert [it["type"] for it in filled(row, nameless, cause="innermost")] == [
        "TimeoutError",
        "java.net.SocketTimeoutException",
    ]


def test_texts_of_job_rows_are_capped() -> None:
    """Scenario: job rows with huge texts between others. Guarantees: cut with a mark; the others untouched."""
    rows = [
        {"error_message": text, "exception_stacktrace": text}
        for text in ("short", "long " * 1000, None, "LONG " * 1000)
    ]

    (out,) = processor(max_stacktrace_bytes=300).process(jobs_batch(rows))

    messages = out.column("error_message").to_pylist()
    assert (messages[0], messages[2]) == ("short", None)
    assert [(len(text) < 240, "bytes cut" in text) for text in (str(messages[1]), str(messages[3]))] == [
        (True, True)
    ] * 2
    assert all(len(text or "") < 340 for text in out.column("exception_stacktrace").to_pylist())


def test_job_rows_without_errors_pass_as_they_are() -> None:
    """Scenario: job rows that did not fail, and none at all. Guarantees: the very same batch."""
    for rows in ([{"outcome": "succeeded"}], []):
        batch = jobs_batch(rows)
        (out,) = processor().process(batch)
        assert out is batch


async def test_metrics(host: FakeHost) -> None:
    """Scenario: failed, rescued and capped spans, and the same again. Guarantees: every metric, the right counts."""
    one = ErrorType(ErrorTypeConfig.model_validate({"max_message_bytes": 64}), ComponentId("error_type", "main"))
    await one.start(host)
    batch = batch_of([failed("KeyError", "x"), failed("KeyError", "x", status=1), failed("A", "y" * 99), Span()])

    for _ in range(2):
        list(one.process(batch))

    text = host.metrics.exposition().decode()
    assert all(f"# TYPE {metric} " in text for metric in METRICS)
    for line in (
        'failures{category="bug",processor="error_type/main"} 2.0',
        'failures{category="unknown",processor="error_type/main"} 2.0',
        'rescued{processor="error_type/main"} 2.0',
        'truncated{processor="error_type/main"} 2.0',
        'cache_entries{processor="error_type/main"} 2.0',
        'cache_hits{processor="error_type/main"} 2.0',
        'cache_misses{processor="error_type/main"} 2.0',
    ):
        assert f"jobsight_error_type_{line}" in text


def test_the_page_names_every_metric() -> None:
    """Scenario: docs/processors/error_type.md. Guarantees: no metric is missing from it."""
    page = Path("docs/processors/error_type.md").read_text(encoding="utf-8")

    assert [metric for metric in METRICS if metric not in page] == []


def test_memory_is_bounded() -> None:
    """Scenario: more errors than fit, by number and by size, and one larger than all. Guarantees: the oldest go."""
    few, small = BoundedCache(2, 10_000), BoundedCache(100, 1000)
    for key in ("a", "b", "c"):
        few.put(key, key, 1)
        small.put(key, key, 1)
    few.find("b")
    few.put("d", "d", 1)
    small.put("huge", "huge", 5000)

    assert [few.find(key) for key in "abcd"] == [None, "b", None, "d"]
    assert [small.find(key) for key in ("a", "b", "c", "huge")] == [None, "b", "c", None]
    assert small.nbytes <= 1000
    assert len(few) == 2
    few.put("d", "e", 1)
    assert (few.find("d"), few.nbytes) == ("e", 802)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"cause": "root"}, "outermost"),
        ({"rules": [{"category": "bug"}]}, "'type' or 'message' must be given"),
        ({"rules": [{"type": "(", "category": "bug"}]}, "is no regular expression"),
        ({"rules": [{"type": 5, "category": "bug"}]}, "must be a regular expression in quotes, is 5"),
        ({"rules": [{"type": "x", "category": "weird"}]}, "rate_limited"),
        ({"library_frames": [""]}, "must be a regular expression"),
        ({"max_message_bytes": 1}, "greater than or equal to 64"),
        ({"fingerprints": True}, "Extra inputs"),
    ],
)
def test_bad_configurations(config: dict[str, Any], says: str) -> None:
    """Scenario: keys and values that cannot be. Guarantees: an error that says what would be right."""
    with pytest.raises(ValidationError, match=says.replace("(", r"\(")):
        ErrorTypeConfig.model_validate(config)


def test_the_pages_example_is_a_configuration() -> None:
    """Scenario: the YAML in docs/processors/error_type.md. Guarantees: it is accepted as it stands there."""
    page = Path("docs/processors/error_type.md").read_text(encoding="utf-8")
    example = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])

    config = ErrorTypeConfig.model_validate(example["processors"]["error_type"])

    assert config.rules[0].category == "dependency"
