"""What spans say: who is above whom, which are requests, and which call something outside.

Names of attributes: OpenTelemetry's semantic conventions, those of today first, then those before 1.23.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import Batch
from pipeline.arrays import Column, parents_of, unnest
from pipeline.batch import one_array
from pipeline.columns import any_value_text, attributes
from pipeline.hashing import Hashes, hashes_in_traces, trace_hashes, words_of
from processors.job_dependencies.facts import CLIENT, Records, blank, columns_of
from processors.job_dependencies.names import Codes, Names

_SERVER, _CLIENT, _PRODUCER = 2, 3, 4
"""SpanKind of OTLP."""

_ERROR: Final = 2
"""StatusCode of OTLP."""

_PEER: Final = ("service.peer.name", "peer.service")
_DATABASE: Final = ("db.system.name", "db.system")
_DATABASE_NAME: Final = ("db.namespace", "db.name")
_MESSAGING: Final = ("messaging.system",)
_DESTINATION: Final = ("messaging.destination.name", "messaging.destination")
_HOST: Final = ("server.address", "net.peer.name", "http.host")
_URL: Final = ("url.full", "http.url")
_RPC: Final = ("rpc.service", "rpc.system")
_ROUTE: Final = ("http.route",)
_METHOD: Final = ("http.request.method", "http.method")

_KEYS: Final = tuple(
    key
    for keys in (*(_PEER, _DATABASE, _DATABASE_NAME, _MESSAGING, _DESTINATION, _HOST, _URL, _RPC, _ROUTE, _METHOD),)
    for key in keys
)

_COLUMNS: Final = (
    *("trace_id", "span_id", "parent_span_id", "kind", "name", "attributes", "status"),
    *("start_time_unix_nano", "end_time_unix_nano"),
)

_HOST_OF_URL: Final = r"^[A-Za-z][A-Za-z0-9+.-]*://(?:[^@/?#]*@)?(?P<host>\[[^\]]*\]|[^:/?#]+)"

_REMEMBERED: Final = 128
"""Side tables whose services are at hand."""

_PART: Final = np.int64(1) << np.int64(24)
"""More than the distinct texts of a batch: two of them and a form make one number."""


@dataclass(slots=True, eq=False)
class Calls:
    """What a batch of spans says: all spans with their parents, requests among them, and calls to the outside."""

    spans: Hashes
    parents: Hashes
    requests: Hashes
    request_names: Codes
    request_services: Codes
    clients: Records


class SpanReader:
    """Reads batches of spans; the numbers that it gives are those of `names`."""

    def __init__(self, names: Names) -> None:
        self._names = names
        # decoding gives small side tables out again; an entry keeps its table, so that no other has its id
        self._services: dict[int, tuple[pa.Table, Codes]] = {}

    def read(self, batches: Sequence[Batch]) -> Calls:
        """Return what the spans of some batches say."""
        columns = columns_of(batches, _COLUMNS)
        traces = trace_hashes(words_of(columns["trace_id"], 16))
        spans = hashes_in_traces(traces, words_of(columns["span_id"], 8)[:, 0])
        parents = hashes_in_traces(traces, words_of(columns["parent_span_id"], 8)[:, 0])
        kinds = columns["kind"].to_numpy()
        servers = np.flatnonzero(kinds == _SERVER)
        clients = np.flatnonzero((kinds == _CLIENT) | (kinds == _PRODUCER))
        services = np.concatenate([self._services_of(batch) for batch in batches])
        if len(servers) or len(clients):
            texts = _Texts(columns["attributes"])
            request_names = self._request_names(columns["name"], texts, servers)
            called, targets = self._targets(texts, clients, kinds)
            clients = clients[called]
        else:
            request_names = targets = np.zeros(0, np.int32)
        return Calls(
            spans=spans,
            parents=parents,
            requests=spans[servers],
            request_names=request_names,
            request_services=services[servers],
            clients=_clients(columns, clients, spans, parents, targets, services),
        )

    def _services_of(self, batch: Batch) -> Codes:
        side = batch.sides["resource"]
        seen = self._services.get(id(side))
        if seen is None:
            lists = one_array(side.column("attributes"))
            texts = any_value_text(attributes(lists, ["service.name"])["service.name"])
            seen = side, self._names.numbers(texts)
            if len(self._services) >= _REMEMBERED:
                del self._services[next(iter(self._services))]
            self._services[id(side)] = seen
        return seen[1].take(batch.column("resource").to_numpy())

    def _request_names(self, spans: Column, texts: _Texts, servers: npt.NDArray[np.int64]) -> Codes:
        """Return the number of `METHOD /route` where the span has a route, else of its name."""
        route, method = texts.first(_ROUTE, servers), texts.first(_METHOD, servers)
        routed = route >= 0
        names = np.zeros(len(servers), np.int32)
        if not routed.all():
            nameless: Column = pa.array(servers[~routed])
            names[~routed] = self._names.numbers(spans.take(nameless))
        forms = np.zeros(np.count_nonzero(routed), np.int64)
        names[routed] = self._numbers(texts, forms, method[routed], route[routed], " ")
        return names

    def _targets(
        self, texts: _Texts, clients: npt.NDArray[np.int64], kinds: npt.NDArray[np.int32]
    ) -> tuple[npt.NDArray[np.bool_], Codes]:
        """Return which of `clients` are calls, and the number of what each of those calls.

        A producer that names no message broker, and a client of a broker that names no destination (it asks for work),
        call nothing.
        """
        peer = texts.first(_PEER, clients)
        database, database_name = texts.first(_DATABASE, clients), texts.first(_DATABASE_NAME, clients)
        broker, destination = texts.first(_MESSAGING, clients), texts.first(_DESTINATION, clients)
        host = texts.host(clients)
        rpc = texts.first(_RPC, clients)
        place = np.where(database_name >= 0, database_name, host)
        first = np.select([peer >= 0, database >= 0, broker >= 0, host >= 0], [peer, database, broker, host], rpc)
        second = np.select([peer >= 0, database >= 0, broker >= 0], [-1, place, destination], -1)
        called = np.where(kinds[clients] == _PRODUCER, broker >= 0, True) & ~((broker >= 0) & (destination < 0))
        # 1 marks a pair whose parts are joined
        forms = ((first >= 0) & (second >= 0)).astype(np.int64)
        return called, self._numbers(texts, forms[called], first[called], second[called], "/")

    def _numbers(
        self,
        texts: _Texts,
        forms: npt.NDArray[np.int64],
        first: npt.NDArray[np.int64],
        second: npt.NDArray[np.int64],
        glue: str,
    ) -> Codes:
        """Return the numbers of two texts put together, one or both of which may be absent (-1)."""
        pairs = (forms * _PART + first + 1) * _PART + second + 1
        distinct, inverse = np.unique(pairs, return_inverse=True)
        numbers = [
            self._names.number(glue.join(part for part in (texts.text(one), texts.text(other)) if part))
            for one, other in zip(
                (distinct // _PART % _PART - 1).tolist(), (distinct % _PART - 1).tolist(), strict=True
            )
        ]
        return np.array(numbers or [0], np.int32)[inverse]


class _Texts:
    """The texts of the attributes that are asked for, as numbers of the distinct texts among them."""

    def __init__(self, spans: Column) -> None:
        offsets, items = unnest(spans)
        keys = pc.index_in(items.field("key"), value_set=pa.array(_KEYS, pa.string()))
        codes = keys.fill_null(-1).to_numpy()
        places = np.flatnonzero(codes >= 0)
        strings: Column = pc.struct_field(items.field("value"), "string_value")
        encoded = strings.take(pa.array(places)).dictionary_encode()
        numbers = encoded.indices.fill_null(-1).to_numpy().astype(np.int64)
        rows = parents_of(offsets)[places] if len(places) else np.zeros(0, np.int64)
        self._distinct: list[str] = encoded.dictionary.to_pylist()
        numbers[numbers >= 0] = np.where(
            np.array([text != "" for text in self._distinct] or [True], np.bool_)[numbers[numbers >= 0]],
            numbers[numbers >= 0],
            -1,
        )
        few = codes[places].astype(np.int8)
        order = np.argsort(few, kind="stable")  # of bytes it is a counting sort
        bounds = np.concatenate([[0], np.cumsum(np.bincount(few, minlength=len(_KEYS)))])
        self._of_key: dict[str, npt.NDArray[np.int64]] = {}
        for code, key in enumerate(_KEYS):
            chosen = order[bounds[code] : bounds[code + 1]]
            if len(chosen):
                column = np.full(len(spans), -1, np.int64)
                # back to front, so that the first of equal keys is written last
                column[rows[chosen][::-1]] = numbers[chosen][::-1]
                self._of_key[key] = column
        self._hosts: dict[int, int] = {}

    def text(self, number: int) -> str:
        """Return the text of a number, "" for -1."""
        return "" if number < 0 else self._distinct[number]

    def first(self, keys: tuple[str, ...], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return for each row the text of the first of `keys` that it has; -1 where it has none."""
        found = np.full(len(rows), -1, np.int64)
        for key in keys:
            column = self._of_key.get(key)
            if column is not None:
                found = np.where(found >= 0, found, column[rows])
        return found

    def host(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return for each row the host that it names, or that stands in its URL; -1 where there is none."""
        found, urls = self.first(_HOST, rows), self.first(_URL, rows)
        needed = np.flatnonzero((found < 0) & (urls >= 0))
        if len(needed) == 0:
            return found
        distinct, inverse = np.unique(urls[needed], return_inverse=True)
        texts = pa.array([self._distinct[number] for number in distinct.tolist()], pa.string())
        hosts = pc.struct_field(pc.extract_regex(texts, _HOST_OF_URL), "host").dictionary_encode()
        known = len(self._distinct)
        self._distinct += hosts.dictionary.to_pylist()
        numbers: Column = hosts.indices
        found[needed] = np.where(
            numbers.is_valid().to_numpy(zero_copy_only=False), numbers.fill_null(0).to_numpy() + known, -1
        )[inverse]
        return found


def _clients(
    columns: Mapping[str, Column],
    rows: npt.NDArray[np.int64],
    spans: Hashes,
    parents: Hashes,
    targets: Codes,
    services: Codes,
) -> Records:
    """Return the calls that the spans in `rows` are; those without a parent have nobody who calls."""
    below = parents[rows] != 0
    rows = rows[below]
    clients = blank(len(rows), CLIENT)
    start = columns["start_time_unix_nano"].to_numpy()[rows]
    end = columns["end_time_unix_nano"].to_numpy()[rows]
    clients["span"], clients["at"], clients["told"] = spans[rows], parents[rows], np.nan
    clients["target"], clients["service"] = targets[below], services[rows]
    clients["time"], clients["duration"] = start, np.where(end > start, end - start, 0)
    status: Any = pc.struct_field(columns["status"], "code")
    clients["failed"] = status.fill_null(0).to_numpy()[rows] == _ERROR
    return clients
