"""Serve a ClickHouse store over HTTP without a collector: to look at its data, or to have one store for several."""

from __future__ import annotations

import argparse
import os
import secrets
import sys

from extensions.embedded_clickhouse.config import EmbeddedClickHouseConfig
from extensions.embedded_clickhouse.failures import CannotOpen
from extensions.embedded_clickhouse.process import serve
from extensions.embedded_clickhouse.settings import Credentials
from pipeline.config.values import byte_size, join_endpoint, seconds, split_endpoint


def configure(parser: argparse.ArgumentParser) -> None:
    defaults = EmbeddedClickHouseConfig()
    parser.add_argument("--path", default=defaults.path, metavar="DIR", help="directory of the store (%(default)s)")
    parser.add_argument(
        "--endpoint",
        type=_endpoint,
        default=defaults.endpoint,
        metavar="HOST:PORT",
        help="where to listen (%(default)s)",
    )
    parser.add_argument("--user", default="jobsight", metavar="NAME", help="the user who may write (%(default)s)")
    parser.add_argument(
        "--password-env",
        metavar="VAR",
        help="environment variable with that user's password; without it nobody may write",
    )
    parser.add_argument(
        "--read-password-env", metavar="VAR", help="environment variable with the password that readers must give"
    )
    parser.add_argument(
        "--max-server-memory-usage",
        type=_size,
        default=defaults.max_server_memory_usage,
        metavar="SIZE",
        help="such as 1GiB",
    )
    parser.add_argument(
        "--max-execution-time",
        type=_seconds,
        default=defaults.max_execution_time,
        metavar="DURATION",
        help="of a reader's query",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C; 0 after an orderly stop, 1 with one line on standard error for a problem."""
    try:
        password = _environment(args.password_env) if args.password_env else secrets.token_urlsafe(24)
        read_password = _environment(args.read_password_env) if args.read_password_env else ""
        config = EmbeddedClickHouseConfig.model_construct(
            path=args.path,
            endpoint=args.endpoint,
            max_server_memory_usage=args.max_server_memory_usage,
            max_execution_time=args.max_execution_time,
        )
        settings = config.store(Credentials(args.user, password, read_password))
        serve(settings, lambda host, port: _announce(args, host, port), watch_stdin=False)
    except CannotOpen as error:
        print(f"jobsight store: {error}", file=sys.stderr)  # noqa: T201 - the command's word
        return 1
    return 0


def _announce(args: argparse.Namespace, host: str, port: int) -> None:
    url = f"http://{join_endpoint(host, port)}"
    writer = f"user {args.user} may write" if args.password_env else "nobody may write (give --password-env)"
    lines = (
        f"ClickHouse store {os.path.abspath(args.path)} on {url}; {writer}. Ctrl-C stops it.",  # noqa: PTH100 - as in config
        f"  curl {url} --data-binary 'SHOW TABLES'",
    )
    print("\n".join(lines), flush=True)  # noqa: T201 - the command's word


def _environment(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise CannotOpen(f"environment variable {name} is empty or not set; it must hold the password")
    return value


def _endpoint(text: str) -> str:
    try:
        split_endpoint(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _size(text: str) -> int:
    try:
        return byte_size(int(text) if text.isdigit() else text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _seconds(text: str) -> float:
    try:
        return seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
