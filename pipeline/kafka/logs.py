"""What aiokafka logs, made bearable: warnings and worse, and of the same kind one in thirty seconds.

While brokers are away the library says so ten times a second. What matters we say ourselves.
"""

from __future__ import annotations

import logging
import time
from typing import Final

LOGGERS: Final = (
    "aiokafka",
    "aiokafka.cluster",
    "aiokafka.conn",
    "aiokafka.consumer.consumer",
    "aiokafka.consumer.fetcher",
    "aiokafka.consumer.group_coordinator",
    "aiokafka.consumer.subscription_state",
    "aiokafka.producer.producer",
    "aiokafka.producer.sender",
)

QUIET_SECONDS: Final = 30.0


class Seldom(logging.Filter):
    """Lets a message pass when nothing with the same format has passed for a while."""

    def __init__(self) -> None:
        super().__init__()
        self._passed: dict[object, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self._passed.get(record.msg, float("-inf")) < QUIET_SECONDS:
            return False
        self._passed[record.msg] = now
        return True


def calm_library() -> None:
    """Restrain the library's loggers; once is enough, more does no harm."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(filter_, Seldom) for filter_ in logger.filters):
            logger.addFilter(Seldom())
        logger.setLevel(logging.WARNING)
