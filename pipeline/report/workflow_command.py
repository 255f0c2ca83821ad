"""`jobsight report workflow TRACE_ID` and `jobsight report workflows`: where the time of workflows goes."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from pipeline import query
from pipeline.report.durations import written
from pipeline.report.workflow import Job, Spent, Workflow, jobs_of, workflows_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.tree import Tree

MOST_ROWS: Final = 200_000
"""Rows of jobs that are read for one report."""

_MOST_ROUNDS: Final = 500
"""Levels of a workflow, up and down, that are asked for: each is a question of its own."""

_IDS_AT_ONCE: Final = 1000
"""Ids in one question: a server refuses statements of more than 256 KiB."""

_TRACE: Final = re.compile(r"[0-9a-f]{32}")

_WIDE: Final = 10_000

_OUTCOME_STYLES: Final = {"failed": "red", "retried": "yellow", "discarded": "yellow"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what both reports have of their own."""
    parser.add_argument("--format", choices=("table", "json"), default="table", help="default: table")
    query.add_target(parser)


def trace_id(text: str) -> str:
    """Return a trace id as it is stored. Raises ArgumentTypeError."""
    trace = text.lower().replace("-", "")
    if not _TRACE.fullmatch(trace):
        raise argparse.ArgumentTypeError(f"{text!r} is no trace id: 32 hexadecimal digits")
    return trace


def run_one(args: argparse.Namespace) -> int:
    """Print the workflow that a trace belongs to. Raises Refused and Unanswered."""
    workflows = _concerned(_family(args), args.trace)
    if args.format == "json":
        _write_json([_as_json(workflow) for workflow in workflows])
        return 0
    out = _console()
    if not workflows:
        out.print(f"no jobs of trace {args.trace}{_within(args)}", style="dim", soft_wrap=True)
    for workflow in workflows:
        _show(workflow, out)
    return 0


def run_all(args: argparse.Namespace) -> int:
    """Print for each root class where the time of its finished workflows goes. Raises Refused and Unanswered."""
    rows = _ask(args)
    if len(rows) == MOST_ROWS:
        query.complain(f"only {MOST_ROWS:,} rows of jobs were read; the rest is left out: use a shorter --since")
    by_root: defaultdict[str, list[Workflow]] = defaultdict(list)
    for workflow in workflows_of(jobs_of(rows)):
        if not workflow.unfinished:
            by_root[workflow.root.name.job_class].append(workflow)
    summaries = [_summary(name, some) for name, some in by_root.items()]
    summaries.sort(key=lambda summary: (-float(summary["total_ms"]), str(summary["root"])))
    if args.format == "json":
        _write_json(summaries)
    else:
        _show_summaries(summaries, args)
    return 0


def _ask(
    args: argparse.Namespace, trace: str = "", ids: Iterable[str] = (), parents: Iterable[str] = ()
) -> list[dict[str, Any]]:
    sql = files("pipeline.report").joinpath("sql", "workflow.sql").read_text(encoding="utf-8")
    # in the statement, not beside it: there may be more of them than an address has room for
    sql = sql.replace("{ids}", _array(ids)).replace("{parents}", _array(parents))
    parameters = {"table": args.table, "since": str(args.since), "trace": trace, "most": str(MOST_ROWS)}
    return query.rows(query.target_of(args), sql, parameters)


def _family(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows of a trace's jobs, of all above them, and of all below those at the top; and some more."""
    rows = {_key(row): row for row in _ask(args, trace=args.trace)}
    asked: set[str] = set()
    asked_parents: set[str] = set()
    for _ in range(_MOST_ROUNDS):
        jobs = [job for workflow in _concerned(rows.values(), args.trace) for job in workflow.jobs()]
        own = {job.name.job_id for job in jobs}
        ids = sorted((own | {job.parent.job_id for job in jobs if job.parent is not None}) - asked)[:_IDS_AT_ONCE]
        parents = sorted(own - asked_parents)[:_IDS_AT_ONCE]
        if (not ids and not parents) or len(rows) >= MOST_ROWS:
            break
        asked |= set(ids)
        asked_parents |= set(parents)
        rows |= {_key(row): row for row in _ask(args, ids=ids, parents=parents)}
    return list(rows.values())


def _concerned(rows: Iterable[dict[str, Any]], trace: str) -> list[Workflow]:
    """Return the workflows that have a job in the trace. Others came along by an id: some systems count from 1."""
    return [workflow for workflow in workflows_of(jobs_of(rows)) if any(trace in job.traces for job in workflow.jobs())]


def _key(row: dict[str, Any]) -> tuple[str, str]:
    return row["trace_id"], row["span_id"]


def _array(texts: Iterable[str]) -> str:
    """Write texts as the statement reads them."""
    return "CAST([" + ",".join(f"'{text.encode().hex()}'" for text in texts) + "] AS Array(String))"


def _show(workflow: Workflow, out: Console) -> None:
    """Print the tree with its times, the jobs of the critical path marked, and what the path consists of."""
    from rich.table import Table
    from rich.tree import Tree

    path = workflow.path()
    on_path = {id(job) for job in path}
    tree = Tree(_line(workflow.root, workflow.root, marked=True))
    waiting: list[tuple[Job, Tree]] = [(workflow.root, tree)]
    while waiting:
        job, branch = waiting.pop()
        waiting += [
            (child, branch.add(_line(child, workflow.root, marked=id(child) in on_path))) for child in job.children
        ]
    out.print(tree, soft_wrap=True)
    unfinished = workflow.unfinished
    if unfinished:
        out.print(
            f"not finished: {len(unfinished)} of {sum(1 for _ in workflow.jobs())} jobs did not end yet", style="yellow"
        )
    whole = workflow.nanoseconds
    out.print(f"\nfrom the first enqueue to the last end {_time(whole)}; what made it so long (●):", soft_wrap=True)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("class", "spent", "time", "share"):
        table.add_column(name, justify="right" if name in ("time", "share") else "left", no_wrap=True)
    for stretch in workflow.critical():
        length = stretch.end - stretch.begin
        share = f"{100 * length / whole:.0f} %" if whole else ""
        table.add_row(query.printable(stretch.job.name.job_class or "?"), str(stretch.spent), _time(length), share)
    out.print(table, soft_wrap=True)
    out.print()


def _line(job: Job, root: Job, *, marked: bool) -> Any:
    from rich.text import Text

    # what did not run is still waiting: nobody knows for how long
    times = [f"{kind} {_time(spent)}" for kind in Spent if (spent := job.spent(kind))]
    attempts = f", {len(job.runs)} attempts" if len(job.runs) > 1 else ""
    outcome = (job.outcome if job.runs else "not run yet") + (f" ({job.error})" if job.error else "")
    line = Text("● " if marked else "○ ", style="bold cyan" if marked else "dim", no_wrap=True, overflow="ellipsis")
    line.append(query.printable(job.name.job_class or "?"), style="bold")
    line.append(f"  {query.printable(job.service)}  +{_time(job.created - root.created)}  ", style="dim")
    line.append(", ".join(times) + attempts + "  ", style="default")
    line.append(query.printable(outcome), style=_OUTCOME_STYLES.get(job.outcome, "green") if job.runs else "yellow")
    return line


def _summary(root: str, workflows: Sequence[Workflow]) -> dict[str, Any]:
    """Return how long the workflows of a root class took, and what their critical paths consist of."""
    lengths = sorted(workflow.nanoseconds for workflow in workflows)
    spent: Counter[tuple[str, Spent]] = Counter()
    for workflow in workflows:
        for stretch in workflow.critical():
            spent[stretch.job.name.job_class, stretch.spent] += stretch.end - stretch.begin
    total = sum(spent.values())
    return {
        "root": root,
        "workflows": len(workflows),
        "jobs": sum(1 for workflow in workflows for _ in workflow.jobs()),
        "p50_ms": lengths[len(lengths) // 2] / 1e6,
        "p95_ms": lengths[min(int(0.95 * len(lengths)), len(lengths) - 1)] / 1e6,
        "longest_ms": lengths[-1] / 1e6,
        "total_ms": total / 1e6,
        "where": [
            {"class": name, "spent": str(kind), "ms": time / 1e6, "share": time / total}
            for (name, kind), time in sorted(spent.items(), key=lambda item: (-item[1], item[0]))
        ],
    }


def _show_summaries(summaries: Sequence[dict[str, Any]], args: argparse.Namespace) -> None:
    from rich.table import Table

    out = _console()
    if not summaries:
        out.print(f"no finished workflows{_within(args)}", style="dim", soft_wrap=True)
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    numbers = ("workflows", "jobs", "p50", "p95", "longest")
    for name in ("root", *numbers, "where the time of the longest chain goes"):
        table.add_column(name, justify="right" if name in numbers else "left", no_wrap=True)
    for summary in summaries:
        where = ", ".join(
            f"{part['class'] or '?'} {part['spent']} {100 * part['share']:.0f} %" for part in summary["where"][:4]
        )
        table.add_row(
            query.printable(summary["root"] or "?"),
            str(summary["workflows"]),
            str(summary["jobs"]),
            *(_time(int(summary[f"{name}_ms"] * 1e6)) for name in numbers[2:]),
            query.printable(where),
        )
    out.print(table, soft_wrap=True)


def _as_json(workflow: Workflow) -> dict[str, Any]:
    jobs = list(workflow.jobs())
    number = {id(job): place for place, job in enumerate(jobs)}
    parent = {id(child): place for place, job in enumerate(jobs) for child in job.children}
    return {
        "duration_ms": workflow.nanoseconds / 1e6,
        "finished": not workflow.unfinished,
        "jobs": [
            {
                "class": job.name.job_class,
                "id": job.name.job_id,
                "parent": parent.get(id(job)),
                "service": job.service,
                "trace_id": job.trace_id,
                "created_ms": (job.created - workflow.root.created) / 1e6,
                "end_ms": (job.end - workflow.root.created) / 1e6,
                **{f"{kind}_ms": job.spent(kind) / 1e6 for kind in Spent},
                "attempts": len(job.runs),
                "outcome": job.outcome,
                "error_type": job.error,
            }
            for job in jobs
        ],
        "path": [number[id(job)] for job in workflow.path()],
        "critical": [
            {"job": number[id(stretch.job)], "spent": str(stretch.spent), "ms": (stretch.end - stretch.begin) / 1e6}
            for stretch in workflow.critical()
        ],
    }


def _write_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _console() -> Console:
    from rich.console import Console

    out = Console(highlight=False, markup=False)
    if not out.is_terminal:
        out.width = _WIDE  # whoever reads a pipe wants whole lines
    return out


def _within(args: argparse.Namespace) -> str:
    return f" within the last {written(args.since)} (--since)" if args.since else ""


def _time(nanoseconds: int) -> str:
    """Write a time for people."""
    seconds = nanoseconds / 1e9
    if seconds >= 7200:
        return f"{seconds / 3600:.1f} h"
    if seconds >= 120:
        return f"{seconds / 60:.1f} min"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
