"""What naming errors costs: `python -m benchmarks.error_type`.

Processor time of one core, the best of several rounds, in microseconds a span (failed or not). The spans are those of
`payloads`, every fifth failed; in the first line the failures are 50 distinct errors, in the second each has a message
of its own, in the third a stack of its own as well. "cold" is the first batch, when nothing is remembered yet.
"""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from benchmarks.payloads import make_spans
from benchmarks.stages import cost
from pipeline import Batch, ComponentId, Receipt
from pipeline.kinds import Signal
from pipeline.otlp import decode, warm_up
from processors.error_type import ErrorType
from processors.error_type.config import ErrorTypeConfig

_SPANS = 20_000
_FRAMES = "".join(
    f'  File "/srv/venv/lib/python3.11/site-packages/celery/step_{chr(97 + n)}.py", line {n}, in step\n    step()\n'
    for n in range(12)
)


def stack(place: int, line: int, message: str) -> str:
    """A traceback of 13 frames, about 1.5 kB, thrown at one of many places."""
    return (
        f"Traceback (most recent call last):\n{_FRAMES}"
        f'  File "/srv/shop/orders.py", line {line}, in charge_{chr(97 + place % 26)}{chr(97 + place // 26)}\n'
        f"    raise GatewayError(order)\nshop.errors.GatewayError: {message}\n"
    )


def spans(error: Callable[[int], tuple[str, str]]) -> Batch:
    """Return spans of which the n-th failure has the message and the stack of `error(n)`."""
    request = ExportTraceServiceRequest()
    request.ParseFromString(make_spans(1, _SPANS)[0])
    failed = [span for span in request.resource_spans[0].scope_spans[0].spans if span.events]
    for number, span in enumerate(failed):
        _rewrite(span, *error(number))
    return decode(Signal.TRACES, [request.SerializeToString()]).batch(Receipt.issue("benchmark"))


def _rewrite(span: Span, message: str, trace: str) -> None:
    values = {pair.key: pair.value for pair in span.events[0].attributes}
    values["exception.message"].string_value = message
    values["exception.stacktrace"].string_value = trace


def fifty(number: int) -> tuple[str, str]:
    message = f"gateway answered {500 + number % 50}"
    return message, stack(number % 50, 7, message)


def own_message(number: int) -> tuple[str, str]:
    message = f"gateway answered 503 for order {number}"
    return message, stack(number % 50, 7, message)


def own_stack(number: int) -> tuple[str, str]:
    message = f"gateway answered 503 for order {number}"
    return message, stack(number % 50, number, message)


def processor() -> ErrorType:
    return ErrorType(ErrorTypeConfig(), ComponentId("error_type"))


def warm_cost(batch: Batch) -> float:
    """Return the cost of a batch whose errors are all remembered."""
    one = processor()
    return cost(lambda: list(one.process(batch)), batch.rows)


def cold_cost(batch: Batch) -> float:
    """Return the cost of the first batch that a processor sees."""
    fresh = iter([processor() for _ in range(15)])
    return cost(lambda: list(next(fresh).process(batch)), batch.rows)


def main() -> None:
    warm_up()
    print(f"{'':<53}{'warm':>8}{'cold':>8}")
    for name, error in (("50 errors", fifty), ("own messages", own_message), ("own messages and stacks", own_stack)):
        batch = spans(error)
        print(f"{batch.rows} spans, 20 % failed, {name:<24}{warm_cost(batch):>8.2f}{cold_cost(batch):>8.2f}")


if __name__ == "__main__":
    main()
