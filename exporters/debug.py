"""Shows what flows: a line a batch, a line a row, or every field. For looking, not for production.

It turns columns into text row by row, on purpose: its output is for eyes, and limited.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, ClassVar, Literal

import orjson
from pydantic import Field

from pipeline import SHAPES, Batch, Config, Exporter, Host, Rejected, StartError
from pipeline.errors import system_words
from pipeline.otlp import encode_json

SECOND = 1.0


class DebugConfig(Config):
    verbosity: Literal["basic", "normal", "detailed"] = "basic"
    """`basic`: one line a batch; `normal`: one line a row; `detailed`: every field."""

    sampling_initial: int = Field(2, ge=0)
    """Batches shown in each second before sampling begins."""

    sampling_thereafter: int = Field(1, ge=0)
    """After those, every n-th batch of the second is shown; 0 shows none."""

    use_internal_logger: bool = True
    """Write to jobsight's own log; off: plain text to `output_paths`."""

    output_paths: list[str] = Field(["stdout"], min_length=1)
    """`stdout`, `stderr` or file paths; only with `use_internal_logger: false`."""

    unsupported_keys: ClassVar[Mapping[str, str]] = {"sending_queue": "debug writes at once"}


class DebugExporter(Exporter[DebugConfig]):
    kind = "debug"
    Config = DebugConfig

    _host: Host
    _outputs: list[IO[str]] | None = None
    _second = float("-inf")
    _seen = 0

    async def start(self, host: Host) -> None:
        self._host = host
        if not self.config.use_internal_logger:
            self._outputs = [self._open(path) for path in self.config.output_paths]

    def _open(self, path: str) -> IO[str]:
        if path in ("stdout", "stderr"):
            return sys.stdout if path == "stdout" else sys.stderr
        try:
            return Path(path).open("a", encoding="utf-8")
        except OSError as error:
            raise StartError(f"{self.ident}: cannot write {path}: {error.strerror}") from error

    async def export(self, batch: Batch) -> None:
        if not self._sampled():
            return
        if self.config.verbosity == "basic":
            await self._show("Batch.", **counts(batch))
            return
        text = await asyncio.to_thread(self._text, batch)
        await self._show("Batch.", text=text, **counts(batch))

    def _text(self, batch: Batch) -> str:
        if SHAPES[batch.kind].signal is None:
            return "\n".join(details({str(batch.kind): batch.table.to_pylist()}))
        render = details if self.config.verbosity == "detailed" else one_liners
        return "\n".join(render(orjson.loads(encode_json(batch))))

    def _sampled(self) -> bool:
        now = self._host.clock.now()
        if now - self._second >= SECOND:
            self._second, self._seen = now, 0
        self._seen += 1
        beyond = self._seen - self.config.sampling_initial
        every = self.config.sampling_thereafter
        return beyond <= 0 or (every > 0 and beyond % every == 0)

    async def _show(self, event: str, *, text: str = "", **fields: Any) -> None:
        if self._outputs is None:
            self._host.log.info(f"{event}\n{text}" if text else event, **fields)
            return
        head = " ".join(f"{key}={value}" for key, value in fields.items())
        await asyncio.to_thread(self._write, f"{head}\n{text}\n" if text else f"{head}\n")

    def _write(self, text: str) -> None:
        for output in self._outputs or ():
            try:
                output.write(text)
                output.flush()
            except OSError as error:
                raise Rejected(f"cannot write to {output.name}: {system_words(error)}") from error

    async def stop(self) -> None:
        for output in self._outputs or ():
            if output not in (sys.stdout, sys.stderr):
                output.close()
        self._outputs = None


def counts(batch: Batch) -> dict[str, Any]:
    """Return what one line says of a batch."""
    return {"kind": str(batch.kind), **{name: side.num_rows for name, side in batch.sides.items()}, "rows": batch.rows}


_RECORDS = frozenset({"spans", "logRecords", "metrics"})


def one_liners(request: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each span, log record or metric of an OTLP/JSON request, under a line for its resource."""
    for resource in next(iter(request.values()), ()):
        yield f"Resource {_pairs(resource.get('resource', {}).get('attributes', ()))}"
        for scope in next((value for key, value in resource.items() if key.startswith("scope")), ()):
            yield f"  Scope {scope.get('scope', {}).get('name', '')}"
            for record in next((value for key, value in scope.items() if key in _RECORDS), ()):
                name = record.get("name") or record.get("severityText", "")
                ids = " ".join(record[key] for key in ("traceId", "spanId") if key in record)
                body = record["body"].get("stringValue") or _value(record["body"]) if "body" in record else ""
                parts = (name, ids, body, _pairs(record.get("attributes", ())))
                yield "    " + " ".join(part for part in parts if part)


def details(value: Any, indent: str = "") -> Iterator[str]:
    """Yield every field of an OTLP/JSON request, one a line, indented by depth."""
    if isinstance(value, dict):
        for key, child in value.items():
            if key in ("attributes", "filteredAttributes", "metadata"):
                yield f"{indent}{key}:"
                yield from (f"{indent}  -> {pair['key']}: {_value(pair.get('value', {}))}" for pair in child)
            elif key == "body":
                yield f"{indent}body: {_value(child)}"
            elif isinstance(child, dict):
                yield f"{indent}{key}:"
                yield from details(child, indent + "  ")
            elif isinstance(child, list) and child and isinstance(child[0], dict):
                for number, item in enumerate(child):
                    yield f"{indent}{key} #{number}"
                    yield from details(item, indent + "  ")
            else:
                yield f"{indent}{key}: {child}"


def _pairs(attributes: Any) -> str:
    return " ".join(f"{pair['key']}={_value(pair.get('value', {}))}" for pair in attributes)


def _value(any_value: Mapping[str, Any]) -> str:
    """Return an OTLP/JSON AnyValue as `Str(x)`, `Int(5)`, ..., the way the Collector's debug exporter shows it."""
    for name, value in any_value.items():
        type_ = _TYPES.get(name, name)
        return f"{type_}({orjson.dumps(value).decode() if isinstance(value, (dict, list)) else value})"
    return "Empty()"


_TYPES = {
    "stringValue": "Str",
    "boolValue": "Bool",
    "intValue": "Int",
    "doubleValue": "Double",
    "arrayValue": "Slice",
    "kvlistValue": "Map",
    "bytesValue": "Bytes",
}
