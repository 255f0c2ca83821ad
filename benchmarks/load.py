"""A load generator: pre-serialised OTLP requests over gRPC or HTTP, so that it takes little of the machine.

Run as a process: builds its requests, says `ready`, waits for a line on stdin, sends, prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple

import aiohttp
import grpc

from benchmarks.jobs import make_requests
from benchmarks.payloads import make_logs, make_points, make_spans
from pipeline import Signal, otlp


class Way(NamedTuple):
    """Where requests go, and what makes them."""

    signal: Signal
    method: str
    make: Callable[[int, int], list[bytes]]
    distinct_rows: int = 60_000
    """How many rows are made; they are sent again and again."""


TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
WAYS = {
    "spans": Way(Signal.TRACES, TRACES, make_spans),
    # a job that is sent again is another story than a new one
    "jobs": Way(Signal.TRACES, TRACES, make_requests, sys.maxsize),
    "points": Way(Signal.METRICS, "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", make_points),
    "logs": Way(Signal.LOGS, "/opentelemetry.proto.collector.logs.v1.LogsService/Export", make_logs),
}


Post = Callable[[bytes], Awaitable[bool]]


@asynccontextmanager
async def grpc_post(endpoint: str, method: str) -> AsyncIterator[Post]:
    """Send over gRPC; false where the receiver asks to try again."""
    options = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(endpoint, options=options) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)

        async def post(body: bytes) -> bool:
            try:
                await call(body)
            except grpc.aio.AioRpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
                    raise
                return False
            return True

        yield post


@asynccontextmanager
async def http_post(endpoint: str, path: str) -> AsyncIterator[Post]:
    """Send over HTTP; false where the receiver asks to try again."""
    headers = {"Content-Type": "application/x-protobuf"}
    async with aiohttp.ClientSession(f"http://{endpoint}", connector=aiohttp.TCPConnector(limit=0)) as session:

        async def post(body: bytes) -> bool:
            async with session.post(path, data=body, headers=headers) as answer:
                if answer.status in (429, 503):
                    return False
                answer.raise_for_status()
                return True

        yield post


async def send(post: Post, bodies: list[bytes], requests: int, in_flight: int) -> dict[str, float]:
    """Send `requests` bodies in turn, `in_flight` at a time; a refused one is sent again after a pause."""
    refused = 0
    numbers = iter(range(requests))

    async def sender() -> None:
        nonlocal refused
        for number in numbers:
            while not await post(bodies[number % len(bodies)]):
                refused += 1
                await asyncio.sleep(0.2)

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(sender() for _ in range(in_flight)))
    return {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu, "refused": refused}


async def run(args: argparse.Namespace, bodies: list[bytes]) -> dict[str, float]:
    way = WAYS[args.what]
    path = f"/v1/{way.signal}"
    door = grpc_post(args.endpoint, way.method) if args.protocol == "grpc" else http_post(args.endpoint, path)
    async with door as post:
        return await send(post, bodies, args.requests, args.in_flight)


@contextmanager
def load(
    port: int, *, what: str = "spans", rows: int, requests: int, protocol: str = "grpc", in_flight: int = 32
) -> Iterator[Callable[[], dict[str, float]]]:
    """Yield what sends everything to a port of this machine, from a process that is ready, and returns its report."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.load", "--endpoint", f"127.0.0.1:{port}", "--protocol", protocol,
         "--what", what, "--rows", str(rows), "--requests", str(requests), "--in-flight", str(in_flight)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def go() -> dict[str, float]:
        stdin.write("go\n")
        stdin.flush()
        report: dict[str, float] = json.loads(stdout.readline())
        return report

    try:
        assert stdout.readline() == "ready\n"
        yield go
    finally:
        process.kill()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--protocol", choices=["grpc", "http"], default="grpc")
    parser.add_argument("--what", choices=WAYS, default="spans")
    parser.add_argument("--rows", type=int, required=True, help="rows a request")
    parser.add_argument("--requests", type=int, required=True)
    parser.add_argument("--in-flight", type=int, default=32)
    args = parser.parse_args()
    way = WAYS[args.what]
    bodies = way.make(max(1, min(args.requests, way.distinct_rows // args.rows)), args.rows)
    rows = otlp.decode(way.signal, bodies).rows_per_body.tolist()
    print("ready", flush=True)
    sys.stdin.readline()
    sent = asyncio.run(run(args, bodies))
    print(json.dumps({**sent, "rows": sum(rows[number % len(rows)] for number in range(args.requests))}), flush=True)


if __name__ == "__main__":
    main()
