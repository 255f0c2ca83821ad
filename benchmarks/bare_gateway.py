"""What the libraries of a gateway cost by themselves: gRPC hands bodies to aiokafka, and nobody looks at them.

The floor for every gateway that is built on the two. Run as a process: prints its port, serves until stdin ends.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from aiokafka import AIOKafkaProducer

from benchmarks.load import TRACES

MESSAGE_BYTES = 1_000_000


async def serve(bootstrap: str, topic: str, compression: str) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        enable_idempotence=True,
        compression_type=None if compression == "none" else compression,
        max_batch_size=MESSAGE_BYTES,
        max_request_size=MESSAGE_BYTES,
    )

    async def export(body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        await producer.send_and_wait(topic, body)
        return b""

    service, method = TRACES.strip("/").split("/")
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    methods: dict[str, Any] = {method: grpc.unary_unary_rpc_method_handler(export)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    async with producer:
        await server.start()
        print(port, flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await server.stop(None)


@contextmanager
def started(bootstrap: str, topic: str, compression: str) -> Iterator[tuple[int, int]]:
    """Yield the process id and the port of one that serves."""
    arguments = [sys.executable, "-m", "benchmarks.bare_gateway", bootstrap, topic, compression]
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.pid, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:4]))
