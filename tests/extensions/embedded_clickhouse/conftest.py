"""Fixtures for the tests of the embedded ClickHouse."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.extensions.embedded_clickhouse.stores import Store, running_store, store_settings


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for all tests that leave no trace in it but tables of their own."""
    with running_store(store_settings(tmp_path_factory.mktemp("store"))) as running:
        yield running
