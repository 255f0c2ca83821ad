"""What the codec costs: `python -m benchmarks.codec`.

Processor time of one core, the best of several rounds, in microseconds a row. `upb` is google.protobuf's bare parse of
the same bodies, as a yardstick for the machine and the moment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.payloads import make_logs, make_points, make_spans
from benchmarks.stages import cost
from pipeline.columns import any_value_text, attributes, unnest
from pipeline.kinds import Signal
from pipeline.otlp import decode, decode_json, encode, encode_json, warm_up
from pipeline.otlp.descriptors import REQUESTS, parse
from pipeline.receipt import Receipt

_KEYS = (
    "messaging.system",
    "messaging.destination.name",
    "messaging.message.id",
    "celery.task_name",
    "celery.state",
    "x",
)


def report(name: str, work: Callable[[], object], rows: int) -> None:
    print(f"{name:<58}{cost(work, rows):8.2f}")


def report_decode(signal: Signal, bodies: Sequence[bytes], rows: int, what: str) -> None:
    name = f"{len(bodies)} x {rows} {what} of {len(bodies[0]) // rows} bytes"
    total = rows * len(bodies)
    report(f"decode  {name}", lambda: decode(signal, bodies), total)
    report(f"upb     {name}", lambda: [parse(REQUESTS[signal], body) for body in bodies], total)


def report_rest(signal: Signal, bodies: Sequence[bytes]) -> None:
    batch = decode(signal, bodies).batch(Receipt.issue("benchmark"))
    texts = [encode_json(decode(signal, [body]).batch(Receipt.issue("benchmark"))) for body in bodies]
    lists = batch.column("attributes")
    values = unnest(lists)[1].field("value")
    report(f"encode          {signal}", lambda: encode(batch), batch.rows)
    report(f"encode_json     {signal}", lambda: encode_json(batch), batch.rows)
    report(f"decode_json     {signal}", lambda: decode_json(signal, texts), batch.rows)
    report(f"attributes      {signal}, six keys", lambda: attributes(lists, _KEYS), batch.rows)
    report(f"any_value_text  {signal}, all values", lambda: any_value_text(values), batch.rows)


def main() -> None:
    warm_up()
    print(f"{'':<58}us a row")
    for requests, spans in ((1, 512), (20, 512), (100, 10), (1, 10)):
        report_decode(Signal.TRACES, make_spans(requests, spans), spans, "spans")
    for requests in (1, 20):
        report_decode(Signal.METRICS, make_points(requests, 1000), 1000, "points")
        report_decode(Signal.LOGS, make_logs(requests, 500), 500, "log records")
    report_rest(Signal.TRACES, make_spans(10, 512))
    report_rest(Signal.METRICS, make_points(10, 512))
    report_rest(Signal.LOGS, make_logs(10, 512))


if __name__ == "__main__":
    main()
