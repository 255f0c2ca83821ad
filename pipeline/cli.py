"""The command line: `jobsight COMMAND`. One function a command; heavy imports inside functions.

Components may bring commands of their own: entry points in group `jobsight.commands` that name a module with
`configure(parser)` and `run(args) -> int`; the first line of its docstring is the help.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points, version
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from pipeline.config.plan import Plan
    from pipeline.service import Service

OK, FAILED, USAGE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code: 0 fine, 1 failed, 2 wrong usage or configuration."""
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); nothing more to say, also not when Python flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("jobsight", description="See what your background jobs do.")
    parser.add_argument("--version", action="version", version=f"jobsight {version('jobsight')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    run = commands.add_parser("run", help="run a collector", description=run_collector.__doc__)
    _add_config(run)
    run.set_defaults(run=run_collector)

    check = commands.add_parser("validate", help="check a configuration", description=validate.__doc__)
    _add_config(check)
    check.add_argument("--connect", action="store_true", help="also try to reach what the exporters write to")
    check.set_defaults(run=validate)

    listing = commands.add_parser("components", help="list what pipelines can be made of")
    listing.set_defaults(run=components)

    for entry in sorted(entry_points(group="jobsight.commands"), key=lambda entry: entry.name):
        module = entry.load()
        help_ = (module.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(entry.name, help=help_[:1].lower() + help_[1:].rstrip("."), description=help_)
        module.configure(command)
        command.set_defaults(run=module.run)
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        action="append",
        required=True,
        metavar="FILE",
        help="YAML file; give several to merge them in order",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one value, e.g. processors.batch.timeout=1s",
    )


def _plan(args: argparse.Namespace) -> Plan | None:
    """Return the plan, or None after printing what is wrong with it."""
    from pipeline.config.load import load_plan
    from pipeline.errors import ConfigError
    from pipeline.registry import Registry, foreign_owners

    for line in foreign_owners():
        sys.stderr.write(f"warning: {line}\n")
    try:
        plan = load_plan(args.config, args.set, environ=os.environ, registry=Registry())
    except ConfigError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return None
    sys.stderr.write("".join(f"warning: {warning}\n" for warning in plan.warnings))
    return plan


def run_collector(args: argparse.Namespace) -> int:
    """Run a collector until SIGINT or SIGTERM, then drain it. A second signal stops it at once."""
    plan = _plan(args)
    if plan is None:
        return USAGE
    from pipeline import allocator, logs

    allocator.keep_large_buffers()
    logs.configure(plan.telemetry.logs.level, plan.telemetry.logs.encoding)
    return asyncio.run(_run(plan))


async def _run(plan: Plan) -> int:
    from pipeline.errors import StartError
    from pipeline.service import Service

    service = Service(plan)
    _Signals(service)
    starting = asyncio.ensure_future(service.start())
    stopped = asyncio.ensure_future(service.wait())
    await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.wait({starting})
    if starting.cancelled():
        return OK
    try:
        starting.result()
    except StartError as error:
        stopped.cancel()
        sys.stderr.write(f"jobsight: {error}\n")
        return FAILED
    lines = "".join(f"  {what:<18} {where}\n" for what, where in service.guide())
    _say(sys.stdout, f"jobsight is running.\n{lines}\n")
    await stopped
    await service.stop()
    code = OK
    if service.exit_reason is not None:
        _say(sys.stderr, f"jobsight: stopped: {service.exit_reason}\n")
        code = FAILED
    if service.undelivered_rows:
        _say(sys.stderr, f"jobsight: {service.undelivered_rows} accepted rows were not delivered in time\n")
        code = FAILED
    if service.overdue:
        # What was cut off may hang in a thread, which Python would wait for.
        os._exit(code)
    return code


def _say(stream: TextIO, text: str) -> None:
    """Write for people. Where nobody reads any more, the collector runs, and stops, all the same."""
    try:
        stream.write(text)
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Signals:
    """The first SIGINT or SIGTERM asks for an orderly stop, the second one ends the process."""

    def __init__(self, service: Service) -> None:
        self.stopping = False
        self._service = service
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._arrived)

    def _arrived(self) -> None:
        if self.stopping:
            _say(sys.stderr, "jobsight: stopped at once by a second signal\n")
            os._exit(FAILED)
        self.stopping = True
        _say(sys.stderr, "jobsight: stopping; once more to stop at once\n")
        self._service.request_stop()


def validate(args: argparse.Namespace) -> int:
    """Check a configuration without starting anything. Says nothing when it is right."""
    plan = _plan(args)
    if plan is None:
        return USAGE
    return asyncio.run(_check(plan, connect=args.connect))


async def _check(plan: Plan, *, connect: bool) -> int:
    """Build what would run, and with `connect` let each exporter make one attempt."""
    from pipeline.errors import JobsightError
    from pipeline.service import Service

    code = OK
    try:
        service = Service(plan)
    except JobsightError as error:
        sys.stderr.write(f"jobsight: {error}\n")
        return FAILED
    for ident, exporter in service.exporters.items() if connect else ():
        try:
            await exporter.check()
            sys.stdout.write(f"{ident}: ok\n")
        except JobsightError as error:
            sys.stdout.write(f"{ident}: {error}\n")
            code = FAILED
    return code


def components(args: argparse.Namespace) -> int:
    """List the components that this installation has."""
    from pipeline.registry import Registry

    for role, types in Registry().listing().items():
        sys.stdout.write(f"{role}:\n" + "".join(f"  {name:<22} {about}\n" for name, about in types.items()))
    return OK


def run() -> None:
    """The console script."""
    sys.exit(main())
