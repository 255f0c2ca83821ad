"""Try tail sampling on recorded spans: what each policy would keep, without a collector."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.config.plan import Plan
    from processors.tail_sampling.dry_run import Result

_OK, _FAILED, _USAGE = 0, 1, 2


class Unusable(Exception):
    """The command cannot do what it was asked for; the message is one line for people."""

    def __init__(self, message: str, code: int = _FAILED) -> None:
        super().__init__(message)
        self.code = code


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", action="append", required=True, metavar="FILE", help="YAML file; several are merged in order"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one value")
    parser.add_argument(
        "--input", required=True, metavar="FILE", help="spans as OTLP JSON, a request a line; - is standard input"
    )
    parser.add_argument("--processor", metavar="ID", help="which, where the configuration has several")
    parser.add_argument(
        "--format", choices=["table", "json"], default="table", help="a summary, or a line a trace (%(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Print what would be kept; 0, or 1 and 2 with one line on standard error."""
    from pipeline.errors import ConfigError

    try:
        result = _sampled(args)
    except ConfigError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return _USAGE
    except Unusable as error:
        sys.stderr.write(f"jobsight sample: {error}\n")
        return error.code
    if not len(result.spans):
        sys.stderr.write(f"jobsight sample: {args.input} has no spans\n")
        return _OK
    lines = result.lines() if args.format == "json" else result.table()
    for line in lines:
        sys.stdout.write(f"{line}\n")
    return _OK


def _sampled(args: argparse.Namespace) -> Result:
    from pipeline.config.load import load_plan
    from pipeline.registry import Registry
    from processors.tail_sampling.dry_run import DryRun

    plan = load_plan(args.config, args.set, environ=os.environ, registry=Registry())
    sampler, before = _chosen(plan, args.processor)
    dry_run = DryRun(sampler, before)
    with ExitStack() as stack:
        source = _opened(args.input, stack)
        for first, lines in _chunks(source):
            dry_run.take(_decoded(args.input, first, lines))
    return dry_run.finish()


def _chosen(plan: Plan, wanted: str | None) -> tuple[Any, list[Any]]:
    """Return the sampler, built, and the processors in front of it that may change what it sees."""
    from processors.tail_sampling.processor import TailSampling

    known = {str(ident): one for ident, one in plan.processors.items() if issubclass(one.component, TailSampling)}
    names = ", ".join(known) or "none"
    if wanted is None and len(known) != 1:
        what = "no processor tail_sampling" if not known else f"several ({names}): choose one with --processor"
        raise Unusable(f"the configuration has {what}", _USAGE)
    chosen = wanted or next(iter(known))
    if chosen not in known:
        raise Unusable(f'the configuration has no processor "{chosen}" of type tail_sampling (it has: {names})', _USAGE)
    definition = known[chosen]
    for pipeline in plan.pipelines:
        if pipeline.signal == "traces" and definition.ident in pipeline.processors:
            place = pipeline.processors.index(definition.ident)
            front = [plan.processors[ident] for ident in pipeline.processors[:place]]
            return definition.build(), [one.build() for one in front if one.ident.type not in _CHANGE_NOTHING]
    return definition.build(), []


_CHANGE_NOTHING = frozenset({"batch", "memory_limiter"})
"""Processors that a dry run does without: they change when spans come, not what they say."""


def _opened(name: str, stack: ExitStack) -> IO[bytes]:
    if name == "-":
        return sys.stdin.buffer
    try:
        return stack.enter_context(Path(name).open("rb"))
    except OSError as error:
        raise Unusable(f"cannot read {name}: {error.strerror}") from error


_CHUNK_LINES = 256
_CHUNK_BYTES = 8 << 20


def _chunks(source: Iterable[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """Yield lines some at a time, with the number of the first; blank lines stay, so that numbers are right."""
    first, lines, size = 1, list[bytes](), 0
    for line in source:
        lines.append(line)
        size += len(line)
        if len(lines) >= _CHUNK_LINES or size >= _CHUNK_BYTES:
            yield first, lines
            first, lines, size = first + len(lines), [], 0
    if lines:
        yield first, lines


def _decoded(name: str, first: int, lines: list[bytes]) -> Any:
    from pipeline.errors import Malformed, TooLarge
    from pipeline.kinds import Signal
    from pipeline.otlp import decode_json

    numbered = [(number, line) for number, line in enumerate(lines, first) if line.strip()]
    try:
        return decode_json(Signal.TRACES, [line for _, line in numbered])
    except (Malformed, TooLarge):
        for number, line in numbered:
            try:
                decode_json(Signal.TRACES, [line])
            except (Malformed, TooLarge) as error:
                raise Unusable(f"{name}:{number}: {error}") from error
        raise
