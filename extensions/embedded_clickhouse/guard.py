"""What a statement from outside may do: readers read, and nobody breaks the store.

chdb is a database for one program that trusts itself. `readonly = 1` does not stop its scalar function `file()`,
`INTO OUTFILE`, SYSTEM or KILL; `CREATE TABLE ... ENGINE = Kafka` leaves a store that cannot be opened again. So each
statement is looked at as the engine's own parser sees it (EXPLAIN AST), and lists say what is allowed; only where
there is no end to what is harmless (scalar functions, names) a list says what is not. It is one layer: the port
listens on the loopback address, and the process should run as a user who can read little else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from extensions.embedded_clickhouse.failures import ACCESS_DENIED, NOT_IMPLEMENTED, READONLY, SYNTAX_ERROR, QueryFailed
from extensions.embedded_clickhouse.statements import tokens

if TYPE_CHECKING:
    from chdb.state.sqlitelike import Connection

    from extensions.embedded_clickhouse.engine import Statement

_READS: Final = re.compile(r"Select|Show|Describe|Exists|Explain")
"""Names of syntax tree roots that only read; CHECK TABLE and WATCH, reads by the engine's own count, are not here."""

_TABLE_FUNCTIONS: Final = frozenset(
    {
        "numbers", "numbers_mt", "zeros", "zeros_mt", "generateseries", "generate_series", "primes", "values",
        "sqlstandardvalues", "view", "null", "generaterandom", "dictionary", "mergetreeindex", "mergetreeprojection",
    }
)  # fmt: skip
"""Table functions that touch nothing but tables and numbers, in lower case."""

_FUNCTIONS: Final = frozenset({"file", "catboostevaluate", "python", "eval", "getclienthttpheader"})
"""Scalar functions that read files, run code or tell what others sent, in lower case. Also those that call an AI."""

_NAME: Final = re.compile(r"^ *(Function|Identifier|TableIdentifier) (\S+)", re.MULTILINE)
_TABLE_FUNCTION: Final = re.compile(r"^ *TableExpression[^\n]*\n *Function (\S+)", re.MULTILINE)
_ROOT: Final = re.compile(r"\w+(?= |\n|$)")
_STORAGE: Final = re.compile(r"^ *Storage definition[^\n]*\n *Function (\S+)", re.MULTILINE)
_CREATED_AS: Final = re.compile(r"^ Function (\S+)", re.MULTILINE)
_SOURCE: Final = re.compile(r"^ *FunctionWithKeyValueArguments +(\S+)", re.MULTILINE)
_POSITION: Final = re.compile(r"failed at position (\d+)")

_ENGINES: Final = re.compile(
    r"(Replacing|Summing|Aggregating|Collapsing|VersionedCollapsing|Graphite|Coalescing)?MergeTree"
    r"|Atomic|Memory|Null|Buffer|Set|Join|Merge|Log|TinyLog|StripeLog|View|MaterializedView|Dictionary|Alias"
)
"""Engines of tables and databases that stay within the store."""

_SYSTEM_COMMANDS: Final = frozenset({"SHUTDOWN", "KILL", "SUSPEND", "CRASH"})
_EXPLAIN: Final = "EXPLAIN AST "


@dataclass(frozen=True, slots=True)
class Guard:
    """The checks, for one version of the engine. `forbidden` are functions, in lower case."""

    forbidden: frozenset[str]

    @classmethod
    def of(cls, handle: Connection) -> Guard:
        """Ask the engine which functions it has: a table function that we do not know is forbidden."""
        scalar = _column(handle, "SELECT lower(name) FROM system.functions")
        tables = _column(handle, "SELECT lower(name) FROM system.table_functions")
        calls_ai = {name for name in scalar if re.fullmatch(r"ai[a-z]+", name)}
        return cls(frozenset((tables - _TABLE_FUNCTIONS - scalar) | calls_ai | _FUNCTIONS))

    def check(self, handle: Connection, sql: str, statement: Statement) -> None:
        """Return if `sql`, `statement` without its FORMAT clause, may run on this handle. Raises QueryFailed.

        A handle that passes a reader's query is read-only from then on.
        """
        raw: Any = handle._conn  # noqa: SLF001 - classify_query is chdb's own parser; its wrapper does not show it
        verdict = raw.classify_query(sql)
        if verdict["statement_count"] > 1:
            raise QueryFailed.of(SYNTAX_ERROR, "Multi-statements are not allowed: send one statement a request")
        if verdict["statement_count"] == 0:
            _tree(handle, sql, statement)  # has the position and what was expected there
            raise QueryFailed.of(SYNTAX_ERROR, "Syntax error: this is not a statement")
        reads = str(verdict["query_class"]).endswith("READ_ONLY")
        if not reads and not statement.writer:
            raise QueryFailed.of(
                READONLY,
                "Cannot execute query in readonly mode: without the writer's credentials only reading is possible",
            )
        if not reads and statement.get:
            raise QueryFailed.of(
                READONLY,
                "Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly. "
                "You should use method POST for modifying queries.",
            )
        tree = _tree(handle, sql, statement)
        self._check_names(tree)
        if not statement.writer:
            root = _ROOT.match(tree)
            if root is None or not _READS.match(root[0]):
                raise QueryFailed.of(
                    READONLY, f"Cannot execute query in readonly mode: {root and root[0]} does not read"
                )
            handle.query("SET readonly = 1")  # nothing can be set after this
        elif not reads:
            _check_change(tree, sql)

    def _check_names(self, tree: str) -> None:
        if "ColumnsApplyTransformer" in tree:
            # XXX: the syntax tree does not show which function APPLY names, so it could be file()
            raise QueryFailed.of(ACCESS_DENIED, "APPLY is not allowed here: write the function calls out")
        for kind, name in _NAME.findall(tree):
            lower = name.lower()
            # a function can be handed over by its bare name, as in arrayMap(file, ...)
            if lower in self.forbidden if kind == "Function" else lower in _FUNCTIONS:
                raise QueryFailed.of(
                    ACCESS_DENIED, f"{name} is not allowed in the embedded ClickHouse: it reaches outside the store"
                )
        for name in _TABLE_FUNCTION.findall(tree):
            if name.lower() not in _TABLE_FUNCTIONS:
                raise QueryFailed.of(
                    ACCESS_DENIED,
                    f"table function {name} is not allowed in the embedded ClickHouse: it reaches outside the store",
                )


def _tree(handle: Connection, sql: str, statement: Statement) -> str:
    try:
        result: Any = handle.query(_EXPLAIN + sql, "TSVRaw", params=dict(statement.parameters))
    except Exception as error:
        failure = QueryFailed.from_engine(error)
        text = _POSITION.sub(lambda match: f"failed at position {int(match[1]) - len(_EXPLAIN)}", failure.text)
        raise QueryFailed(failure.code, text) from error
    tree: str = (result.bytes() or b"").decode("utf-8", "replace")
    if not _ROOT.match(tree):
        raise QueryFailed.of(ACCESS_DENIED, "cannot tell what this statement does: put FORMAT last")
    return tree


def _check_change(tree: str, sql: str) -> None:
    """Stop what a writer must not do either. Raises QueryFailed."""
    root = _ROOT.match(tree)
    kind = root[0] if root else ""
    words = [token.upper for token in islice(tokens(sql), 2)]
    if kind.startswith("Select"):  # and yet it does not only read
        raise QueryFailed.of(NOT_IMPLEMENTED, "INTO OUTFILE is not allowed over HTTP: take the result from the answer")
    if kind in {"BackupQuery", "RestoreQuery"} or words[:1] in (["BACKUP"], ["RESTORE"]):
        raise QueryFailed.of(ACCESS_DENIED, "BACKUP and RESTORE are not allowed in the embedded ClickHouse")
    if words[:1] == ["SYSTEM"] and words[1:2] and words[1] in _SYSTEM_COMMANDS:
        raise QueryFailed.of(ACCESS_DENIED, f"SYSTEM {words[1]} is not allowed: stop the store with a signal")
    if kind == "InsertQuery" and _CREATED_AS.search(tree):
        raise QueryFailed.of(ACCESS_DENIED, "INSERT INTO FUNCTION is not allowed in the embedded ClickHouse")
    if kind not in {"CreateQuery", "AttachQuery"}:
        return
    for engine in _STORAGE.findall(tree):
        if not _ENGINES.fullmatch(engine):
            raise QueryFailed.of(
                ACCESS_DENIED,
                f"engine {engine} is not allowed in the embedded ClickHouse: it reaches outside the store or leaves it "
                "unusable; the MergeTree family, Memory, Null, Buffer and views are (Replicated and Distributed tables "
                "need a ClickHouse server)",
            )
    for name in _CREATED_AS.findall(tree):
        raise QueryFailed.of(
            ACCESS_DENIED, f"CREATE TABLE ... AS {name}(...) is not allowed in the embedded ClickHouse"
        )
    for source in _SOURCE.findall(tree):
        if source.lower() not in {"clickhouse", "null"}:
            raise QueryFailed.of(
                ACCESS_DENIED, f"a dictionary with source {source} is not allowed in the embedded ClickHouse"
            )


def _column(handle: Connection, sql: str) -> set[str]:
    text: bytes = handle.query(sql, "TSVRaw").bytes()
    return set(text.decode().split())
