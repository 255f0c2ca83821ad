"""Send realistic job traffic to a collector, with the real OpenTelemetry SDK.

Plays a shop with a web service and three job systems; `docs/demo.md` describes it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.demo.delivery import Delivery
    from pipeline.demo.screen import Screen

SEEDS = 1_000_000
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
FOREVER = 0.0
NO_OUTAGE = (0.0, 0.0)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `jobsight demo`."""
    parser.add_argument("--rate", type=_rate, default=200.0, metavar="N", help="spans a second (default 200)")
    parser.add_argument(
        "--duration", type=_duration, default=60.0, metavar="TIME", help="like 60s, 5m; 0 or forever: until Ctrl-C"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="same seed, same jobs (default: another in each run)")
    parser.add_argument("--protocol", choices=("grpc", "http"), default="grpc", help="OTLP over gRPC or HTTP/protobuf")
    parser.add_argument("--endpoint", metavar="URL", help="default http://localhost:4317, with http 4318")
    parser.add_argument(
        "--outage",
        type=_outage,
        default=(0.35, 0.65),
        metavar="START-END",
        help="when the payments API fails, as shares of the duration (default 0.35-0.65); none: never",
    )
    parser.add_argument("--truth", type=Path, metavar="FILE", help="write what was sent, per job class, as JSON")
    parser.add_argument("--quiet", action="store_true", help="print nothing but problems")


def run(args: argparse.Namespace) -> int:
    """Play the shop; 0 when everything played was delivered, 1 when not, 2 for a bad endpoint."""
    from rich.console import Console

    errors = Console(stderr=True)
    if missing := _missing_library():
        return _fail(errors, f"the demo needs {missing}: pip install 'jobsight[demo]'")
    from pipeline.demo.delivery import DEFAULT_ENDPOINTS, address_of, otlp_delivery, unreachable
    from pipeline.demo.screen import Screen

    endpoint = args.endpoint or DEFAULT_ENDPOINTS[args.protocol]
    endpoint = endpoint if "://" in endpoint else f"http://{endpoint}"
    try:
        host, port = address_of(endpoint, args.protocol)
    except ValueError as error:
        _fail(errors, str(error))
        return 2
    hint = "is `make run` running? Another collector: --endpoint, --protocol"
    if reason := unreachable(host, port):
        return _fail(errors, f"no collector at {endpoint} ({reason}): {hint}")
    if args.truth is not None and not _can_write(args.truth):
        return _fail(errors, f"cannot write the truth to {args.truth}: is its directory there, and writable?")
    delivery = otlp_delivery(args.protocol, endpoint)
    if not delivery.check():
        complaint = delivery.complaint
        delivery.close(0, 0)
        return _fail(errors, f"{endpoint} does not take OTLP over {args.protocol} ({complaint}): {hint}")
    seconds = None if args.duration == FOREVER else args.duration
    return _perform(args, endpoint, delivery, Screen(Console(), seconds, quiet=args.quiet))


def _perform(args: argparse.Namespace, endpoint: str, delivery: Delivery, screen: Screen) -> int:
    """The run itself, once somebody listens."""
    from pipeline.demo.pace import WallPace
    from pipeline.demo.play import METRICS_EVERY_SECONDS, Heartbeat, play
    from pipeline.demo.shop import Shop
    from pipeline.demo.world import World

    seconds = None if args.duration == FOREVER else args.duration
    outage = None if args.outage == NO_OUTAGE else args.outage
    # a seed makes the ids too: the jobs of yesterday must not seem to run again
    seed = random.SystemRandom().randrange(SEEDS) if args.seed is None else args.seed
    world = World(seed, time.time_ns(), seconds, outage)
    length = "until Ctrl-C" if seconds is None else f"for {seconds:g} s"
    screen.say(f"playing a shop's job workers {length}, {args.rate:g} spans/s, seed {seed}, to {endpoint}")
    with screen, WallPace() as pace:
        ending = play(Shop(world, args.rate), delivery, pace, screen, Heartbeat(METRICS_EVERY_SECONDS))
    if ending.gave_up:
        screen.warn("gave up: the collector has taken no span for half a minute")
    counts = ending.deliveries
    screen.summary(ending.truth, counts)
    lost = sum(refused + dropped for _, refused, dropped in counts.values())
    if lost:
        why = f": {delivery.complaint}" if delivery.complaint else ""
        screen.warn(f"{lost:,} items did not reach the collector{why}")
    if args.truth is not None:
        report = {
            "seed": seed,
            "rate": args.rate,
            "seconds": seconds,
            "started_at_ns": world.start_ns,
            "interrupted": ending.interrupted,
            "outage": outage,
            "delivered": {
                signal: {"sent": sent, "refused": refused, "dropped": dropped}
                for signal, (sent, refused, dropped) in counts.items()
            },
            **ending.truth.as_json(),
        }
        args.truth.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 1 if lost else 0


def _missing_library() -> str | None:
    """The first of the SDK's packages that is not installed."""
    for name in (
        "opentelemetry.sdk",
        "opentelemetry.exporter.otlp.proto.grpc",
        "opentelemetry.exporter.otlp.proto.http",
    ):
        try:
            found = importlib.util.find_spec(name) is not None
        except ModuleNotFoundError:
            found = False
        if not found:
            return name
    return None


def _fail(errors: Any, text: str) -> int:
    errors.print(f"jobsight demo: {text}", style="red", markup=False, highlight=False, soft_wrap=True)
    return 1


def _can_write(path: Path) -> bool:
    try:
        with path.open("a"):
            return True
    except OSError:
        return False


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0.1 <= rate <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no rate: spans a second, from 0.1 to 100000")
    return rate


def _duration(text: str) -> float:
    """Seconds; 0 for a run without end."""
    if text == "forever":
        return FOREVER
    number = text.rstrip("hms")
    unit = text[len(number) :] or "s"
    try:
        seconds = float(number) * UNITS[unit]
    except (ValueError, KeyError):
        seconds = math.nan
    if not (seconds == FOREVER or 0.5 <= seconds <= 30 * 86_400):
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: write 60s, 5m, 1h (at least 0.5s), 0 or forever")
    return seconds


def _outage(text: str) -> tuple[float, float]:
    """Start and end as shares of the run; (0, 0) for none."""
    if text == "none":
        return NO_OUTAGE
    try:
        start, end = map(float, text.split("-"))
    except ValueError:
        start = end = math.nan
    if not 0 <= start < end <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no outage: two shares of the run like 0.35-0.65, or none")
    return start, end
