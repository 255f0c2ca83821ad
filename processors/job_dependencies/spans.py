"""What spans say: who is above whom, which are requests, and which call something outside.

Names of attributes: OpenTelemetry's semantic conventions, those of today first, then those before 1.23.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import Batch
from pipeline.arrays import Column, child
from pipeline.batch import one_array
from pipeline.columns import any_value_text, attributes, layouts_of
from pipeline.hashing import Hashes
from pipeline.records import Records
from pipeline.spans import span_hashes_of
from processors.job_dependencies.facts import CLIENT, NONE
from processors.job_dependencies.names import Codes, Names
from processors.job_dependencies.texts import AttributeTexts

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

_HOST_OF_URL: Final = r"^[A-Za-z][A-Za-z0-9+.-]*://(?:[^@/?#]*@)?(?P<host>\[[^\]]*\]|[^:/?#]+)"

_REMEMBERED: Final = 128
"""Side tables whose services are at hand."""


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
        spans, parents = (np.concatenate(part) for part in zip(*map(span_hashes_of, batches), strict=True))
        kinds = _column(batches, "kind")
        servers = np.flatnonzero(kinds == _SERVER)
        clients = np.flatnonzero((kinds == _CLIENT) | (kinds == _PRODUCER))
        services = np.concatenate([self._services_of(batch) for batch in batches])
        if len(servers) or len(clients):
            texts = AttributeTexts([layouts_of(batch) for batch in batches])
            request_names = self._request_names(batches, texts, servers)
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
            clients=_clients(batches, clients, spans, parents, targets, services),
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

    def _request_names(self, batches: Sequence[Batch], texts: AttributeTexts, servers: npt.NDArray[np.int64]) -> Codes:
        """Return the number of `METHOD /route` where the span has a route, else of its name."""
        route = texts.first(_ROUTE, servers)
        routed = np.flatnonzero(route >= 0)
        names = np.zeros(len(servers), np.int32)
        if len(routed) < len(servers):
            nameless: Column = pa.array(servers[route < 0])
            all_names: Column = pa.concat_arrays([batch.column("name") for batch in batches])
            names[route < 0] = self._names.numbers(all_names.take(nameless))
        if len(routed):
            method = texts.first(_METHOD, servers[routed])
            names[routed] = self._numbers(texts, method, route[routed], " ")
        return names

    def _targets(
        self, texts: AttributeTexts, clients: npt.NDArray[np.int64], kinds: npt.NDArray[np.int32]
    ) -> tuple[npt.NDArray[np.bool_], Codes]:
        """Return which of `clients` are calls, and the number of what each of those calls.

        A producer that names no message broker, and a client of a broker that names no destination (it asks for work),
        call nothing. Only texts that matter are looked at.
        """
        broker = texts.first(_MESSAGING, clients)
        brokers = np.flatnonzero(broker >= 0)
        destination = np.full(len(clients), NONE)
        destination[brokers] = texts.first(_DESTINATION, clients[brokers])
        called = np.where(broker >= 0, destination >= 0, kinds[clients] != _PRODUCER)
        if not called.all():
            clients, broker, destination = clients[called], broker[called], destination[called]

        first, second = texts.first(_PEER, clients), np.full(len(clients), NONE)
        left = np.flatnonzero(first < 0)
        database = texts.first(_DATABASE, clients[left])
        stored = left[database >= 0]
        first[stored] = database[database >= 0]
        second[stored] = texts.first(_DATABASE_NAME, clients[stored])
        placeless = stored[second[stored] < 0]
        second[placeless] = _host(texts, clients[placeless])
        left = left[database < 0]
        sending = left[broker[left] >= 0]
        first[sending], second[sending] = broker[sending], destination[sending]
        left = left[broker[left] < 0]
        first[left] = _host(texts, clients[left])
        left = left[first[left] < 0]
        first[left] = texts.first(_RPC, clients[left])
        return called, self._numbers(texts, first, second, "/")

    def _numbers(
        self,
        texts: AttributeTexts,
        first: npt.NDArray[np.int64],
        second: npt.NDArray[np.int64],
        glue: str,
    ) -> Codes:
        """Return the numbers of two texts put together, one or both of which may be absent (-1)."""
        pairs: Column = pa.array(((first + 1) << 32) | (second + 1)).dictionary_encode()
        numbers = [
            self._names.number(glue.join(part for part in (texts.text(one), texts.text(other)) if part))
            for one, other in ((pair // 2**32 - 1, pair % 2**32 - 1) for pair in pairs.dictionary.to_pylist())
        ]
        codes: Codes = np.array(numbers or [0], np.int32)[pairs.indices.to_numpy()]
        return codes


def _host(texts: AttributeTexts, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return for each row the host that it names, or that stands in its URL; -1 where there is none."""
    found = texts.first(_HOST, rows)
    nameless = np.flatnonzero(found < 0)
    if len(nameless):
        found[nameless] = texts.first(_URL, rows[nameless], _hosts_of)
    return found


def _hosts_of(urls: Column) -> Column:
    """Return the host of each URL, null where there is none. URLs are many, hosts are few: only these become texts."""
    encoded = urls.dictionary_encode()
    return pc.struct_field(pc.extract_regex(encoded.dictionary, _HOST_OF_URL), "host").take(encoded.indices)


def _statuses(batches: Sequence[Batch]) -> npt.NDArray[np.int32]:
    """Return the status code of each span; the messages beside them are not copied."""
    codes = [child(batch.column("status"), "code") for batch in batches]
    return np.concatenate([(code.fill_null(0) if code.null_count else code).to_numpy() for code in codes])


def _column(batches: Sequence[Batch], name: str) -> npt.NDArray[Any]:
    return np.concatenate([batch.column(name).to_numpy() for batch in batches])


def _clients(
    batches: Sequence[Batch],
    rows: npt.NDArray[np.int64],
    spans: Hashes,
    parents: Hashes,
    targets: Codes,
    services: Codes,
) -> Records:
    """Return the calls that the spans in `rows` are; those without a parent have nobody who calls."""
    below = parents[rows] != 0
    if not below.all():
        rows, targets = rows[below], targets[below]
    clients = np.empty(len(rows), CLIENT)
    start, end = (_column(batches, f"{which}_time_unix_nano")[rows] for which in ("start", "end"))
    clients["span"], clients["at"], clients["told"] = spans[rows], parents[rows], np.nan
    clients["target"], clients["service"] = targets, services[rows]
    clients["time"], clients["duration"] = start, np.where(end > start, end - start, 0)
    clients["failed"] = _statuses(batches)[rows] == _ERROR
    return clients
