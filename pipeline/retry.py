"""When to try again: exponential back-off with jitter, in the Collector's terms (its `configretry.BackOffConfig`)."""

from __future__ import annotations

from random import Random

from pydantic import Field, model_validator

from pipeline.config import Config
from pipeline.config.values import Duration


class RetryConfig(Config):
    """`retry_on_failure`: what happens to a batch whose delivery failed but may work later."""

    enabled: bool = True
    """Off: a batch that fails once is dropped and counted."""

    initial_interval: Duration = 5.0
    """The first wait."""

    randomization_factor: float = Field(0.5, ge=0, le=1)
    """Each wait is multiplied by a random number in [1 - factor, 1 + factor]."""

    multiplier: float = Field(1.5, ge=0)
    """Each wait is this many times the one before."""

    max_interval: Duration = 30.0
    """No wait is longer, before randomization."""

    max_elapsed_time: Duration = 0.0
    """A batch that has failed for this long is dropped and counted; 0 tries for ever.

    The Collector drops after 300 s. Here the default loses nothing: the queue is bounded and, when it is full, senders
    are asked to try again.
    """

    @model_validator(mode="after")
    def _check(self) -> RetryConfig:
        if 0 < self.max_elapsed_time < self.initial_interval:
            raise ValueError("'max_elapsed_time' must not be less than 'initial_interval'")
        if 0 < self.max_elapsed_time < self.max_interval:
            raise ValueError("'max_elapsed_time' must not be less than 'max_interval'")
        return self


SHORTEST_WAIT = 0.1
"""Seconds; also where the config says 0, or a backend that is away would be asked thousands of times a second."""


class Backoff:
    """The waits of one batch."""

    def __init__(self, config: RetryConfig, random: Random) -> None:
        self._config = config
        self._random = random
        self._interval = config.initial_interval

    def next_wait(self, at_least: float | None = None) -> float:
        """Return the next wait in seconds, never below `at_least`, which the other side asked for."""
        spread = self._config.randomization_factor
        wait = self._interval * self._random.uniform(1 - spread, 1 + spread)
        self._interval = min(self._interval * self._config.multiplier, self._config.max_interval)
        return max(wait, at_least or 0.0, SHORTEST_WAIT)
