"""Draw who enqueues whom, from the edges that ClickHouse has."""

from __future__ import annotations

import argparse
import json
import sys
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Final

from pipeline import query
from pipeline.graph.dot import NoGraphviz, dot, drawn
from pipeline.graph.mermaid import mermaid
from pipeline.graph.model import Graph, graph_of
from pipeline.report.durations import duration, written

DAY: Final = 86_400

UNKNOWN_TABLES: Final = frozenset({60, 81})
"""UNKNOWN_TABLE and UNKNOWN_DATABASE (ClickHouse's `src/Common/ErrorCodes.cpp`)."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `jobsight graph`."""
    parser.add_argument(
        "--format", choices=("mermaid", "dot", "svg", "png", "json"), default="mermaid", help="default: mermaid"
    )
    parser.add_argument("--root", metavar="NAME", help="only what a job class or request reaches, like ProcessOrderJob")
    parser.add_argument("--service", default="", metavar="NAME", help="only edges that begin or end in a service")
    parser.add_argument(
        "--since",
        type=duration,
        default=DAY,
        metavar="TIME",
        help="how far to look back, like 90s, 15m, 1h, 7d; 0: everything (default 1d)",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="where to write (default: standard output)")
    parser.add_argument(
        "--table", default="job_dependencies", metavar="NAME", help="the table of edges (default job_dependencies)"
    )
    query.add_target(parser)


def run(args: argparse.Namespace) -> int:
    """Write the graph; 0 when it was written, 1 when ClickHouse or Graphviz did not do their part."""
    if args.format == "png" and args.output is None and sys.stdout.isatty():
        query.complain("a PNG is nothing for a terminal: use --output FILE")
        return 2
    try:
        graph = _asked(args)
        if args.root is not None and not (graph := _below(args, graph)).edges:
            return 1
        picture = _written(graph, args.format)
        if args.output is None:
            sys.stdout.buffer.write(picture)
            sys.stdout.flush()
        else:
            args.output.write_bytes(picture)
    except query.Refused as refused:
        query.complain(_explained(refused, args))
        return 1
    except (query.Unanswered, NoGraphviz) as error:
        query.complain(str(error))
        return 1
    except OSError as error:
        query.complain(f"cannot write {args.output or 'to standard output'}: {error.strerror or error}")
        return 1
    if not graph.edges:
        query.complain(f"no edges{_range(args)}")
    return 0


def _asked(args: argparse.Namespace) -> Graph:
    sql = files("pipeline.graph").joinpath("sql", "graph.sql").read_text(encoding="utf-8")
    parameters = {"table": args.table, "since": str(args.since), "service": args.service}
    return graph_of(query.rows(query.target_of(args), sql, parameters))


def _below(args: argparse.Namespace, graph: Graph) -> Graph:
    """Return what the root reaches; says what would be right if there is nothing."""
    below = graph.below(args.root)
    if below.edges:
        return below
    names = sorted({node.name for node in graph.nodes if node.kind in ("job", "request")})
    if args.root in names:
        query.complain(f'"{args.root}" calls nothing{_range(args)}')
        return below
    near = get_close_matches(args.root, names, n=3) or names[:10]
    known = f"; there is {', '.join(near)}" if near else ""
    query.complain(f'no job class or request "{args.root}"{_range(args)}{known}')
    return below


def _written(graph: Graph, form: str) -> bytes:
    match form:
        case "mermaid":
            return mermaid(graph).encode()
        case "dot":
            return dot(graph).encode()
        case "json":
            return json.dumps(graph.as_json(), indent=2, ensure_ascii=False).encode() + b"\n"
        case _:
            return drawn(graph, form)


def _range(args: argparse.Namespace) -> str:
    service = f" of service {args.service}" if args.service else ""
    return f"{service} within the last {written(args.since)} (--since)" if args.since else service


def _explained(refused: query.Refused, args: argparse.Namespace) -> str:
    """Say why there is no answer; a missing table is what a newcomer meets first."""
    if refused.code not in UNKNOWN_TABLES:
        return str(refused)
    where = f"{args.url}, database {args.database}," if args.database else args.url
    return (
        f"{where} has no table {args.table}: no edges yet. Is processor `job_dependencies` in the pipeline, "
        "after `jobs`? Its edges come every interval. "
        "Where the table has another name or database, use --table or --database"
    )
