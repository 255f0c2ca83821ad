"""The embedded ClickHouse: a process of its own that serves ClickHouse's HTTP interface over a local directory.

`extension.EmbeddedClickHouse` runs in the collector and looks after that process; `command` is `jobsight store`;
everything else is the process itself. Nothing is re-exported here, because the process imports this package and must
not load the collector's libraries (100 MB it has no use for): `process` and what it imports keep clear of `pipeline`.
"""
