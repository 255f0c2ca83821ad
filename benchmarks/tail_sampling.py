"""What tail sampling costs: `python -m benchmarks.tail_sampling`.

Processor time of one core, in microseconds a span, once as many traces wait as ever will: `add` is taking a batch,
`decide` all that time brings (policies, dropping, freeing memory, and taking out and marking what is kept). A trace has
four spans: two come at once, one after a quarter of the wait and one after half of it, in batches of 20 000 spans.
`memory` is what is held for the waiting spans, everything included, over their own Arrow size, at its worst; it says
little where most spans do not wait.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.payloads import make_spans
from pipeline import Batch, ComponentId, Receipt
from pipeline.kinds import Signal
from pipeline.otlp import decode, warm_up
from processors.tail_sampling.processor import TailSampling

_SPANS = 20_000
_NEW = _SPANS // 4
"""New traces a batch."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds a span, and the worst ratio of memory to Arrow size."""

    add: float
    decide: float
    memory: float
    kept: float
    """Share of the spans that came out."""


def policy(type_: str, **settings: Any) -> dict[str, Any]:
    return {"name": type_, "type": type_} | ({type_: settings} if settings else {})


ERRORS = policy("status_code", status_codes=["ERROR"])
REST = [policy("latency", threshold_ms=60_000), policy("probabilistic", sampling_percentage=5)]
_NEVER = policy("string_attribute", key="messaging.destination.name", values=["nowhere"])

EACH: Mapping[str, Mapping[str, Any]] = {
    "always_sample": policy("always_sample"),
    "latency": policy("latency", threshold_ms=60_000),
    "latency, with an upper bound": policy("latency", threshold_ms=60_000, upper_threshold_ms=70_000),
    "numeric_attribute": policy("numeric_attribute", key="messaging.message.body.size", min_value=1 << 50),
    "probabilistic, 5 %": policy("probabilistic", sampling_percentage=5),
    "status_code": policy("status_code", status_codes=["OK"]),
    "string_attribute": _NEVER,
    "string_attribute, a pattern": policy(
        "string_attribute", key="messaging.destination.name", values=["^no.*e$"], enabled_regex_matching=True
    ),
    "rate_limiting": policy("rate_limiting", spans_per_second=100),
    "bytes_limiting": policy("bytes_limiting", bytes_per_second=100_000),
    "span_count": policy("span_count", min_spans=100),
    "trace_state": policy("trace_state", key="a", values=["b"]),
    "trace_flags": policy("trace_flags"),
    "boolean_attribute": policy("boolean_attribute", key="never", value=True),
    "ottl_condition": policy("ottl_condition", span=['attributes["messaging.destination.name"] == "nowhere"']),
    "job": policy("job", outcome=["failed"]),
    "and": policy("and", and_sub_policy=[_NEVER, policy("probabilistic", sampling_percentage=5)]),
    "not": policy("not", not_sub_policy=policy("always_sample")),
    "drop": policy("drop", drop_sub_policy=[_NEVER]),
    "composite": policy(
        "composite",
        max_total_spans_per_second=100,
        composite_sub_policy=[_NEVER, policy("always_sample")],
        rate_allocation=[{"policy": "string_attribute", "percent": 50}, {"policy": "always_sample", "percent": 50}],
    ),
}
"""A line each; most keep nothing, so that the lines show the policy and not what is kept."""


class Traffic:
    """Batches whose traces go on in later batches; each has memory of its own, as if it came from a socket."""

    def __init__(self, batches_a_wait: int) -> None:
        bodies = make_spans(10, _SPANS // 10)
        self._columns = decode(Signal.TRACES, bodies)
        self._wait = batches_a_wait
        self._table = self._columns.table

    def batch(self, number: int) -> Batch:
        """Return the batch of this number: two spans each of new traces, one each of two older generations."""
        rows = np.arange(_SPANS)
        generation = np.full(_SPANS, number)
        generation[_SPANS // 2 :] -= self._wait // 4
        generation[3 * _SPANS // 4 :] -= self._wait // 4
        trace = generation * _NEW + rows % _NEW
        order = np.argsort(rows % _NEW, kind="stable")
        words = np.column_stack([trace, trace * 0x5851F42D4C957F2D + 1])[order].astype(">u8")
        offsets = np.arange(0, 16 * _SPANS + 1, 16, dtype=np.int32)
        ids = pa.Array.from_buffers(
            pa.binary(), _SPANS, [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(words.tobytes())]
        )
        position = self._table.schema.get_field_index("trace_id")
        table = self._table.take(rows).combine_chunks()
        table = table.set_column(position, self._table.schema.field(position), ids)
        return Batch(
            self._columns.batch(Receipt.issue("x")).kind, table, Receipt.issue(str(number)), self._columns.sides
        )


def measure(policies: Sequence[Mapping[str, Any]], wait: float, live: int) -> Cost:
    """Return the cost with `live` traces waiting `wait` seconds each."""
    batches = live // _NEW
    traffic = Traffic(batches)
    config = {"decision_wait": f"{wait:g}s", "num_traces": 2 * live, "max_bytes": "16GiB", "policies": list(policies)}
    sampler = TailSampling(TailSampling.Config.model_validate(config), ComponentId("tail_sampling"))
    adds, decides, memory, kept = [], [], 0.0, 0
    for number in range(2 * batches):
        batch = traffic.batch(number)
        now = 1000.0 + wait * number / batches
        began = time.process_time()
        out = list(sampler.process(batch))
        added = time.process_time()
        out += list(sampler.tick(now))
        decided = time.process_time()
        if number < batches:
            continue
        adds.append(added - began)
        decides.append(decided - added)
        kept += sum(part.rows for part in out)
        held = sampler.held_bytes + sampler.spare_bytes
        memory = max(memory, held / max(1.0, sampler.waiting_bytes))
    spans = _SPANS * batches
    return Cost(1e6 * sum(adds) / spans, 1e6 * sum(decides) / spans, memory, kept / spans)


def _line(name: str, cost: Cost) -> list[str]:
    memory = f"{cost.memory:.2f}" if cost.kept < 0.5 else "-"
    return [name, f"{cost.add:.2f}", f"{cost.decide:.2f}", memory, f"{100 * cost.kept:.0f} %"]


def waits() -> Iterator[list[str]]:
    """Lines for the README: the usual policies, by how long traces wait."""
    for wait in (1, 10, 30):
        yield _line(f"slow, 5 % of the rest; {wait} s, 200,000 traces", measure(REST, wait, 200_000))


def each_policy() -> Iterator[list[str]]:
    """Lines for the processor's page."""
    for name, one in EACH.items():
        cost = min((measure([one], 10, 40_000) for _ in range(2)), key=lambda found: found.add + found.decide)
        yield _line(name, cost)
    # most of these traces have an error: they pass without waiting
    yield _line("status_code, latency, probabilistic; 82 % have an error", measure([ERRORS, *REST], 10, 40_000))


HEAD = ["tail_sampling, us of processor time a span", "add", "decide", "memory", "kept"]


def main() -> None:
    from benchmarks.__main__ import table

    warm_up()
    print(table(HEAD, list(waits())))
    print(table(HEAD, list(each_policy())))


if __name__ == "__main__":
    main()
