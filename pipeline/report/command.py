"""Print a ready analysis of the jobs that ClickHouse has.

Most reports are one statement of `sql/` over the table `jobs`, its view `job_events`, or a table of findings such as
`job_alerts`; `docs/report.md` describes them all.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from types import MappingProxyType
from typing import Final

from pipeline import query
from pipeline.report import workflow_command
from pipeline.report.durations import duration, written

HOUR: Final = 3600
DAY: Final = 24 * HOUR
ALWAYS: Final = 0

UNKNOWN_TABLES: Final = frozenset({60, 81})
"""UNKNOWN_TABLE and UNKNOWN_DATABASE (ClickHouse's `src/Common/ErrorCodes.cpp`)."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a report shows, how far it looks back unless told, and what it says when it finds nothing."""

    about: str
    since_seconds: int
    nothing: str
    table: str = "jobs"
    """What it reads unless told."""
    missing: str = "no jobs yet. Is processor `jobs` in the pipeline, before exporter `clickhouse`?"
    """What to say where there is no such table."""


REPORTS: Final[Mapping[str, Report]] = MappingProxyType(
    {
        "alerts": Report(
            "what people were told, and what of it still fires",
            DAY,
            "no alerts",
            table="job_alerts",
            missing="no alerts yet. Is exporter `clickhouse` in the pipeline, behind what raises them?",
        ),
        "clusters": Report(
            "clusters of failures, and what they have in common",
            DAY,
            "no clusters of failures",
            table="failure_clusters",
            missing="no clusters yet. Is processor `failure_cluster` in the pipeline, before exporter `clickhouse`?",
        ),
        "errors": Report("what fails: one row per error fingerprint", HOUR, "no failures"),
        "job": Report("the life of one job across its attempts", ALWAYS, "no job with this id"),
        "jobs": Report("executions, failures and latencies per job class", HOUR, "no executions"),
        "lost": Report("enqueued, due, and never processed", HOUR, "no lost jobs"),
        "retries": Report("jobs that are retried most, and retry loops", HOUR, "no retried jobs"),
        "workflow": Report("the jobs from one root as a tree, and what made it long", ALWAYS, "no jobs"),
        "workflows": Report("where the time of workflows goes, per root class", HOUR, "no finished workflows"),
    }
)


WORKFLOWS: Final[Mapping[str, Callable[[argparse.Namespace], int]]] = MappingProxyType(
    {"workflow": workflow_command.run_one, "workflows": workflow_command.run_all}
)
"""The reports that are more than the answer to one statement."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the reports of `jobsight report` with their options."""
    parser.set_defaults(report=None)
    reports = parser.add_subparsers(title="reports", metavar="NAME")
    for name, report in REPORTS.items():
        command = reports.add_parser(name, help=report.about, description=report.about)
        command.set_defaults(report=name)
        if name == "job":
            command.add_argument("job", metavar="JOB_ID", help="the job's id, or its back end's")
        if name == "lost":
            command.add_argument(
                "--after", type=duration, default=15 * 60, metavar="TIME", help="how long it is due (default 15m)"
            )
        since = "everything" if report.since_seconds == ALWAYS else written(report.since_seconds)
        command.add_argument(
            "--since",
            type=duration,
            default=report.since_seconds,
            metavar="TIME",
            help=f"how far to look back, like 90s, 15m, 1h, 7d; 0: everything (default {since})",
        )
        command.add_argument(
            "--table", default=report.table, metavar="NAME", help=f"the table to read (default {report.table})"
        )
        if name == "workflow":
            command.add_argument(
                "trace", metavar="TRACE_ID", type=workflow_command.trace_id, help="a trace of one of its jobs"
            )
        if name in WORKFLOWS:
            workflow_command.configure(command)
        else:
            query.add_options(command)


def run(args: argparse.Namespace) -> int:
    """Print the report; 0 when ClickHouse answered, 1 when it did not, 2 without the name of a report."""
    if args.report is None:
        names = "".join(f"  {name:<9} {report.about}\n" for name, report in REPORTS.items())
        sys.stderr.write(f"no report named; write jobsight report NAME, where NAME is one of\n{names}")
        return 2
    if args.report in WORKFLOWS:
        try:
            return WORKFLOWS[args.report](args)
        except query.Refused as refused:
            query.complain(_explain(refused, args=args))
        except query.Unanswered as error:
            query.complain(str(error))
        return 1
    report = REPORTS[args.report]
    return query.answer(
        args,
        files("pipeline.report").joinpath("sql", f"{args.report}.sql").read_text(encoding="utf-8"),
        _parameters(args),
        manner=query.Manner(types=False, null="", nothing=_nothing(report, args)),
        explain=partial(_explain, args=args),
    )


def _parameters(args: argparse.Namespace) -> dict[str, str]:
    """Return what fills the `{name:Type}` of the statements; those that a statement does not have are ignored."""
    parameters = {
        "table": args.table,
        # As exporter clickhouse names the view that it makes beside the table.
        "events": f"{args.table.removesuffix('s')}_events",
        "since": str(args.since),
    }
    if args.report == "job":
        parameters["job"] = args.job
    if args.report == "lost":
        parameters["after"] = str(args.after)
    return parameters


def _nothing(report: Report, args: argparse.Namespace) -> str:
    if args.since == ALWAYS:
        return report.nothing
    return f"{report.nothing} within the last {written(args.since)} (--since)"


def _explain(refused: query.Refused, *, args: argparse.Namespace) -> str:
    """Say why there is no answer; a missing table is what a newcomer meets first."""
    if refused.code not in UNKNOWN_TABLES:
        return str(refused)
    wanted = _parameters(args)["events" if args.report == "job" else "table"]
    where = f"{args.url}, database {args.database}," if args.database else args.url
    return (
        f"{where} has no table {wanted}: {REPORTS[args.report].missing} "
        "Where the table has another name or database, use --table or --database"
    )
