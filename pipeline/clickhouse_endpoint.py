"""What an exporter asks an extension for when its config says `endpoint: embedded`."""

from __future__ import annotations

from abc import ABC, abstractmethod


class ClickHouseEndpoint(ABC):
    """A ClickHouse HTTP interface and the credentials that may write there.

    Mixed into an extension and found with `host.extension`, so that exporters need not import the extension. The
    values stay the same from the extension's start to its stop, also while what is behind them restarts.
    """

    @property
    @abstractmethod
    def endpoint_url(self) -> str:
        """`http://host:port`, without a path."""

    @property
    @abstractmethod
    def username(self) -> str:
        """The user who may create tables and insert."""

    @property
    @abstractmethod
    def password(self) -> str:
        """The password of `username`; never to be logged."""
