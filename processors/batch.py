"""Joins small batches into larger ones, which exporters send at a lower cost a row.

It joins and splits by rows; it never waits longer than `timeout` with rows in hand. Resources are appended, not merged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from pipeline import Batch, Config, Host, Kind, Processor, concat
from pipeline.config.values import Duration

Trigger = Literal["size", "timeout"]


class BatchConfig(Config):
    timeout: Duration = 0.2
    """Send what there is this long after its first row came; 0 sends at once and only splits."""

    send_batch_size: int = Field(8192, ge=0)
    """Rows that are sent without waiting any longer; 0 sends at once and only splits."""

    send_batch_max_size: int = Field(0, ge=0)
    """Larger batches are split; 0 never splits."""

    unsupported_keys: ClassVar[Mapping[str, str]] = {
        "metadata_keys": "request metadata does not travel with batches",
        "metadata_cardinality_limit": "request metadata does not travel with batches",
    }

    @model_validator(mode="after")
    def _check(self) -> BatchConfig:
        if 0 < self.send_batch_max_size < self.send_batch_size:
            raise ValueError("'send_batch_max_size' must be greater than or equal to 'send_batch_size'")
        return self


@dataclass(slots=True)
class _Held:
    batches: list[Batch] = field(default_factory=list)
    rows: int = 0
    due: float | None = None
    """When the time-out ends; None until the engine has told the time."""


class BatchProcessor(Processor[BatchConfig]):
    """Joins small batches into larger ones, each kind by itself; the rows keep their order."""

    kind = "batch"
    Config = BatchConfig
    handles = frozenset(Kind)

    def __init__(self, config: BatchConfig, ident: object) -> None:
        super().__init__(config, ident)  # type: ignore[arg-type]
        self._held: dict[Kind, _Held] = {}
        self._count: Callable[[Trigger, int], None] = lambda _trigger, _rows: None

    async def start(self, host: Host) -> None:
        name = str(self.ident)
        by_size = host.metrics.counter(
            "otelcol_processor_batch_batch_size_trigger_send", "Batches sent because they were full.", "processor"
        ).labels(name)
        by_time = host.metrics.counter(
            "otelcol_processor_batch_timeout_trigger_send", "Batches sent because time was up.", "processor"
        ).labels(name)
        sizes = host.metrics.histogram(
            "otelcol_processor_batch_batch_send_size",
            "Rows a batch.",
            (10, 25, 50, 75, 100, 250, 500, 750, 1000, 2000, 4000, 8000, 10_000, 20_000, 50_000, 100_000),
            "processor",
        ).labels(name)

        def count(trigger: Trigger, rows: int) -> None:
            (by_size if trigger == "size" else by_time).inc()
            sizes.observe(rows)

        self._count = count

    def forwards(self, kind: Kind) -> bool:
        """Requests are put together as they are; only splitting them by rows would need columns."""
        return not self.config.send_batch_max_size

    def process(self, batch: Batch) -> Iterable[Batch]:
        held = self._held.setdefault(batch.kind, _Held())
        held.batches.append(batch)
        held.rows += batch.rows
        if self.config.timeout == 0 or held.rows >= self.config.send_batch_size:
            yield from self._send(batch.kind, "size")

    def wake_at(self) -> float | None:
        # 0 has passed long ago: the engine ticks at once, and so tells the time.
        return min((0.0 if held.due is None else held.due for held in self._held.values()), default=None)

    def tick(self, now: float) -> Iterable[Batch]:
        for kind, held in list(self._held.items()):
            if held.due is None:
                held.due = now + self.config.timeout
            elif held.due <= now:
                yield from self._send(kind, "timeout")

    def drain(self) -> Iterable[Batch]:
        for kind in list(self._held):
            yield from self._send(kind, "timeout")

    def _send(self, kind: Kind, trigger: Trigger) -> Iterable[Batch]:
        batches = self._held.pop(kind).batches
        limit, rows = self.config.send_batch_max_size, sum(batch.rows for batch in batches)
        rest = rows % limit if trigger == "size" and self.config.timeout and 0 < limit < rows else 0
        if 0 < rest < self.config.send_batch_size:
            # It is the end of the last batch; cut off before joining, it holds no share of the intakes before it.
            *before, last = batches
            taken, later = last.split_at([last.rows - rest])
            self._held[kind] = _Held([later], rest)
            batches = [*before, taken]
        joined = concat(batches)
        parts = joined.split_rows(limit) if limit else [joined]
        for part in parts:
            self._count(trigger, part.rows)
            yield part
