"""The cost of the otlp receiver: gRPC, joint decode, and emit to a pipeline that takes everything at once.

`python -m benchmarks.receiver`: the load comes from a second process; only this one's processor time is counted, all
threads included.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time

from benchmarks.load import WAYS
from pipeline import Batch, ComponentId, otlp
from pipeline.testing import FakeHost
from receivers.otlp import OTLPReceiver, OTLPReceiverConfig

CASES = (("spans", 512, 3000), ("spans", 10, 12_000), ("points", 1000, 1000), ("logs", 100, 4000))
"""What is sent, rows a request, requests."""


class Sink(FakeHost):
    """A pipeline without end; counts rows and batches."""

    rows = 0
    batches = 0

    async def emit(self, batch: Batch) -> None:
        self.rows += batch.rows
        self.batches += 1


async def measure(what: str, rows: int, requests: int, in_flight: int) -> None:
    host = Sink()
    config = OTLPReceiverConfig.model_validate({"protocols": {"grpc": {"endpoint": "127.0.0.1:0"}}})
    receiver = OTLPReceiver(config, ComponentId("otlp"))
    await receiver.start(host)
    assert receiver.grpc is not None
    arguments = f"--endpoint {receiver.grpc.endpoint} --what {what} --rows {rows} --requests {requests}"
    load = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.load", *arguments.split(), "--in-flight", str(in_flight)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert load.stdin is not None
    assert load.stdout is not None
    await load.stdout.readline()
    before = time.process_time()
    load.stdin.write(b"\n")
    result = json.loads(await load.stdout.readline())
    cpu = time.process_time() - before
    await load.wait()
    await receiver.stop_accepting()
    await receiver.stop()
    await host.close()
    assert host.rows == rows * requests
    print(
        f"{what:7} {rows:5} rows a request  {in_flight:3} in flight  {cpu / host.rows * 1e6:6.2f} us a row"
        f"  {cpu / requests * 1e6:7.0f} us a request  {requests / host.batches:5.1f} requests a batch"
        f"  {host.rows / result['seconds']:9.0f} rows/s  {result['refused']:3.0f} refused"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--what", choices=WAYS)
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=2)
    arguments = parser.parse_args()
    otlp.warm_up()
    for what, rows, requests in CASES:
        if arguments.what in (None, what):
            for _ in range(arguments.repeat):
                asyncio.run(measure(what, rows, requests, arguments.in_flight))


if __name__ == "__main__":
    main()
